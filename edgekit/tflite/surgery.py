"""Edit a TFLite file: unpack it into objects, change them, pack it again, the same bytes every time.

Needs `ai-edge-litert`, whose generated schema has the object interface. Buffers are always packed inside the
flatbuffer, 16-byte aligned as the schema demands: runtimes older than 2023 do not read data behind it, and
microcontrollers fault on constants that are not aligned.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, cast

import numpy as np

from edgekit.errors import MissingDependency, ModelError
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import read_contents


def schema() -> Any:
    """The generated schema module. Raises MissingDependency where no LiteRT is installed."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ModuleNotFoundError:
        raise MissingDependency(
            "editing a .tflite file needs ai-edge-litert", "pip install 'edgekit[runtime]'"
        ) from None


def unpack(model: bytes) -> Any:
    """The model as a tree of schema objects (`ModelT`), every buffer inline. Raises ModelError on damage."""
    root, fb, room = flatbuffer.open_model(model), schema(), flatbuffer.Room(len(model))
    read_contents(model)  # refuses what the object interface would read without end
    with flatbuffer.damage_named("model"):
        spans = [flatbuffer.buffer_span(root, index, len(model)) for index in room.indices(root.BuffersLength, int)]
        tree = fb.ModelT.InitFromObj(fb.Model.GetRootAs(model, 0))
        _fill(tree)
        for buffer, span in zip(tree.buffers, spans, strict=True):
            buffer.data = np.frombuffer(model, np.uint8, span[1], span[0]) if span else None
            buffer.offset = buffer.size = 0
        _inline_options(tree, model)
        _refuse_dangling(tree)
    return tree


def _fill(tree: Any) -> None:
    """Make the vectors that a file leaves out empty: what edits the tree goes through them."""
    tree.buffers, tree.operatorCodes = tree.buffers or [], tree.operatorCodes or []
    for graph in tree.subgraphs:
        graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
        for one in (graph, *graph.operators):
            one.inputs, one.outputs = (
                np.zeros(0, np.int32) if side is None else side for side in (one.inputs, one.outputs)
            )


def _inline_options(tree: Any, model: bytes) -> None:
    """Bring custom options that lie behind the flatbuffer into it. Raises ValueError where they are not in the file."""
    for operator in (operator for graph in tree.subgraphs for operator in graph.operators):
        start, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
        if start > 1 and start + size > len(model):
            raise ValueError(f"custom options end at byte {start + size} of {len(model)}")
        if start > 1:
            operator.customOptions = np.frombuffer(model, np.uint8, size, start)
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _refuse_dangling(tree: Any) -> None:
    """Raise ValueError for a number that names nothing: what edits the tree follows all of them."""
    for graph in tree.subgraphs:
        if any(tensor.buffer >= len(tree.buffers) for tensor in graph.tensors):
            raise ValueError("a tensor names a buffer that is not there")
        lists = [graph.inputs, graph.outputs, *(one for op in graph.operators for one in (op.inputs, op.outputs))]
        named = np.concatenate([np.asarray(one, np.int64) for one in lists])
        if ((named < -1) | (named >= len(graph.tensors))).any():
            raise ValueError("an operator names a tensor that is not there")


def pack(tree: Any) -> bytes:
    """The bytes of a model tree; equal trees give equal bytes. Raises ModelError above the 2 GB of a flatbuffer."""
    from flatbuffers.builder import Builder, BuilderSizeError

    for buffer in tree.buffers:
        buffer.Pack = _aligned_packer(buffer)
    builder = Builder(1024)
    try:
        builder.Finish(tree.Pack(builder), b"TFL3")
    except BuilderSizeError:
        raise ModelError(
            "the edited file would exceed the 2 GB of a flatbuffer",
            "quantize it first; files of this size can only be read",
        ) from None
    return bytes(builder.Output())


def inline_buffers(model: bytes) -> bytes:
    """The same model with every constant inside the flatbuffer and aligned."""
    return pack(unpack(model))


def _aligned_packer(buffer: Any) -> Callable[[Any], int]:
    """Pack one buffer with its data on a 16-byte boundary, which the generated `Pack` neglects."""

    def packed(builder: Any) -> int:
        fb = schema()
        data = buffer.data
        vector = None
        if data is not None and len(data):
            raw = np.asarray(data, np.uint8).tobytes()
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw
            vector = builder.EndVector()
        fb.BufferStart(builder)
        if vector is not None:
            fb.BufferAddData(builder, vector)
        return cast(int, fb.BufferEnd(builder))

    return packed


def with_ranges(model: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """Write the (min, max) of each named activation into the file, where the converter's quantizer reads it."""
    tree, fb = unpack(model), schema()
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            found = ranges.get(flatbuffer.text(tensor.name))
            if found and tree.buffers[tensor.buffer].data is None:
                tensor.quantization = tensor.quantization or fb.QuantizationParametersT()
                tensor.quantization.min, tensor.quantization.max = [found[0]], [found[1]]
    return pack(tree)


def without_negation(model: bytes) -> bytes:
    """The float32 file with each NEG of a float tensor as a product with -1, which quantizers know how to round.

    The TFLite converter leaves NEG in float, in the middle of each layer normalization of Keras.
    """
    tree, fb = unpack(model), schema()
    changed = False
    for graph in tree.subgraphs:
        minus: int | None = None
        for operator in graph.operators:
            floats = graph.tensors[operator.inputs[0]].type == fb.TensorType.FLOAT32 if len(operator.inputs) else False
            if _number(tree.operatorCodes[operator.opcodeIndex]) != fb.BuiltinOperator.NEG or not floats:
                continue
            minus = _constant(tree, graph, b"minus_one", -1.0) if minus is None else minus
            operator.opcodeIndex = operator_code(tree, "MUL")
            operator.inputs = np.array([operator.inputs[0], minus], np.int32)
            operator.builtinOptionsType, operator.builtinOptions = fb.BuiltinOptions.MulOptions, fb.MulOptionsT()
            changed = True
    return pack(tree) if changed else model


def with_rescaled_copies(model: bytes) -> bytes:
    """The file with a QUANTIZE behind each REVERSE_V2 whose two ends have different scales.

    The runtime copies the integers and looks at no scale, and the TFLite converter ties the scales of its ends by other
    operators only (those that a CONCATENATION joins, as in an unrolled Bidirectional).
    """
    tree, fb = unpack(model), schema()
    changed = False
    for graph in tree.subgraphs:
        for place, operator in reversed(list(enumerate(graph.operators))):
            if _number(tree.operatorCodes[operator.opcodeIndex]) != fb.BuiltinOperator.REVERSE_V2:
                continue
            ends = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            if _grid(ends[0]) == _grid(ends[1]):
                continue
            written, plain = int(operator.outputs[0]), copy(ends[1])
            plain.name, plain.quantization = ends[1].name + b"_copied", ends[0].quantization
            graph.tensors.append(plain)
            operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
            graph.operators.insert(place + 1, _cast_operator(tree, len(graph.tensors) - 1, written, "QUANTIZE"))
            changed = True
    return pack(tree) if changed else model


def _number(code: Any) -> int:
    """The operator in the schema; old files have it in another field."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _grid(tensor: Any) -> tuple[list[float], list[int]] | None:
    found = tensor.quantization
    return None if found is None or found.scale is None else (list(found.scale), list(found.zeroPoint))


def _constant(tree: Any, graph: Any, name: bytes, value: float) -> int:
    """Append a float32 constant without axes to a graph."""
    fb = schema()
    buffer, tensor = fb.BufferT(), fb.TensorT()
    buffer.data, buffer.offset, buffer.size = np.frombuffer(np.float32(value).tobytes(), np.uint8), 0, 0
    tree.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.type = name, np.array([], np.int32), fb.TensorType.FLOAT32
    tensor.buffer, tensor.hasRank = len(tree.buffers) - 1, True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def with_static_batch(model: bytes) -> bytes:
    """The file with its open batch dimensions closed at the size they have in the file (1 in files of the converter).

    Tensor shapes already hold that size; only the signature that declares them open is dropped.
    """
    tree = unpack(model)
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    return pack(tree)


def with_contract(model: bytes, inputs: Sequence[tuple[str, str]], outputs: Sequence[tuple[str, str]]) -> bytes:
    """Order the inputs and outputs of the first graph, and give their tensors the names of the contract.

    `inputs` and `outputs` are pairs (argument name in the signature, wished name), in the wished order.
    Raises ModelError if the signature does not hold these names.
    """
    tree = unpack(model)
    graph, signature = tree.subgraphs[0], tree.signatureDefs[0]
    signature.signatureKey = b"serving_default"
    graph.inputs = _ordered(graph, signature.inputs, inputs)
    graph.outputs = _ordered(graph, signature.outputs, outputs)
    return pack(tree)


def _ordered(graph: Any, arguments: list[Any], wished: Sequence[tuple[str, str]]) -> np.ndarray[Any, Any]:
    by_name = {flatbuffer.text(argument.name): argument for argument in arguments}
    if set(by_name) != {old for old, _ in wished}:
        raise ModelError(
            f"the converted file has the arguments {sorted(by_name)}, expected {sorted(old for old, _ in wished)}",
            "an input or output of the model is unused; remove it from the model",
        )
    order = []
    for old, new in wished:
        argument = by_name[old]
        argument.name = new.encode()
        if argument.tensorIndex not in order:  # one tensor given out twice keeps its first name
            graph.tensors[argument.tensorIndex].name = new.encode()
        order.append(argument.tensorIndex)
    return np.array(order, np.int32)


def with_io_type(model: bytes, dtype: str) -> bytes:
    """Make every quantized input and output of the first graph `dtype`, by a cast at the rim; the inside stays.

    `dtype` is `float32`, `uint8`, `int8` or `int16`. Tensors without a scale (indices, flags) are left alone.
    """
    tree = unpack(model)
    graph = tree.subgraphs[0]
    graph.inputs = _recast(tree, graph, graph.inputs, dtype, _cast_input)
    graph.outputs = _recast(tree, graph, graph.outputs, dtype, _cast_output)
    return pack(tree)


def _recast(
    tree: Any, graph: Any, indices: Sequence[int], dtype: str, cast_one: Callable[[Any, Any, int, str], int]
) -> np.ndarray[Any, Any]:
    cast = {
        index: cast_one(tree, graph, index, dtype)
        for index in dict.fromkeys(map(int, indices))
        if _needs_cast(graph.tensors[index], dtype)
    }
    return np.array([cast.get(int(index), index) for index in indices], np.int32)


def _needs_cast(tensor: Any, dtype: str) -> bool:
    quantized = tensor.quantization is not None and tensor.quantization.scale is not None
    return quantized and flatbuffer.type_names()[tensor.type] != dtype


def _cast_input(tree: Any, graph: Any, index: int, dtype: str) -> int:
    outer = _outer_tensor(tree, graph, index, dtype)
    graph.operators.insert(0, _cast_operator(tree, outer, index, "QUANTIZE"))
    redirect(tree, graph, "inputs", index, outer)
    return outer


def _cast_output(tree: Any, graph: Any, index: int, dtype: str) -> int:
    outer = _outer_tensor(tree, graph, index, dtype)
    graph.operators.append(_cast_operator(tree, index, outer, "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"))
    redirect(tree, graph, "outputs", index, outer)
    return outer


def _outer_tensor(tree: Any, graph: Any, index: int, dtype: str) -> int:
    """Append a tensor like `index` but of type `dtype`; it takes over the name that users see."""
    fb, inner = schema(), graph.tensors[index]
    outer = fb.TensorT()
    outer.name, outer.shape, outer.shapeSignature = inner.name, inner.shape, inner.shapeSignature
    outer.hasRank = inner.hasRank
    outer.type = getattr(fb.TensorType, dtype.upper())
    outer.buffer = 0
    if dtype != "float32":
        outer.quantization = fb.QuantizationParametersT()
        outer.quantization.scale = inner.quantization.scale
        shift = _ZERO[dtype] - _ZERO[flatbuffer.type_names()[inner.type]]
        outer.quantization.zeroPoint = [int(zero) + shift for zero in inner.quantization.zeroPoint]
    inner.name = inner.name + b"_" + flatbuffer.type_names()[inner.type].encode()
    graph.tensors.append(outer)
    return len(graph.tensors) - 1


_ZERO = {"uint8": 128, "int8": 0, "int16": 0}


def _cast_operator(tree: Any, source: int, destination: int, name: str) -> Any:
    fb = schema()
    operator = fb.OperatorT()
    operator.opcodeIndex = operator_code(tree, name)
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([destination], np.int32)
    operator.builtinOptionsType = getattr(fb.BuiltinOptions, f"{name.title()}Options")
    operator.builtinOptions = getattr(fb, f"{name.title()}OptionsT")()
    return operator


def operator_code(tree: Any, name: str, version: int | None = None) -> int:
    """The number of an operator's code, of this version or else of any; one that is missing is appended."""
    fb = schema()
    number = getattr(fb.BuiltinOperator, name)
    for index, code in enumerate(tree.operatorCodes):
        if _number(code) == number and version in (None, code.version):
            return index
    code = fb.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version or 1
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1


def redirect(tree: Any, graph: Any, side: str, old: int, new: int) -> None:
    """Let the signatures of a graph name tensor `new` where they name `old`; `side` is `inputs` or `outputs`."""
    for signature in tree.signatureDefs or []:
        if tree.subgraphs[signature.subgraphIndex] is graph:
            for argument in getattr(signature, side):
                if argument.tensorIndex == old:
                    argument.tensorIndex = new
