"""Exact mends of a file that the Edge TPU compiler refuses: sizes that are computed become constants, with batch 1.

Files made with an open batch compute sizes at run time (SHAPE, STRIDED_SLICE, PACK, then RESHAPE), and the compiler
refuses every file with such a tensor. With batch 1 all these numbers are known; they are worked out here and written
down. Nothing else of the file changes: the same kernels give the same answers for one sample, to the bit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.forecast.edgetpu_rules import size_unknown
from edgekit.tflite import surgery
from edgekit.tflite.graph import Graph, Operator, read_graph
from edgekit.tflite.metadata import with_files_of

Numbers = NDArray[np.integer[Any]]

_INTEGERS = {"int32": np.int32, "int64": np.int64}
_MOST_NUMBERS = 64
_KEEP_BATCH = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "ELU", "GELU", "PRELU", "LOGISTIC", "TANH", "RSQRT"),
    *("SOFTMAX", "QUANTIZE", "DEQUANTIZE", "CAST", "L2_NORMALIZATION", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
}
_JOIN = {"ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "CONCATENATION"}
_ALONG_AXES = {"PAD", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"}


class _Known(Struct):
    """What is worked out: values of tensors, shapes that the file states only in part, operators that are done."""

    values: dict[int, Numbers]
    shapes: dict[int, tuple[int, ...] | None]
    done: set[int]


def fixed_sizes(model: bytes) -> bytes:
    """The file with batch 1 and every size a constant; the same bytes if all were.

    Raises ModelError where a size depends on more than the batch, or on values, and for a damaged file.
    """
    graph = read_graph(model)
    if not any(-1 in tensor.signature for tensor in graph.tensors) and not _open(graph):
        return model
    known = _worked_out(graph)
    mended = _written(model, graph, known)
    if still := _open(read_graph(mended)):
        operator = [one for one in graph.operators if one.index not in known.done][still[0].index]
        raise ModelError(
            f"the size of what {operator.name} #{operator.index} makes is not worked out from the batch alone",
            "convert the model again with fixed sizes, as `edgekit optimize` does",
        )
    return with_files_of(mended, model)


def _open(graph: Graph) -> list[Operator]:
    return [operator for operator in graph.operators if size_unknown(graph, operator)]


def _worked_out(graph: Graph) -> _Known:
    known = _Known(_constants(graph), {index: _closed(graph, index) for index in graph.inputs}, set())
    for operator in graph.operators:
        value = _value(graph, operator, known)
        if value is not None:
            known.values[operator.outputs[0]] = value
            known.done.add(operator.index)
        elif len(operator.outputs) == 1:
            known.shapes[operator.outputs[0]] = _output_shape(graph, operator, known)
    return known


def _constants(graph: Graph) -> dict[int, Numbers]:
    """Constants of a few whole numbers, by tensor."""
    small = {
        index: tensor.values()
        for index, tensor in enumerate(graph.tensors)
        if tensor.constant and tensor.dtype in _INTEGERS and np.prod(tensor.shape, dtype=np.int64) <= _MOST_NUMBERS
    }
    return {index: values for index, values in small.items() if values is not None}


def _value(graph: Graph, operator: Operator, known: _Known) -> Numbers | None:
    """The value that an operator computes from sizes; None where it computes from samples, or gives an answer."""
    if len(operator.outputs) != 1 or operator.outputs[0] in graph.outputs or operator.custom:
        return None
    kind = _INTEGERS.get(graph.tensors[operator.outputs[0]].dtype)
    if kind is None:
        return None
    if operator.name == "SHAPE":
        shape = _shape(graph, operator.inputs[0], known) if operator.inputs else None
        return None if shape is None else np.array(shape, kind)
    inputs = [known.values.get(index) for index in operator.inputs]
    evaluate = _EVALUATED.get(operator.name)
    if evaluate is None or any(value is None for value in inputs):
        return None
    with contextlib.suppress(ValueError, IndexError, TypeError):  # a damaged operator is not worked out, and told later
        value = np.asarray(evaluate([value for value in inputs if value is not None], operator)).astype(kind)
        return value if value.size <= _MOST_NUMBERS else None
    return None


def _closed(graph: Graph, index: int) -> tuple[int, ...] | None:
    """The shape of a tensor whose open leading dimension is the batch, at batch 1."""
    tensor = graph.tensors[index]
    if -1 in tensor.signature[1:]:
        return None
    return (1, *tensor.shape[1:]) if tensor.signature[:1] == (-1,) else tensor.shape


def _shape(graph: Graph, index: int, known: _Known) -> tuple[int, ...] | None:
    """The shape of a tensor with batch 1, as the file states it or as it follows; None where neither is so."""
    if index < 0:
        return None
    tensor = graph.tensors[index]
    return known.shapes.get(index) if -1 in tensor.signature else tensor.shape


def _output_shape(graph: Graph, operator: Operator, known: _Known) -> tuple[int, ...] | None:
    """The shape that an operator gives with batch 1.

    An open leading dimension need not be the batch: a dense layer over rows has one, too. So it is followed through
    operators that are known to keep the batch, and is None behind all others.
    """
    output = operator.outputs[0]
    if output < 0 or -1 not in graph.tensors[output].signature:
        return None
    shape = _shape(graph, operator.inputs[0], known) if operator.inputs else None
    size = known.values.get(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if operator.name == "TRANSPOSE_CONV" and operator.inputs:
        size = known.values.get(operator.inputs[0])
        return None if size is None else tuple(int(number) for number in size.flat)
    if shape is None:
        return None
    if operator.name == "RESHAPE" and size is not None:
        return _reshaped(shape, size)
    if operator.name == "FULLY_CONNECTED" and len(operator.inputs) > 1 and not operator.options.get("KeepNumDims"):
        return _rows(shape, graph.tensors[operator.inputs[1]].shape)
    return _closed(graph, output) if shape[:1] == (1,) and _keeps_batch(graph, operator, known) else None


def _keeps_batch(graph: Graph, operator: Operator, known: _Known) -> bool:
    """True if the leading dimension of the output is that of the first input, which is 1."""
    if operator.name in _JOIN:
        rank = len(graph.tensors[operator.outputs[0]].shape)
        shapes = [_shape(graph, index, known) for index in operator.inputs]
        joined = operator.name == "CONCATENATION" and _axis(operator) in (0, -rank)
        return not joined and all(shape is not None and (len(shape) < rank or shape[0] == 1) for shape in shapes)
    if operator.name in _ALONG_AXES and len(operator.inputs) > 1:
        numbers, rank = known.values.get(operator.inputs[1]), len(graph.tensors[operator.inputs[0]].shape)
        if numbers is None or not numbers.size:
            return False
        if operator.name == "PAD":
            return not numbers.flat[:2].any()
        return not any(int(axis) in (0, -rank) for axis in numbers.flat)
    return operator.name in _KEEP_BATCH


def _reshaped(shape: tuple[int, ...], size: Numbers) -> tuple[int, ...] | None:
    with contextlib.suppress(ValueError):
        return np.broadcast_to(np.int8(0), shape).reshape(tuple(int(number) for number in size.flat)).shape
    return None


def _rows(shape: tuple[int, ...], weights: tuple[int, ...]) -> tuple[int, ...] | None:
    """A dense layer takes its input as rows of what it weighs."""
    if len(weights) != 2 or weights[1] < 1:
        return None
    return math.prod(shape) // weights[1], weights[0]


def _strided(inputs: Sequence[Numbers], operator: Operator) -> Numbers:
    """A slice of a list of sizes."""
    values, begin, end, stride = (array.reshape(-1) for array in inputs)
    if operator.options.get("EllipsisMask") or operator.options.get("NewAxisMask") or len(begin) != 1:
        raise ValueError("not a slice of a list")
    if operator.options.get("ShrinkAxisMask"):
        return np.asarray(values[begin[0]])
    first = None if operator.options.get("BeginMask") else int(begin[0])
    last = None if operator.options.get("EndMask") else int(end[0])
    return values[first : last : int(stride[0])]


def _axis(operator: Operator) -> int:
    axis = operator.options.get("Axis", 0)
    return axis if isinstance(axis, int) else 0


_EVALUATED: dict[str, Callable[[list[Numbers], Operator], Any]] = {
    "STRIDED_SLICE": _strided,
    "PACK": lambda inputs, operator: np.stack(inputs, _axis(operator)),
    "CONCATENATION": lambda inputs, operator: np.concatenate(inputs, _axis(operator)),
    "GATHER": lambda inputs, operator: np.take(inputs[0], inputs[1], _axis(operator)),
    "REDUCE_PROD": lambda inputs, operator: np.prod(
        inputs[0], axis=tuple(int(axis) for axis in inputs[1].flat), keepdims=bool(operator.options.get("KeepDims"))
    ),
    "MUL": lambda inputs, operator: inputs[0] * inputs[1],
    "ADD": lambda inputs, operator: inputs[0] + inputs[1],
    "SUB": lambda inputs, operator: inputs[0] - inputs[1],
    "CAST": lambda inputs, operator: inputs[0],
    "RESHAPE": lambda inputs, operator: inputs[0].reshape(tuple(int(size) for size in inputs[1].flat)),
}


def _written(model: bytes, graph: Graph, known: _Known) -> bytes:
    """The file with what is known written down, and without the operators that worked it out."""
    tree = surgery.unpack(surgery.with_static_batch(model))
    main, fb = tree.subgraphs[0], surgery.schema()
    made = {graph.operators[index].outputs[0] for index in known.done}
    for index in sorted(made):
        buffer, tensor = fb.BufferT(), main.tensors[index]
        buffer.data = np.frombuffer(known.values[index].tobytes(), np.uint8)
        tensor.buffer, tensor.shape = len(tree.buffers), np.array(known.values[index].shape, np.int32)
        tree.buffers.append(buffer)
    for index, shape in known.shapes.items():
        if shape is not None:
            main.tensors[index].shape = np.array(shape, np.int32)
    main.operators = [operator for index, operator in enumerate(main.operators) if index not in known.done]
    return surgery.pack(tree)
