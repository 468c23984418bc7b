"""What a shell offers for the arguments that are not plain paths."""

from __future__ import annotations

from click import Context, Parameter
from click.shell_completion import CompletionItem


def files(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, for arguments that may also be a `module:function`."""
    return [CompletionItem(incomplete, type="file")]


def targets(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Known targets, or a path."""
    from edgekit.errors import TargetError
    from edgekit.target_files import known, shipped

    try:
        files = known()
    except TargetError:  # a wrong EDGEKIT_TARGETS: told by the command itself, not into a line being typed
        files = shipped()
    return _words([file.name for file in files], incomplete)


def recipes(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Preset recipes, or a path."""
    from edgekit.phrase import PRESETS

    return _words(list(PRESETS), incomplete)


def _words(words: list[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
