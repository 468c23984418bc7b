"""An integer TFLite file as a graph that can be trained: its operators, its grids, and the float values behind them.

A quantizer has already decided everything: which operators are fused, which tensors share a scale, which stay in float.
So the graph is read from the quantized file itself, beside the float32 file that it was made from: their operators are
the same, and the float file has the values that the integers of the constants stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.tflite import flatbuffer
from edgekit.tflite.surgery import unpack

Array = npt.NDArray[Any]
Role = Literal["kernel", "bias", "operand", "table", "fixed"]

LEVELS = {"int8": (-128, 127), "int16": (-32768, 32767)}
FIXED_RANGE = {"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"}
COPIES = {
    "RESHAPE",
    "TRANSPOSE",
    "SLICE",
    "STRIDED_SLICE",
    "SPLIT",
    "SPLIT_V",
    "UNPACK",
    "SQUEEZE",
    "EXPAND_DIMS",
    "TILE",
    "REVERSE_V2",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
    "MAX_POOL_2D",
    "REDUCE_MAX",
    "REDUCE_MIN",
}
"""Operators that copy integers, whatever scales the file gives their ends.

The converter gives REVERSE_V2 two scales, and the runtime then computes something else; here they get one.
"""

MOVES = COPIES | {
    "CONCATENATION",
    "PACK",
    "GATHER",
    "PAD",
    "PADV2",
    "MIRROR_PAD",
    "MAXIMUM",
    "MINIMUM",
    "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND",
    "RESIZE_NEAREST_NEIGHBOR",
    "SELECT",
    "SELECT_V2",
}
"""Operators that only move or choose values, so that what is on a grid stays on it."""

SAME_SCALE = MOVES | {"AVERAGE_POOL_2D", "RESIZE_BILINEAR"}
"""Operators that TFLite computes without another scale, where the file gives their ends one."""

WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
"""Operators with a kernel of integer weights; the value is the place of the kernel."""

DATA_PLACE = {**dict.fromkeys(WEIGHTED, 0), "TRANSPOSE_CONV": 2}
BIAS_PLACE = {**dict.fromkeys(WEIGHTED, 2), "TRANSPOSE_CONV": 3}
"""The places of what such an operator reads, and of its bias, which may be missing."""

_CASTS = {"QUANTIZE", "DEQUANTIZE"}


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file; `scales` and `zero` are empty and 0 where it has no grid, `data` is that of a constant."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero: int
    axis: int
    data: Array | None = field(repr=False)

    @property
    def quantized(self) -> bool:
        """Whether it holds integers that stand for real numbers."""
        return bool(self.scales)

    @property
    def real(self) -> Array:
        """What a constant stands for."""
        assert self.data is not None
        if not self.quantized:
            return self.data
        shape = [1] * len(self.shape)
        if len(self.scales) > 1:
            shape[self.axis] = len(self.scales)
        scale = np.asarray(self.scales, np.float64).reshape(shape)
        return np.asarray((self.data.astype(np.float64) - self.zero) * scale, np.float32)


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator: the name in the schema, its options as the schema has them, tensors by index (-1: left out)."""

    index: int
    name: str
    options: Any = field(repr=False)
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant of the integer file that is not fixed: the values in float, and what it is for.

    `source` is the tensor of the float file: two integer constants may come from one.
    """

    tensor: Tensor
    source: int
    role: Role
    operator: Operator
    value: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """The main graph of an integer file and the float values of its constants, which are those of `source`."""

    file: bytes = field(repr=False)
    source: bytes = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Constant]

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The activations that share a grid, in the order of the file."""
        found: dict[int, list[int]] = {}
        for index in self._activations:
            found.setdefault(self._heads[index], []).append(index)
        return tuple(map(tuple, found.values()))

    @cached_property
    def group_of(self) -> dict[int, int]:
        """Number of the group of each activation, and of each constant that an operator holds to the same grid."""
        numbers = {self._heads[group[0]]: number for number, group in enumerate(self.groups)}
        return {index: numbers[head] for index, head in self._heads.items() if head in numbers}

    @cached_property
    def fixed(self) -> tuple[bool, ...]:
        """For each group whether TFLite dictates its grid."""
        dictated = {op.outputs[0] for op in self.operators if op.name in FIXED_RANGE}
        return tuple(any(index in dictated for index in group) for group in self.groups)

    @cached_property
    def _activations(self) -> list[int]:
        written = {index for operator in self.operators for index in operator.outputs} | set(self.inputs)
        return [t.index for t in self.tensors if t.index in written and t.dtype in LEVELS and t.quantized]

    @cached_property
    def _heads(self) -> dict[int, int]:
        """The first tensor of the group of each tensor: those tied by operators that know one scale only."""
        heads = {t.index: t.index for t in self.tensors if t.dtype in LEVELS and len(t.scales) == 1}

        def head(index: int) -> int:
            while heads[index] != index:
                index = heads[index]
            return index

        for operator in self.operators:
            if operator.name in SAME_SCALE:
                tied = [i for i in (*operator.outputs, *operator.inputs) if i in heads]
                for other in tied[1:]:
                    if operator.name in COPIES or self._grid(tied[0]) == self._grid(other):
                        low, high = sorted((head(tied[0]), head(other)))
                        heads[high] = low
        return {index: head(index) for index in heads}

    def _grid(self, index: int) -> tuple[float, int]:
        return self.tensors[index].scales[0], self.tensors[index].zero


def read_graph(quantized: bytes, source: bytes) -> IntegerGraph:
    """The graph of `quantized`, whose constants get the float values of `source`, the float32 file it was made from.

    Raises ModelError where the two are not the same network.
    """
    tensors, operators, tree = _graph(quantized)
    theirs, floats, _ = _graph(source)
    ours = [operator for operator in operators if operator.name not in _CASTS]
    if [op.name for op in ours] != [op.name for op in floats]:
        raise ModelError(
            "the quantized file has other operators than the float32 file it was made from",
            "quantize with the other engine, or report the model",
        )
    constants: dict[int, Constant] = {}
    for operator, origin in zip(ours, floats, strict=True):
        for place, (index, source_index) in enumerate(zip(operator.inputs, origin.inputs, strict=False)):
            if index < 0 or tensors[index].data is None:
                continue
            value = theirs[source_index].data
            if value is None or value.dtype.kind != "f":
                continue
            role = _role(operator, place)
            constants.setdefault(index, Constant(tensors[index], source_index, role, operator, value))
    return IntegerGraph(quantized, source, tensors, operators, *_ends(tree), constants)


def read_file(quantized: bytes) -> IntegerGraph:
    """The graph of an integer file alone: its constants have the values that their own integers stand for."""
    tensors, operators, tree = _graph(quantized)
    constants: dict[int, Constant] = {}
    for operator in operators:
        for place, index in enumerate(operator.inputs):
            if index >= 0 and tensors[index].data is not None and tensors[index].quantized:
                value = tensors[index].real
                constants.setdefault(index, Constant(tensors[index], index, _role(operator, place), operator, value))
    return IntegerGraph(quantized, quantized, tensors, operators, *_ends(tree), constants)


def _ends(tree: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    main = tree.subgraphs[0]
    return _indices(main.inputs), _indices(main.outputs)


def _role(operator: Operator, place: int) -> Role:
    kernel = WEIGHTED.get(operator.name)
    if kernel is not None:
        return "kernel" if place == kernel else "bias"
    if operator.name in ("GATHER", "EMBEDDING_LOOKUP"):
        return "table"
    trained = operator.name in ("ADD", "SUB", "MUL", "DIV", "PRELU", "BATCH_MATMUL", "CONV_3D")
    return "operand" if trained else "fixed"


def _graph(model: bytes) -> tuple[tuple[Tensor, ...], tuple[Operator, ...], Any]:
    tree = unpack(model)
    main = tree.subgraphs[0]
    tensors = tuple(_tensor(tree, tensor, index) for index, tensor in enumerate(main.tensors))
    return tensors, tuple(_operators(tree, main)), tree


def _operators(tree: Any, main: Any) -> Iterator[Operator]:
    names = flatbuffer.operator_names()
    for index, operator in enumerate(main.operators):
        code = tree.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = code.customCode.decode() if code.customCode else ""
        yield Operator(
            index,
            custom or names.get(number, f"BUILTIN_{number}"),
            operator.builtinOptions,
            _indices(operator.inputs),
            _indices(operator.outputs),
        )


def _indices(found: Sequence[int] | None) -> tuple[int, ...]:
    return () if found is None else tuple(int(index) for index in found)


def _tensor(tree: Any, tensor: Any, index: int) -> Tensor:
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    dtype, data = flatbuffer.type_names()[tensor.type], tree.buffers[tensor.buffer].data
    grid = tensor.quantization
    scales = () if grid is None or grid.scale is None else tuple(float(scale) for scale in grid.scale)
    zeros = [0] if not scales or grid.zeroPoint is None else [int(zero) for zero in grid.zeroPoint]
    known = data is not None and len(data) and dtype in _NUMPY
    return Tensor(
        index,
        tensor.name.decode("utf-8", "replace") if tensor.name else f"tensor{index}",
        shape,
        dtype,
        scales,
        zeros[0] if zeros else 0,
        int(grid.quantizedDimension) if scales else 0,
        np.frombuffer(data.tobytes(), _NUMPY[dtype]).reshape(shape) if known else None,
    )


_NUMPY = {
    "float32": np.float32,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "bool": np.bool_,
}
