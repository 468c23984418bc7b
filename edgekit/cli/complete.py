"""What a shell offers for the arguments that are not plain paths."""

from __future__ import annotations

from click import Context, Parameter
from click.shell_completion import CompletionItem


def files(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, for arguments that may also be a `module:function`."""
    return [CompletionItem(incomplete, type="file")]


def targets(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped targets, or a path."""
    from edgekit.target import target_names

    return _words(target_names(), incomplete)


def recipes(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Preset recipes, or a path."""
    from edgekit.phrase import PRESETS

    return _words(list(PRESETS), incomplete)


def _words(words: list[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
