"""What is inside a TFLite file: contract, operators, parameters and multiply-accumulates, without any runtime."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs

from edgekit.tflite import flatbuffer
from edgekit.tflite.graph import options_of
from edgekit.tflite.macs import operator_macs

Numeric = Literal["float32", "float16", "dynamic-int8", "int8", "int16x8", "mixed"]

_CASTS = {"QUANTIZE", "DEQUANTIZE", "CAST"}
_INTEGER = {"int8", "uint8", "int16"}
_LOOPS = {"WHILE", "STABLEHLO_WHILE"}
_WEIGHT_TYPES = {"float32", "float16", "bfloat16", "float64", "int8", "uint8", "int4", "int2", "int16"}


class TensorInfo(Struct, frozen=True):
    """A tensor: `shape` has -1 where the file leaves a dimension open; scale and zero point if it has one pair.

    A `variable` keeps its values from one run to the next.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    channel_scales: int = 0
    constant_bytes: int = 0
    buffer: int = 0
    variable: bool = False

    @property
    def dynamic(self) -> bool:
        """True if a dimension is open."""
        return -1 in self.shape

    @property
    def elements(self) -> int:
        """Number of elements; an open dimension counts as one."""
        return flatbuffer.bounded_product(self.shape)


class OperatorInfo(Struct, frozen=True):
    """An operator: the schema's name (or the custom one) and the type it computes in."""

    index: int
    name: str
    custom: bool
    flex: bool
    subgraph: int
    dtype: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    weight_dtype: str
    dynamic: bool


class Signature(Struct, frozen=True):
    """A named entry point: argument name -> tensor name."""

    key: str
    inputs: dict[str, str]
    outputs: dict[str, str]


class ModelContents(Struct, frozen=True):
    """What a TFLite file says about itself. Bytes are bytes of the file; MACs are of one inference.

    `input_indices` and `output_indices` are the places of inputs and outputs in `tensors`.
    """

    file_bytes: int
    description: str
    numeric: Numeric
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    tensors: tuple[TensorInfo, ...]
    parameters: int
    parameter_bytes: int
    macs: int
    subgraphs: int
    signatures: tuple[Signature, ...]
    metadata: tuple[str, ...]
    input_indices: tuple[int, ...] = ()
    output_indices: tuple[int, ...] = ()


class ModelSummary(ModelContents, frozen=True, kw_only=True):
    """The contents of a TFLite file, and its size after DEFLATE."""

    deflated_bytes: int


def inspect_model(source: bytes | bytearray | str | Path, name: str | None = None) -> ModelSummary:
    """Read a TFLite file (bytes or a path) and deflate it. Raises ModelError for anything that is not a sound one."""
    data = flatbuffer.read_bytes(source)
    contents = read_contents(data, name or flatbuffer.label_of(source))
    return ModelSummary(**structs.asdict(contents), deflated_bytes=deflated_bytes(data))


def read_contents(source: bytes | bytearray | str | Path, name: str | None = None) -> ModelContents:
    """Read a TFLite file (bytes or a path) without deflating it, which takes longer than all the rest.

    Raises ModelError for anything that is not a sound one.
    """
    label = name or flatbuffer.label_of(source)
    data = flatbuffer.read_bytes(source)
    model = flatbuffer.open_model(data, label)
    with flatbuffer.damage_named(label):
        return _contents(model, flatbuffer.Room(len(data)))


def looped(contents: ModelContents) -> tuple[OperatorInfo, ...]:
    """The operators with MACs in graphs that a file with loops calls: they are counted for one step."""
    loops = any(op.name in _LOOPS for op in contents.operators)
    return tuple(op for op in contents.operators if loops and op.subgraph and op.macs)


def aliases(contents: ModelContents, side: Literal["inputs", "outputs"]) -> tuple[str, ...]:
    """What a file's only signature calls each of its inputs or outputs; empty where there is none, or several."""
    one = contents.signatures[0] if len(contents.signatures) == 1 else Signature("", {}, {})
    called = {tensor: name for name, tensor in getattr(one, side).items()}
    return tuple(called.get(tensor.name, "") for tensor in getattr(contents, side))


_DEFLATED: dict[bytes, int] = {}


def deflated_bytes(data: bytes | bytearray) -> int:
    """Size after DEFLATE (RFC 1951) at the highest level: what an app store or a zip transports.

    It takes about 30 ms for a megabyte of weights, so it is done once for the same bytes.
    """
    digest = hashlib.sha256(data).digest()
    if digest not in _DEFLATED:
        _DEFLATED[digest] = len(zlib.compress(data, 9))
    return _DEFLATED[digest]


def _contents(model: Any, room: flatbuffer.Room) -> ModelContents:
    graphs = list(room.items(model.SubgraphsLength, model.Subgraphs))
    if not graphs:
        raise ValueError("the file has no graph")
    tensors = [[_tensor(model, tensor, room) for tensor in _tensors(graph, room)] for graph in graphs]
    operators = tuple(
        _operator(model, operator, tensors[number], number, index, room)
        for number, graph in enumerate(graphs)
        for index, operator in enumerate(room.items(graph.OperatorsLength, graph.Operators))
    )
    weights = {
        tensor.buffer: tensor for graph in tensors for tensor in graph if tensor.constant_bytes and _is_weight(tensor)
    }
    main, run = graphs[0], _run(graphs, room)
    inputs = room.indices(main.InputsLength, main.Inputs)
    outputs = room.indices(main.OutputsLength, main.Outputs)
    return ModelContents(
        file_bytes=room.size,
        description=room.text(model.Description()),
        numeric=_numeric(operators, tensors),
        inputs=tuple(tensors[0][i] for i in inputs),
        outputs=tuple(tensors[0][i] for i in outputs),
        operators=operators,
        tensors=tuple(tensors[0]),
        parameters=sum(tensor.elements for tensor in weights.values()),
        parameter_bytes=sum(tensor.constant_bytes for tensor in weights.values()),
        macs=sum(operator.macs for operator in operators if operator.subgraph in run),
        subgraphs=len(graphs),
        signatures=tuple(_signatures(model, tensors, room)),
        metadata=tuple(room.text(item.Name()) for item in room.items(model.MetadataLength, model.Metadata)),
        input_indices=inputs,
        output_indices=outputs,
    )


def _run(graphs: list[Any], room: flatbuffer.Room) -> set[int]:
    """The graphs that a run of the main one enters: itself, and those of loops, branches and calls, to any depth."""
    found: set[int] = set()
    pending = {0}
    while pending:
        found.add(number := pending.pop())
        entered = _entered(graphs[number], room) if len(graphs) > 1 else set()
        pending |= (entered & {*range(len(graphs))}) - found
    return found


def _entered(graph: Any, room: flatbuffer.Room) -> set[int]:
    """The graphs that operators of a graph name in their options."""
    options = (options_of(room, operator) for operator in room.items(graph.OperatorsLength, graph.Operators))
    return {value for one in options for name, value in one.items() if "Subgraph" in name and isinstance(value, int)}


def _tensors(graph: Any, room: flatbuffer.Room) -> Iterator[Any]:
    return room.items(graph.TensorsLength, graph.Tensors)


def _tensor(model: Any, tensor: Any, room: flatbuffer.Room) -> TensorInfo:
    shape = room.shape(tensor.ShapeAsNumpy())
    signature = room.shape(tensor.ShapeSignatureAsNumpy())
    quantization = tensor.Quantization()
    scales = flatbuffer.vector(quantization.ScaleAsNumpy()) if quantization else []
    zeros = flatbuffer.vector(quantization.ZeroPointAsNumpy()) if quantization else []
    span = flatbuffer.buffer_span(model, tensor.Buffer(), room.size)
    sparsity = tensor.Sparsity()  # not told here, and read by who edits the file
    room.take(4 * ((sparsity.DimMetadataLength() if sparsity else 0) + tensor.VariantTensorsLength()))
    return TensorInfo(
        name=room.text(tensor.Name()),
        shape=signature if len(signature) == len(shape) else shape,
        dtype=flatbuffer.type_names().get(tensor.Type(), f"type{tensor.Type()}"),
        scale=float(scales[0]) if len(scales) == 1 else None,
        zero_point=int(zeros[0]) if len(zeros) == 1 else None,
        channel_scales=len(scales) if len(scales) > 1 else 0,
        constant_bytes=span[1] if span else 0,
        buffer=tensor.Buffer(),
        variable=tensor.IsVariable(),
    )


def _operator(
    model: Any, operator: Any, tensors: list[TensorInfo], subgraph: int, index: int, room: flatbuffer.Room
) -> OperatorInfo:
    code = model.OperatorCodes(operator.OpcodeIndex())
    name, custom = flatbuffer.operator_name(code), room.text(code.CustomCode())
    inputs = room.indices(operator.InputsLength, operator.Inputs)
    outputs = room.indices(operator.OutputsLength, operator.Outputs)
    read = [tensors[i] for i in inputs if i >= 0]
    written = [tensors[i] for i in outputs if i >= 0]
    live = [tensor for tensor in read if not tensor.constant_bytes]
    weights = [tensor for tensor in read if tensor.constant_bytes and _is_weight(tensor)]
    return OperatorInfo(
        index=index,
        name=name,
        custom=bool(custom),
        flex=custom.startswith("Flex"),
        subgraph=subgraph,
        dtype=(live or written or read or [TensorInfo("", (), "none")])[0].dtype,
        inputs=inputs,
        outputs=outputs,
        output_name=written[0].name if written else "",
        output_shape=written[0].shape if written else (),
        macs=operator_macs(name, [t.shape for t in read], [t.shape for t in written]),
        weight_bytes=sum(tensor.constant_bytes for tensor in read),
        weight_dtype=max(weights, key=lambda tensor: tensor.constant_bytes).dtype if weights else "",
        dynamic=any(tensor.dynamic for tensor in (*read, *written)),
    )


def _is_weight(tensor: TensorInfo) -> bool:
    """Weights and biases, not shapes and axes: those are int32 or int64 without a scale."""
    return tensor.dtype in _WEIGHT_TYPES or tensor.scale is not None or tensor.channel_scales > 0


def _numeric(operators: tuple[OperatorInfo, ...], tensors: list[list[TensorInfo]]) -> Numeric:
    """The scheme that the file as a whole follows, judged by what its operators compute in."""
    computing = [op for op in operators if op.name not in _CASTS and op.dtype in _INTEGER | {"float32", "float16"}]
    types = {op.dtype for op in computing}
    if types <= {"int8", "uint8"} and types:
        return "int8"
    if types and types <= _INTEGER:
        return "int16x8"
    if types & _INTEGER:
        return "mixed"
    if any(op.weight_dtype in {"int8", "uint8", "int4"} for op in operators):
        return "dynamic-int8"
    halves = any(tensor.dtype == "float16" and tensor.constant_bytes for graph in tensors for tensor in graph)
    return "float16" if halves else "float32"


def _signatures(model: Any, tensors: list[list[TensorInfo]], room: flatbuffer.Room) -> Iterator[Signature]:
    for signature in room.items(model.SignatureDefsLength, model.SignatureDefs):
        graph = tensors[signature.SubgraphIndex()]
        yield Signature(
            key=room.text(signature.SignatureKey()),
            inputs={
                room.text(item.Name()): graph[item.TensorIndex()].name
                for item in room.items(signature.InputsLength, signature.Inputs)
            },
            outputs={
                room.text(item.Name()): graph[item.TensorIndex()].name
                for item in room.items(signature.OutputsLength, signature.Outputs)
            },
        )
