"""Tiny TFLite files for the tests of the Edge TPU forecast: operators in a row or a branch, quantized to int8."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.tflite import surgery
from edgekit.tflite.graph import Graph, read_graph

TYPES = {name: number for name, number in vars(schema.TensorType).items() if name.isupper()}


class Of(NamedTuple):
    """A tensor of a test: shape, type, constant values, scale."""

    shape: tuple[int, ...]
    dtype: str = "INT8"
    values: Any = None
    scale: float | None = 0.5
    signature: tuple[int, ...] | None = None


def numbers(*values: int) -> Of:
    """A constant of int32, such as axes."""
    return Of((len(values),), "INT32", np.array(values, np.int32), None)


def weights(*shape: int, dtype: str = "INT8") -> Of:
    """A constant of zeros in the shape of weights."""
    kind = np.int32 if dtype == "INT32" else np.int8
    return Of(shape, dtype, np.zeros(shape, kind))


class Step(NamedTuple):
    """An operator of a test: name, names of inputs and outputs, options by the schema's names."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, Any] | None = None
    custom: bool = False


def file_of(tensors: dict[str, Of], steps: list[Step], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """The bytes of a model of these tensors and operators."""
    places = {name: index for index, name in enumerate(tensors)}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors = [_tensor(name, of, model.buffers) for name, of in tensors.items()]
    model.operatorCodes = [_code(step) for step in steps]
    graph.operators = [_operator(number, step, places) for number, step in enumerate(steps)]
    graph.inputs, graph.outputs = [places[name] for name in inputs], [places[name] for name in outputs]
    return surgery.pack(model)


def graph_of(tensors: dict[str, Of], steps: list[Step], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
    """The graph of such a file, read back."""
    return read_graph(file_of(tensors, steps, inputs, outputs))


def single(name: str, inputs: list[Of], output: Of, **options: Any) -> Graph:
    """A graph of one operator; its first computed inputs are the inputs of the model."""
    tensors = {f"in{number}": of for number, of in enumerate(inputs)} | {"out": output}
    fed = tuple(f"in{number}" for number, of in enumerate(inputs) if of.values is None)
    step = Step(name, tuple(f"in{number}" for number in range(len(inputs))), ("out",), options)
    return graph_of(tensors, [step], fed, ("out",))


def chain(*names: str, shape: tuple[int, ...] = (1, 8, 8, 8)) -> Graph:
    """Operators of one input, one after the other."""
    tensors = {f"t{number}": Of(shape) for number in range(len(names) + 1)}
    steps = [Step(name, (f"t{number}",), (f"t{number + 1}",)) for number, name in enumerate(names)]
    return graph_of(tensors, steps, ("t0",), (f"t{len(names)}",))


def _tensor(name: str, of: Of, buffers: list[Any]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(of.shape), TYPES[of.dtype], 0
    tensor.shapeSignature = None if of.signature is None else list(of.signature)
    if of.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(of.values).tobytes(), np.uint8)
        tensor.buffer = len(buffers)
        buffers.append(buffer)
    if of.scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [of.scale], [0]
    return tensor


def _code(step: Step) -> Any:
    code = schema.OperatorCodeT()
    number = 32 if step.custom else getattr(schema.BuiltinOperator, step.name)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    code.customCode = step.name.encode() if step.custom else None
    return code


def _operator(number: int, step: Step, places: dict[str, int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = number
    operator.inputs = [places[name] if name else -1 for name in step.inputs]
    operator.outputs = [places[name] for name in step.outputs]
    if step.options:
        kind = _OPTIONS[step.name]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        for key, value in step.options.items():
            setattr(operator.builtinOptions, key, value)
    return operator


_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "PACK": "PackOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SHAPE": "ShapeOptions",
    "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
}
