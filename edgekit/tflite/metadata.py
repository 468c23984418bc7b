"""TFLite Metadata: what a file says of itself to apps, and the label files that it carries.

The metadata are a flatbuffer of their own in a buffer of the model, named by the entry `TFLITE_METADATA`; associated
files are a zip behind the model, so the whole file also opens as a zip. Readers of MediaPipe and TensorFlow Lite
Support want its entries stored, not deflated. `min_runtime_version` is an entry of its own, a text.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, structs

from edgekit.errors import ModelError
from edgekit.tflite import flatbuffer, surgery
from edgekit.tflite.metadata_codec import decode, encode
from edgekit.tflite.metadata_schema import AssociatedFile, ModelMetadata, min_parser_version, tables
from edgekit.units import format_bytes

METADATA = "TFLITE_METADATA"
RUNTIME = "min_runtime_version"

_MOST_FILE_BYTES = 64 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
# What `zipfile` raises for damage; NotImplementedError and RuntimeError for methods it lacks and for passwords.
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, IndexError, OSError, EOFError, RuntimeError)


class FileMetadata(Struct, frozen=True):
    """All that a file says of itself; `others` are names of entries that only their makers read.

    `files` are the associated files that are packed behind the model, by name.
    """

    model: ModelMetadata | None = None
    min_runtime_version: str = ""
    files: dict[str, bytes] = {}
    others: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of files that the metadata speak of and that are not packed."""
        return tuple(name for name in named_files(self.model) if name not in self.files)


def named_files(metadata: ModelMetadata | None) -> tuple[str, ...]:
    """Names of the associated files that metadata speak of, each once."""
    found = (table.name for table in tables(metadata) if isinstance(table, AssociatedFile))
    return tuple(dict.fromkeys(found))


def read_metadata(model: bytes, name: str = "model") -> FileMetadata:
    """What a TFLite file says of itself; empty fields where it says nothing.

    Raises ModelError for a damaged file, metadata or zip, and for metadata of a newer schema than 1.5.0.
    """
    root = flatbuffer.open_model(model, name)
    with flatbuffer.damage_named(name):
        entries = dict(_entries(root, flatbuffer.Room(len(model))))
        held = {key: _content(root, index, model) for key, index in entries.items() if key in (METADATA, RUNTIME)}
    return FileMetadata(
        model=_decoded(held[METADATA], name) if METADATA in held else None,
        min_runtime_version=flatbuffer.text(held.get(RUNTIME, b"").rstrip(b"\0")),
        files=_packed_files(model, name),
        others=tuple(key for key in entries if key not in (METADATA, RUNTIME)),
    )


def write_metadata(model: bytes, metadata: FileMetadata) -> bytes:
    """The same model with this metadata and these files in place of its own; the same bytes every time.

    `min_parser_version` is set to what the metadata need; `others` are kept as the model has them. Raises ModelError
    for a damaged model or for files that are spoken of and not given, MissingDependency without ai-edge-litert.
    """
    if metadata.missing:
        raise ModelError(
            f"the metadata name files that are not there: {', '.join(metadata.missing)}", "give their contents too"
        )
    tree = surgery.unpack(model)
    if metadata.model is not None:
        ready = structs.replace(metadata.model, min_parser_version=min_parser_version(metadata.model))
        _put(tree, METADATA, encode(ready))
    if metadata.min_runtime_version:
        _put(tree, RUNTIME, metadata.min_runtime_version.encode())
    for entry in _named(tree, RUNTIME) if not metadata.min_runtime_version else ():
        tree.metadata.remove(entry)
    return _with_zip(surgery.pack(tree), metadata.files)


def with_files_of(model: bytes, original: bytes) -> bytes:
    """The model, which was made of another, with the associated files that are packed behind that one.

    One that has such files keeps its own. Raises ModelError where they are damaged.
    """
    return model if _packed_files(model, "model") else _with_zip(model, _packed_files(original, "model"))


def _entries(root: Any, room: flatbuffer.Room) -> Iterator[tuple[str, int]]:
    for entry in room.items(root.MetadataLength, root.Metadata):
        yield room.text(entry.Name()), entry.Buffer()


def _content(root: Any, index: int, model: bytes) -> bytes:
    span = flatbuffer.buffer_span(root, index, len(model))
    return bytes(model[span[0] : sum(span)]) if span else b""


def _decoded(data: bytes, name: str) -> ModelMetadata:
    try:
        with flatbuffer.damage_named(name):
            return decode(data)
    except ModelError as error:
        raise ModelError(
            f"{name}: metadata that cannot be read ({error.__cause__})",
            "they are damaged, or of a schema newer than 1.5.0; write them again from the model without them",
        ) from error


def _packed_files(model: bytes, name: str) -> dict[str, bytes]:
    """Contents of the zip behind the model, whose end is the end of the file; no size is believed."""
    if model[-22:-18] != b"PK\x05\x06":
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
            if (size := sum(info.file_size for info in infos)) > _MOST_FILE_BYTES:
                raise ModelError(
                    f"{name}: its associated files claim {format_bytes(size)}",
                    f"pack at most {format_bytes(_MOST_FILE_BYTES)}",
                )
            return {info.filename: _inflated(archive, info) for info in infos}
    except _ZIP_DAMAGE as cause:
        raise ModelError(
            f"{name}: damaged associated files ({cause})", "copy or export it again, and compare checksums"
        ) from None


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of an entry; never much more than it claims is inflated, which the other methods cannot promise."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename!r} is neither stored nor deflated")
    with archive.open(info) as file:
        return file.read(info.file_size + 1)


def _put(tree: Any, name: str, data: bytes) -> None:
    """Let the entry of this name hold these bytes, in a buffer of its own."""
    import numpy as np

    fb = surgery.schema()
    tree.metadata = tree.metadata or []
    found = _named(tree, name)
    if not found:
        found = [fb.MetadataT()]
        found[0].name, found[0].buffer = name.encode(), len(tree.buffers)
        tree.metadata.append(found[0])
        tree.buffers.append(fb.BufferT())
    buffer = tree.buffers[found[0].buffer]
    buffer.data, buffer.offset, buffer.size = np.frombuffer(data, np.uint8), 0, 0


def _named(tree: Any, name: str) -> list[Any]:
    return [entry for entry in tree.metadata or [] if entry.name in (name, name.encode())]


def _with_zip(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """The model with a zip behind it, whose offsets count from the start of the model."""
    if not files:
        return model
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, files[name])
    return whole.getvalue()
