"""A case: the files and data of a user, opened and held against each other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.data.parts import Dataset
from edgekit.doctor.pairing import refuse_other_order
from edgekit.evaluate import open_file
from edgekit.model import Model, load_model
from edgekit.stages.convert import export
from edgekit.tflite import flatbuffer
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents


@dataclass(frozen=True, eq=False)
class Case:
    """An int8 file, the float32 file that it is held against, and the data matched to both.

    `model` is the Keras model of the float32 file, None where that was given as a file or a SavedModel.
    """

    quantized: bytes = field(repr=False)
    source: bytes = field(repr=False)
    data: Dataset
    model: Model | None = None


def open_case(
    model: str | Path,
    source: str | Path,
    data: str | Path | Dataset | Any,
    *,
    trust: bool = False,
    data_options: Mapping[str, object] | None = None,
) -> Case:
    """Open an int8 `.tflite` (or an artifact), its float model and the data; a Keras model is converted to float32.

    The preprocessing that an artifact records is applied, unless `data_options` say otherwise. Raises ModelError or
    DataError for what cannot be used, such as a float model whose inputs come in another order than the file's.
    """
    file, dataset = open_file(model, data, data_options, trust)
    inputs = read_contents(file, str(model)).inputs
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else 1
    source_file, keras_model = _float_model(source, max(batch, 1), trust)
    refuse_other_order(read_graph(file, str(model)), read_graph(source_file, "the float file"))
    return Case(file, source_file, dataset, keras_model)


def _float_model(source: str | Path, batch: int, trust: bool) -> tuple[bytes, Model | None]:
    """The float32 file of a model, a `.tflite` as it is, anything else converted; and the Keras model it is of."""
    if flatbuffer.is_tflite(Path(source)):
        return bytes(flatbuffer.read_bytes(Path(source))), None
    loaded = load_model(source, trust=trust)
    return lowered(loaded, batch), loaded if loaded.keras is not None else None


def lowered(model: Model, batch: int = 1) -> bytes:
    """The float32 file of a Keras model or a SavedModel. Raises ModelError where the converter refuses it."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        return export(model, batch, Path(folder, "export")).lower()
