"""Where target files are, what a name means, and how one file extends another.

A name is looked up in the folders of EDGEKIT_TARGETS, in `edgekit/targets` of XDG_CONFIG_HOME or ~/.config, and among
the shipped files. It means one file: where two have it, neither is taken, so nothing shadows anything unseen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import TargetError, did_you_mean

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from edgekit.target import Target

_OWN = ("name", "title", "extends")
"""Keys that a file never takes from the one it extends."""


@dataclass(frozen=True)
class TargetFile:
    """One target file; `name` is what it is found by, empty where a path was given."""

    path: Path | Traversable
    name: str = ""
    shipped: bool = False

    def __str__(self) -> str:
        return self.name if self.shipped else str(self.path)


def shipped() -> list[TargetFile]:
    """The files that come with edgekit, by name."""
    return targets_in(resources.files("edgekit.targets"), shipped=True)


def folders() -> list[Path]:
    """The user's folders of targets that exist, in the order in which they are looked through.

    Raises TargetError if EDGEKIT_TARGETS names a folder that does not exist.
    """
    named = [Path(os.path.expanduser(text)) for text in os.environ.get("EDGEKIT_TARGETS", "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_dir():
            raise TargetError(f"EDGEKIT_TARGETS: {folder} is not a folder", f"folders are separated by {os.pathsep!r}")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "edgekit" / "targets"
    own_is_there = os.path.isdir(own)  # unlike Path.is_dir no error where the home of this user is closed to it
    return list(dict.fromkeys([*named, *([own] if own_is_there else [])]))


def known() -> list[TargetFile]:
    """Every file that has a name: the user's, then the shipped ones. Raises what `folders` raises."""
    return [file for folder in folders() for file in targets_in(folder)] + shipped()


def targets_in(folder: Path | Traversable, shipped: bool = False) -> list[TargetFile]:
    """The target files of a folder, by name."""
    files = (item.name for item in folder.iterdir() if item.name.endswith(".toml") and not item.name.startswith("."))
    names = sorted(file.removesuffix(".toml") for file in files)
    return [TargetFile(folder / f"{name}.toml", name, shipped) for name in names]


def find(name: str | Path) -> TargetFile:
    """The file of a name, or of a path that ends in `.toml`. Raises TargetError for an unknown or ambiguous name."""
    if isinstance(name, Path) or name.endswith(".toml"):
        return TargetFile(Path(name))
    return _named(name, known())


def _named(name: str, files: list[TargetFile]) -> TargetFile:
    found = [file for file in files if file.name == name]
    if not found:
        raise TargetError(f"unknown target {name!r}", did_you_mean(name, {file.name for file in files}))
    if len(found) > 1:
        places = " and ".join(str(file.path) for file in found)
        raise TargetError(f"target {name!r} is in two files: {places}", "rename yours, or give the path of one of them")
    return found[0]


def parent(extends: str, child: TargetFile) -> TargetFile:
    """The file that `child` extends: a name, or a path from its own folder. Raises TargetError if there is none.

    A shipped one extends a shipped one, whatever the user has under that name.
    """
    if not extends.endswith(".toml"):
        return _named(extends, shipped() if child.shipped else known())
    path = Path(str(child.path)).parent / Path(extends).expanduser()
    if not os.path.isfile(path):  # unlike Path.is_file, False for paths that cannot even be looked up
        raise TargetError(f"no file {path}", "give a path from this file, or a name")
    return TargetFile(path)


def refuse_chain(extends: str, file: TargetFile, child: TargetFile) -> None:
    """Raise TargetError where a file that another one extends does so itself: a reader follows one step, not many.

    A shipped target counts as whole for the files of users.
    """
    if file.shipped and not child.shipped:
        return
    if same_file(file, child) or same_file(parent(extends, file), child):
        raise TargetError("a target cannot extend itself", "extend another one, or write it in full")
    raise TargetError(f"{file} itself extends {extends!r}", f"extend {extends!r}, and say here what differs")


def same_file(one: TargetFile, other: TargetFile) -> bool:
    """True where two names or paths lead to one file."""
    return Path(str(one.path)).resolve() == Path(str(other.path)).resolve()


def extended(tables: dict[str, Any], parent: Target) -> dict[str, Any]:
    """What a file says, completed by the target that it extends: tables key by key, other keys as a whole.

    What is taken over keeps the source it has there; what is changed has only a source that the file itself gives.
    """
    whole = {key: value for key, value in msgspec.to_builtins(parent).items() if key not in _OWN}
    merged = {key: _over(whole.get(key), value) for key, value in tables.items()}
    return whole | merged | {"sources": _sources(tables, parent)}


def _over(below: Any, above: Any) -> Any:
    return below | above if isinstance(below, dict) and isinstance(above, dict) else above


def _sources(tables: dict[str, Any], parent: Target) -> Any:
    own = tables.get("sources", {})
    if not isinstance(own, dict):
        return own
    kept = {}
    for claim, value in parent.claims():
        table, _, key = claim.partition(".")
        said = tables.get(table, {})
        stated = isinstance(said, dict) and key in said
        same = not stated or said[key] == msgspec.to_builtins(value)
        if same and not (stated and table in own):
            kept[claim] = parent.source_of(claim)
    return kept | own
