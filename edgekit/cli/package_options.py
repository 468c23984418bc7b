"""The options of `edgekit package` that belong to one kind of package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

_KIND_OF: dict[str, str] = {}


def _option(kind: str, flag: str, text: str, **facts: Any) -> Callable[..., Any]:
    _KIND_OF[flag] = kind
    return click.option(flag, help=f"{kind}: {text}", **facts)


_OPTIONS = (
    _option("android", "--java-package", "package of the sources; org.edgekit.NAME if not given.", metavar="NAME"),
    _option(
        *("android", "--runtime", "LiteRT in the app, or that of Google Play services."),
        type=click.Choice(["app", "play"]),
    ),
    _option("android", "--min-sdk", "smallest API level; 21 if not given.", type=int, metavar="LEVEL"),
    _option(*("android", "--pack", "plugin that makes the pack for Google Play."), type=click.Choice(["ai", "asset"])),
    _option(
        *("android", "--delivery", "when Google Play brings the pack to a phone."),
        type=click.Choice(["on-demand", "fast-follow", "install-time"]),
    ),
    _option(
        *(
            "android",
            "--classpath",
            "android.jar and the runtime's .aar: put compiled classes into the AAR. Repeatable.",
        ),
        type=click.Path(path_type=Path),
        multiple=True,
    ),
    _option("linux", "--form", "which archives to make; both if not given.", type=click.Choice(["both", "deb", "tar"])),
    _option("linux", "--maintainer", "who answers for the .deb.", metavar="'NAME <ADDRESS>'"),
)


def kind_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of every kind; `take_options` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_options(kind: str, told: dict[str, Any]) -> Any:
    """The options of this kind, taken out of what was told; None where none was given.

    Raises UsageError for an option of another kind.
    """
    taken = {flag: told.pop(flag[2:].replace("-", "_")) for flag in _KIND_OF}
    given = {flag: value for flag, value in taken.items() if value is not None and value != ()}
    for flag in given:
        if (owner := _KIND_OF[flag]) != kind:
            raise click.UsageError(f"{flag} belongs to --for {owner}, not to --for {kind}")
    words = {flag[2:].replace("-", "_"): value for flag, value in given.items()}
    if "classpath" in words:
        from edgekit.package.android_aar import Jar

        words["classpath"] = tuple(map(Jar.read, words["classpath"]))
    return import_module(f"edgekit.package.{kind}").KIND.options(**words) if words else None
