"""What a float32 file says about the values of its inputs: recorded normalization, or a scaling that it begins with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.metadata import read_metadata
from edgekit.tflite.metadata_schema import NormalizationOptions

_BYTE = 255.0


@dataclass(frozen=True)
class Expected:
    """The range that an input should have, and why."""

    low: float
    high: float
    reason: str


def expected_input(model: bytes, place: int) -> Expected | None:
    """The range of an image input by its metadata, or by the first operator; None where the file does not say.

    Raises ModelError for a damaged file.
    """
    shape = read_contents(model).inputs[place].shape
    if len(shape) != 4 or shape[-1] not in (1, 3):
        return None
    return _by_metadata(model, place) or _by_first_operator(model, place)


def _by_metadata(model: bytes, place: int) -> Expected | None:
    found = read_metadata(model).model
    entries = found.subgraph_metadata[0].input_tensor_metadata if found and found.subgraph_metadata else ()
    units = entries[place].process_units if place < len(entries) else ()
    told = next((unit.options for unit in units if isinstance(unit.options, NormalizationOptions)), None)
    if told is None or not told.std:
        return None
    ends = [(value - np.asarray(told.mean or (0.0,))) / np.asarray(told.std) for value in (0.0, _BYTE)]
    said = f"the metadata say (x - {_shown(told.mean)}) / {_shown(told.std)} of bytes"
    return Expected(float(np.min(ends)), float(np.max(ends)), said)


def _by_first_operator(model: bytes, place: int) -> Expected | None:
    """A model that itself multiplies its input by about 1/255 or 1/127.5 (Rescaling of Keras) wants bytes."""
    graph = read_graph(model)
    source = graph.inputs[place]
    readers = [operator for operator in graph.operators if source in operator.inputs]
    if len(readers) != 1 or readers[0].name != "MUL":
        return None
    factor = next(iter(graph.tensors[index].values() for index in readers[0].inputs if index not in (source, -1)), None)
    if factor is None or factor.dtype != np.float32:
        return None
    largest = float(np.abs(factor).max())
    if not 1 / 256 <= largest <= 1 / 100:
        return None
    return Expected(0.0, _BYTE, f"the model itself multiplies it by {largest:.3g}")


def _shown(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values) or "0"
