"""What is packaged: a .tflite file, or an artifact of `edgekit optimize`, read without loading any stage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.tflite.artifact_folder import MANIFEST, is_described, tflite_path

if TYPE_CHECKING:
    from edgekit.artifact import Manifest

UNITS = ("edgetpu", "gpu", "cpu")
"""What a file may be made for, in the order of choice: the first that the device has is used."""


@dataclass(frozen=True)
class Source:
    """The bytes, the files they came from, and what the manifest of an artifact says."""

    model: bytes
    name: str
    files: tuple[Path, ...]
    manifest_bytes: bytes = b""

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the model."""
        return hashlib.sha256(self.model).hexdigest()

    def artifact(self) -> Manifest | None:
        """What the artifact's manifest says; None for a plain file. Raises ModelError for one of another version."""
        import msgspec

        from edgekit.artifact import read_manifest

        try:
            return read_manifest(self.manifest_bytes, self.name) if self.manifest_bytes else None
        except (msgspec.DecodeError, ValueError, RecursionError) as cause:
            raise ModelError(f"the manifest of {self.name}: {cause}", "make it again with edgekit optimize") from None


def open_source(path: Path) -> Source:
    """Read an artifact folder or a file; one that lies in such a folder has what its manifest says, too.

    Raises ModelError for what is neither, or no longer what the folder's manifest says.
    """
    file = tflite_path(path)
    model = _read(file)
    if file == path and not is_described(file, model):
        return Source(model, file.stem, (file,))
    described = file.parent / MANIFEST
    return Source(model, file.stem, (file, described), _read(described))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as cause:  # a name with a zero byte
        reason = getattr(cause, "strerror", None) or cause
        raise ModelError(f"{path}: {reason}", "give a .tflite file that can be read") from None
