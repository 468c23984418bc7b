"""What an artifact knows that belongs into the metadata of its file."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from edgekit.artifact import Artifact, DataRecord, Tensor
from edgekit.tflite.metadata_edit import Changes, Labels, Normalization


class Description(Struct, frozen=True):
    """The metadata to write, and what could not be written, each with its reason."""

    changes: Changes
    notes: tuple[str, ...] = ()


def describe(folder: Path) -> Description:
    """Name, preprocessing and class names of the artifact in `folder`. Raises ModelError if it is none.

    The manifest's `(x - mean) * scale` is written as `(x - mean) / std`.
    """
    manifest = Artifact.load(folder).manifest
    if manifest.data is None:
        note = f"{folder}: made without data, so it knows no preprocessing and no classes"
        return Description(Changes(name=Path(manifest.file).stem), (note,))
    labels, notes = _labels(manifest.data, manifest.outputs)
    real = all(tensor.dtype == "float32" or tensor.scale is not None for tensor in manifest.inputs)
    changes = Changes(
        name=Path(manifest.file).stem, labels=labels, normalization=_normalization(manifest.data) if real else None
    )
    return Description(changes, notes)


def _normalization(data: DataRecord) -> Normalization:
    preprocessing = data.preprocessing
    return Normalization(preprocessing.mean or (0.0,), tuple(1 / scale for scale in preprocessing.scale) or (1.0,))


def _labels(data: DataRecord, outputs: tuple[Tensor, ...]) -> tuple[Labels | None, tuple[str, ...]]:
    """Class names where each has a place in the output; a single score for two classes has not."""
    names = data.class_names
    sizes = [output.shape[-1] if output.shape else 1 for output in outputs]
    if not names or len(sizes) != 1 or sizes[0] == len(names):
        return (Labels(names) if names else None), ()
    return None, (f"the {len(names)} class names are left out: the output has {sizes[0]} places",)
