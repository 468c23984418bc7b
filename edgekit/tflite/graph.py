"""The main graph of a TFLite file in full: operators with options and versions, tensors with scales and constants.

`inspect` tells what a file holds; this tells what a rule of a compiler or a delegate asks: strides, fused activations,
axes, the values of a constant. Numbers of operators and tensors are those of `inspect`.
"""

from __future__ import annotations

import math
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgekit.tflite import flatbuffer

Option = bool | int | float | str | tuple[int, ...]

_NO_FIELD = ("Init", "AsNumpy", "Length", "IsNone")
_NUMPY = {
    "float32": np.float32,
    "float16": np.float16,
    "float64": np.float64,
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "bool": np.bool_,
}


class Tensor(Struct, frozen=True, eq=False):
    """A tensor: `shape` is the stored one, `signature` has -1 where a dimension is open.

    `scales` and `zero_points` have one value, or one for each slice along `quantized_axis`, or none. `data` is the raw
    constant, None for a tensor that is computed or fed; `sparse` data are not in the dense layout, `appended` ones lie
    behind the flatbuffer.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_axis: int = 0
    variable: bool = False
    sparse: bool = False
    appended: bool = False
    data: memoryview | None = None

    @property
    def constant(self) -> bool:
        """True for a value that is stored in the file."""
        return self.data is not None

    @property
    def steps(self) -> NDArray[Any]:
        """The scales, in a shape that goes with the values: one for all, or one for each slice."""
        return self._spread(np.asarray(self.scales, np.float64))

    @property
    def zeros(self) -> NDArray[Any]:
        """The integers that stand for zero, in a shape that goes with the values; 0 where none is given."""
        return self._spread(np.asarray(self.zero_points or (0,), np.int64))

    def _spread(self, numbers: NDArray[Any]) -> NDArray[Any]:
        shape = [1] * len(self.shape)
        if len(numbers) > 1:
            shape[self.quantized_axis] = len(numbers)
        return np.reshape(numbers, shape)

    def values(self) -> NDArray[Any] | None:
        """The constant in the tensor's shape; None if there is none, or if its bytes are packed, sparse or too few."""
        kind = _NUMPY.get(self.dtype)
        if self.data is None or kind is None or self.sparse or min(self.shape, default=0) < 0:
            return None
        if len(self.data) != np.dtype(kind).itemsize * math.prod(self.shape):
            return None
        return np.frombuffer(self.data, kind).reshape(self.shape)


class Operator(Struct, frozen=True, eq=False):
    """An operator: `options` by the schema's names, such as `StrideW`; an absent input has the index -1."""

    index: int
    name: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Option]

    @property
    def activation(self) -> str:
        """Name of the fused activation function, `NONE` where there is none."""
        from tflite.ActivationFunctionType import ActivationFunctionType

        number = self.options.get("FusedActivationFunction", 0)
        return next((name for name, code in vars(ActivationFunctionType).items() if code == number), "NONE")


class Graph(Struct, frozen=True, eq=False):
    """The main graph: operators in their order of execution, tensors by index, and which of them go in and out."""

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def batch(self) -> int:
        """How many samples a run takes: the first dimension of the first input."""
        shape = self.tensors[self.inputs[0]].shape if self.inputs else ()
        return max(shape[0], 1) if shape else 1

    def read(self, operator: Operator) -> list[Tensor]:
        """The tensors that an operator reads, without the absent ones."""
        return [self.tensors[index] for index in operator.inputs if index >= 0]

    def written(self, operator: Operator) -> list[Tensor]:
        """The tensors that an operator writes."""
        return [self.tensors[index] for index in operator.outputs if index >= 0]


def read_graph(source: bytes | bytearray | str | Path, name: str | None = None, subgraph: int = 0) -> Graph:
    """Read the main graph of a TFLite file (bytes or a path), or another one. Raises ModelError for what is none."""
    label = name or flatbuffer.label_of(source)
    data = flatbuffer.read_bytes(source)
    model = flatbuffer.open_model(data, label)
    with flatbuffer.damage_named(label):
        return _graph(model, model.Subgraphs(subgraph), data)


def _graph(model: Any, graph: Any, data: bytes | bytearray) -> Graph:
    room = flatbuffer.Room(len(data))
    tensors = tuple(_tensor(model, tensor, data, room) for tensor in room.items(graph.TensorsLength, graph.Tensors))
    operators = tuple(
        _operator(model, operator, index, room)
        for index, operator in enumerate(room.items(graph.OperatorsLength, graph.Operators))
    )
    found = Graph(
        operators,
        tensors,
        room.indices(graph.InputsLength, graph.Inputs),
        room.indices(graph.OutputsLength, graph.Outputs),
    )
    used = [*found.inputs, *found.outputs, *(index for op in operators for index in (*op.inputs, *op.outputs))]
    if any(not -1 <= index < len(tensors) for index in used):
        raise ValueError("an operator names a tensor that is not there")
    return found


def _tensor(model: Any, tensor: Any, data: bytes | bytearray, room: flatbuffer.Room) -> Tensor:
    shape = room.shape(tensor.ShapeAsNumpy())
    signature = room.shape(tensor.ShapeSignatureAsNumpy())
    quantization = tensor.Quantization()
    stored = _stored(model, tensor.Buffer(), data, 0 in shape)
    return Tensor(
        name=room.text(tensor.Name()),
        shape=shape,
        signature=signature if len(signature) == len(shape) else shape,
        dtype=flatbuffer.type_names().get(tensor.Type(), f"type{tensor.Type()}"),
        scales=tuple(float(scale) for scale in room.numbers(quantization.ScaleAsNumpy())) if quantization else (),
        zero_points=_numbers(room, quantization.ZeroPointAsNumpy()) if quantization else (),
        quantized_axis=quantization.QuantizedDimension() if quantization else 0,
        variable=tensor.IsVariable(),
        sparse=tensor.Sparsity() is not None,
        appended=bool(stored) and model.Buffers(tensor.Buffer()).Offset() > 1,
        data=stored,
    )


def _stored(model: Any, buffer: int, data: bytes | bytearray, empty: bool) -> memoryview | None:
    """The bytes of a constant; those of one without elements, such as the shape of a scalar, are none but there."""
    span = flatbuffer.buffer_span(model, buffer, len(data))
    if span:
        return memoryview(data)[span[0] : sum(span)]
    return memoryview(b"") if empty and flatbuffer.has_data(model, buffer) else None


def _operator(model: Any, operator: Any, index: int, room: flatbuffer.Room) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    room.take(len(code.CustomCode() or b""))
    return Operator(
        index=index,
        name=flatbuffer.operator_name(code),
        version=code.Version(),
        custom=bool(code.CustomCode()),
        inputs=room.indices(operator.InputsLength, operator.Inputs),
        outputs=room.indices(operator.OutputsLength, operator.Outputs),
        options=options_of(room, operator),
    )


def options_of(room: flatbuffer.Room, operator: Any) -> dict[str, Option]:
    """The options of an operator of the schema, from both of its unions."""
    return {
        **_options(room, operator.BuiltinOptions(), operator.BuiltinOptionsType(), "BuiltinOptions"),
        **_options(room, operator.BuiltinOptions2(), operator.BuiltinOptions2Type(), "BuiltinOptions2"),
    }


def _options(room: flatbuffer.Room, table: Any, number: int, union: str) -> dict[str, Option]:
    """Every field of the options table, by the accessors that the schema's generator made for it."""
    name = flatbuffer.union_names(union).get(number)
    if table is None or not number or name is None:
        return {}
    accessor = getattr(import_module(f"tflite.{name}"), name)
    options = accessor()
    options.Init(table.Bytes, table.Pos)
    return {
        field: value
        for field, method in vars(accessor).items()
        if isfunction(method) and not field.endswith(_NO_FIELD) and (value := _option(room, options, field)) is not None
    }


def _option(room: flatbuffer.Room, options: Any, field: str) -> Option | None:
    """The value of a field; None for a table inside, which no rule asks for."""
    if hasattr(options, f"{field}Length"):
        return _numbers(room, getattr(options, f"{field}AsNumpy")())
    value = getattr(options, field)()
    if isinstance(value, bytes):
        return room.text(value)
    return value if isinstance(value, bool | int | float) else None


def _numbers(room: flatbuffer.Room, array: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in room.numbers(array))
