"""A case: the files and data of a user, opened and held against each other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.data.parts import Dataset
from edgekit.evaluate import open_file
from edgekit.model import load_model
from edgekit.stages.convert import export
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import read_contents


@dataclass(frozen=True, eq=False)
class Case:
    """An int8 file, the float32 file that it is held against, and the data matched to both."""

    quantized: bytes = field(repr=False)
    source: bytes = field(repr=False)
    data: Dataset


def open_case(
    model: str | Path,
    source: str | Path,
    data: str | Path | Dataset,
    *,
    trust: bool = False,
    data_options: Mapping[str, object] | None = None,
) -> Case:
    """Open an int8 `.tflite` (or an artifact), its float model and the data; a Keras model is converted to float32.

    The preprocessing that an artifact records is applied, unless `data_options` say otherwise. Raises ModelError or
    DataError for what cannot be used.
    """
    file, dataset = open_file(model, data, data_options)
    inputs = read_contents(file, str(model)).inputs
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else 1
    return Case(file, float_file(source, max(batch, 1), trust=trust), dataset)


def float_file(source: str | Path, batch: int = 1, *, trust: bool = False) -> bytes:
    """The float32 file of a model: a `.tflite` as it is, anything else converted. Raises ModelError."""
    if flatbuffer.is_tflite(Path(source)):
        return bytes(flatbuffer.read_bytes(Path(source)))
    loaded = load_model(source, trust=trust)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        return export(loaded, batch, Path(folder, "export")).lower()
