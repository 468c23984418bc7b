"""The `.tflite` in an artifact's folder (`OUT/TARGET/RECIPE/` of `edgekit optimize`), found without loading any stage.

Whoever takes a `.tflite` takes such a folder, too; `manifest.json` in it names the file and its hash.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgekit.errors import ModelError

MANIFEST = "manifest.json"
PACKAGE = "edgekit package"
"""What the manifest of a package says that it is of: it describes other files than an artifact's."""

_NAMED = 3


def is_artifact(path: Path) -> bool:
    """Whether there is a folder with a manifest; `tflite_path` says whether it is that of an artifact."""
    return (path / MANIFEST).is_file()


def tflite_path(path: Path) -> Path:
    """The file of an artifact's folder; any other path as it is.

    Raises ModelError for a folder that holds no artifact, or one whose file is not what its manifest describes.
    """
    if not path.is_dir():
        return path
    if not is_artifact(path):
        raise ModelError(f"{path}: a directory without an artifact: no {MANIFEST} in it", _instead_of(path))
    file, digest = _described(path / MANIFEST)
    try:
        data = file.read_bytes()
    except OSError as cause:
        raise ModelError(f"{file}: {cause.strerror}", "make it again with edgekit optimize") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(f"{file}: changed since its manifest was written", "make it again")
    return file


def is_described(file: Path, data: bytes | None = None) -> bool:
    """Whether the manifest beside a file is that of an artifact with a file of this name, and of just these bytes."""
    try:
        found, digest = _described(file.parent / MANIFEST)
    except ModelError:
        return False
    return found == file and (data is None or hashlib.sha256(data).hexdigest() == digest)


def _described(manifest: Path) -> tuple[Path, str]:
    found = None
    try:
        found = json.loads(manifest.read_bytes())
        return manifest.parent / Path(found["file"]).name, str(found["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        if isinstance(found, dict) and found.get("kind") == PACKAGE:
            mend = "give the .tflite in it, or an artifact folder"
            raise ModelError(f"{manifest.parent}: this is a package", mend) from None
        raise ModelError(f"{manifest}: not the manifest of an artifact", "make it with edgekit optimize") from None


def _instead_of(folder: Path) -> str:
    """What to give instead of a folder: the artifacts that it holds, where it holds any."""
    found = sorted(each.parent for depth in ("*", "*/*") for each in folder.glob(f"{depth}/{MANIFEST}"))
    if not found:
        return "give a .tflite file, or a folder of edgekit optimize"
    return f"give one of its artifacts: {', '.join(map(str, found[:_NAMED]))}{', ...' if len(found) > _NAMED else ''}"
