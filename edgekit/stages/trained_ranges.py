"""Ranges that a model brings along from quantization-aware training, instead of calibrated ones.

Fake quantization in a model is lowered by the converter to pairs of QUANTIZE and DEQUANTIZE. `without_rounding` takes
them out and notes their ranges in the file, as (min, max) of the tensor that was rounded; `noted_ranges` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgekit.stages.integer_graph import SAME_SCALE
from edgekit.tflite import flatbuffer
from edgekit.tflite.surgery import pack, redirect, schema, unpack

Ranges = dict[str, tuple[float, float]]

_LEVELS = {"uint8": (0, 255), "int8": (-128, 127)}


def without_rounding(model: bytes) -> bytes:
    """The float32 file without the pairs that only round, their ranges noted; the same bytes where there are none."""
    tree = unpack(model)
    stripped = sum(_strip(tree, graph) for graph in tree.subgraphs)
    return pack(tree) if stripped else model


def noted_ranges(model: bytes) -> Ranges:
    """The ranges noted in a float32 file by tensor, carried along operators that know one scale only."""
    found: Ranges = {}
    tree = unpack(model)
    for graph in tree.subgraphs:
        noted = {index: pair for index, tensor in enumerate(graph.tensors) if (pair := _noted(tensor))}
        known = -1
        while noted and known != len(noted):
            known = len(noted)
            _carry(tree, graph, noted)
        found |= {flatbuffer.text(graph.tensors[index].name): pair for index, pair in noted.items()}
    return found


def _strip(tree: Any, graph: Any) -> int:
    """Take the pairs out of a graph; how many there were."""
    pairs = list(_pairs(tree, graph))
    for rounding, reading in pairs:
        source, inner, outer = int(rounding.inputs[0]), int(rounding.outputs[0]), int(reading.outputs[0])
        _note(graph.tensors[source], graph.tensors[inner])
        for operator in graph.operators:
            operator.inputs = _replaced(operator.inputs, outer, source)
        graph.outputs = _replaced(graph.outputs, outer, source)
        redirect(tree, graph, "outputs", outer, source)
    gone = {id(operator) for pair in pairs for operator in pair}
    graph.operators = [operator for operator in graph.operators if id(operator) not in gone]
    return len(pairs)


def _pairs(tree: Any, graph: Any) -> Iterator[tuple[Any, Any]]:
    """QUANTIZE of a float tensor, and the DEQUANTIZE that alone reads what it wrote."""
    floats = schema().TensorType.FLOAT32
    for operator in graph.operators:
        if _name(tree, operator) != "QUANTIZE" or graph.tensors[operator.inputs[0]].type != floats:
            continue
        readers = [other for other in graph.operators if operator.outputs[0] in _indices(other.inputs)]
        if len(readers) == 1 and _name(tree, readers[0]) == "DEQUANTIZE":
            yield operator, readers[0]


def _note(tensor: Any, rounded: Any) -> None:
    grid, (lowest, highest) = rounded.quantization, _LEVELS[flatbuffer.type_names()[rounded.type]]
    scale, zero = float(grid.scale[0]), int(grid.zeroPoint[0])
    tensor.quantization = tensor.quantization or schema().QuantizationParametersT()
    tensor.quantization.min, tensor.quantization.max = [(lowest - zero) * scale], [(highest - zero) * scale]


def _noted(tensor: Any) -> tuple[float, float] | None:
    grid = tensor.quantization
    if grid is None or grid.min is None or grid.max is None or len(grid.min) != 1 or len(grid.max) != 1:
        return None
    return float(grid.min[0]), float(grid.max[0])


def _carry(tree: Any, graph: Any, noted: dict[int, tuple[float, float]]) -> None:
    for operator in graph.operators:
        if _name(tree, operator) not in SAME_SCALE:
            continue
        tied = [
            index for index in (*_indices(operator.inputs), *_indices(operator.outputs)) if _free(tree, graph, index)
        ]
        pair = next((noted[index] for index in tied if index in noted), None)
        if pair:
            noted.update({index: pair for index in tied if index not in noted})


def _free(tree: Any, graph: Any, index: int) -> bool:
    """Whether a tensor is a float activation, and no constant."""
    tensor = graph.tensors[index]
    return tensor.type == schema().TensorType.FLOAT32 and tree.buffers[tensor.buffer].data is None


def _name(tree: Any, operator: Any) -> str:
    code = tree.operatorCodes[operator.opcodeIndex]
    return flatbuffer.operator_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "")


def _indices(found: Any) -> list[int]:
    return [] if found is None else [int(index) for index in found if index >= 0]


def _replaced(indices: Any, old: int, new: int) -> Any:
    return None if indices is None else np.array([new if index == old else index for index in indices], np.int32)
