"""A folder of generated files that a build may ask for again and again: written whole, and only where it changed.

`manifest.json` is written last and holds the key of everything that the files depend on, and the hash of each file. A
folder whose key and hashes still hold is left alone, so times of change stay. Nothing heavy is imported here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import OutputError
from edgekit.new_file import new_file
from edgekit.tflite.artifact_folder import PACKAGE

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
KIND = PACKAGE


def key_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of what the files depend on."""
    return digest(json.dumps(parts, sort_keys=True).encode())


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and be alone in it: another build of the same folder waits. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as cause:
        raise OutputError(f"{folder}: {cause.strerror}", "give a folder that can be written") from cause
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _sweep(folder)
        yield
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what a killed build had half written, of a folder that a package was written to, or only began to be."""
    found = folder.rglob(".*.partial") if read_manifest(folder) else folder.glob(f".{MANIFEST}.*.partial")
    for path in found:
        if re.fullmatch(r"\..+\.\d+\.partial", path.name):  # as `new_file` names them
            with suppress(OSError):
                path.unlink()


def standing(folder: Path, key: str) -> dict[str, Any] | None:
    """The manifest, if the folder holds exactly what this key made; else None."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("key") != key:
        return None
    named = manifest["files"].items()
    return manifest if all(_inside(folder, name) and _hash(folder / name) == known for name, known in named) else None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder that a package was written to; None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(manifest, dict) and manifest.get("kind") == KIND and isinstance(manifest.get("files"), dict)
    return manifest if known else None


def write_package(folder: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Bring a locked folder to these files, each whole or not at all, and give the names that changed.

    Files of an earlier package that are no longer made are removed, and a signature of another manifest. Raises
    OutputError where the folder holds files of someone else or a package of another kind, or cannot be written.
    """
    old = read_manifest(folder)
    _refuse_foreign(folder, old, manifest.get("for"))
    hashes = {name: digest(data) for name, data in sorted(files.items())}
    whole = {"kind": KIND, "key": key, **manifest, "files": hashes}
    last = (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if old is None:  # from here on the folder is ours, even if what follows is interrupted
        write_if_changed(folder / MANIFEST, json.dumps({"kind": KIND, "key": "", "files": {}}).encode())
    _refuse_links(folder, files)
    changed = [name for name, data in files.items() if write_if_changed(folder / name, data)]
    for name in {*(old or {"files": {}})["files"]} - {*files}:
        if _inside(folder, name):
            (folder / name).unlink(missing_ok=True)
    if not write_if_changed(folder / MANIFEST, last):
        return tuple(changed)
    (folder / SIGNATURE).unlink(missing_ok=True)
    return (*changed, MANIFEST)


def write_if_changed(path: Path, data: bytes) -> bool:
    """Write a file in one step unless it holds these bytes already; whether it was written. Raises OutputError."""
    with suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == data:  # a link would lead anywhere; it is replaced
            return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutputError(f"{path}: {cause.strerror}", "give a place that can be written") from cause
    with new_file(path, overwrite=True) as stream:
        stream.write(data)
    return True


def depfile(output: str, inputs: list[str]) -> bytes:
    r"""A rule `output: inputs` as Make and Ninja read it. Raises OutputError for a name that it cannot hold.

    Each input has a rule without anything, so that one that is gone is a reason to build and no error.

    >>> depfile("a b.c", ["x#1", "$y"])
    b'a\\ b.c: \\\n  x\\#1 \\\n  $$y\nx\\#1:\n$$y:\n'
    """
    names = list(map(_escaped, inputs))
    rule = " \\\n  ".join([f"{_escaped(output)}:", *names])
    return "\n".join([rule, *(f"{name}:" for name in names), ""]).encode()


def _escaped(name: str) -> str:
    if "\n" in name:
        raise OutputError(f"{name!r} cannot stand in a dependency file", "give it a name without a line break")
    return name.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")


def _refuse_foreign(folder: Path, old: dict[str, Any] | None, kind: str | None) -> None:
    found = sorted(path.name for path in folder.iterdir() if not path.name.endswith(".partial"))
    if old is None and found:
        raise OutputError(f"{folder} holds other files, such as {found[0]}", "give a new folder, or an empty one")
    if old is not None and old.get("for", kind) != kind:
        raise OutputError(f"{folder} holds a package for {old['for']}", "give another folder")


def _inside(folder: Path, name: str) -> bool:
    """Whether a name of a manifest is that of a file in the folder: both may have come from somebody else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        return False
    parts = [folder.joinpath(*path.parts[:depth]) for depth in range(1, len(path.parts) + 1)]
    return not any(part.is_symlink() for part in parts) and not parts[-1].is_dir()


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError where a file would be written through a link to a folder elsewhere."""
    for parent in {parent for name in names for parent in PurePosixPath(name).parents}:
        if parent.parts and (folder / parent).is_symlink():
            raise OutputError(f"{folder / parent} is a link", "remove it, or give another folder")


def _hash(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError:
        return ""
