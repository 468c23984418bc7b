"""Files as they are found in the wild, and worse: each function makes one, by the schema's objects."""

from __future__ import annotations

from collections.abc import Callable

from ai_edge_litert import schema_py_generated as schema
from toys import Toy

ZOO: dict[str, Callable[[], bytes]] = {}


def _exhibit(maker: Callable[[], bytes]) -> Callable[[], bytes]:
    ZOO[maker.__name__] = maker
    return maker


def _dense(axis: int = 0, scales: tuple[float, ...] = (0.1,), zeros: tuple[int, ...] = (), scale: float = 0.1) -> bytes:
    """An int8 dense layer with 4 outputs, whose weights have these scales."""
    toy = Toy()
    fed, made = toy.tensor([1, 8], "int8", scales=[scale]), toy.tensor([1, 4], "int8")
    weights = toy.tensor([4, 8], "int8", scales=scales, zeros=zeros, axis=axis, data=True)
    toy.operator("FULLY_CONNECTED", [fed, weights, -1], [made], "FullyConnectedOptions")
    return toy.bytes([fed], [made])


@_exhibit
def quantized_dimension_out_of_range() -> bytes:
    return _dense(axis=7, scales=(0.1,) * 4)


@_exhibit
def quantized_dimension_below_zero() -> bytes:
    return _dense(axis=-3, scales=(0.1,) * 4)


@_exhibit
def more_scales_than_channels() -> bytes:
    return _dense(scales=(0.1,) * 5)


@_exhibit
def fewer_zero_points_than_scales() -> bytes:
    return _dense(scales=(0.1,) * 4, zeros=(1, 2))


@_exhibit
def infinite_scale() -> bytes:
    return _dense(scale=float("inf"))


@_exhibit
def unresolved_custom_operators() -> bytes:
    toy = Toy()
    tensors = [toy.tensor([1, 8], kind) for kind in ("uint8", "float32", "float32", "float32")]
    for place, name in enumerate(("PosenetDecoderOp", "TFLite_Detection_PostProcess", "SignalWindow")):
        toy.operator(name, [tensors[place]], [tensors[place + 1]])
    return toy.bytes(tensors[:1], tensors[-1:])


@_exhibit
def flex_operator() -> bytes:
    return _one("FlexErf")


@_exhibit
def operator_of_the_future() -> bytes:
    return _one("RELU", code=999)


@_exhibit
def control_characters_in_names() -> bytes:
    return _one("Evil\x1b[31m\noperator")


def _one(name: str, code: int | None = None) -> bytes:
    toy = Toy()
    fed, made = toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator(name, [fed], [made])
    if code is not None:
        toy.model.operatorCodes[0].builtinCode, toy.model.operatorCodes[0].deprecatedBuiltinCode = code, 127
    return toy.bytes([fed], [made])


@_exhibit
def hybrid() -> bytes:
    toy = Toy()
    fed, weights, made = toy.tensor([1, 8]), toy.tensor([4, 8], "int8", data=True), toy.tensor([1, 4])
    toy.operator("FULLY_CONNECTED", [fed, weights, -1], [made], "FullyConnectedOptions", version=9)
    return toy.bytes([fed], [made])


@_exhibit
def densified_weights() -> bytes:
    toy = Toy()
    fed, stored, dense, made = toy.tensor([1, 8]), toy.tensor([4, 8], data=True), toy.tensor([4, 8]), toy.tensor([1, 4])
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [schema.DimensionMetadataT(), schema.DimensionMetadataT()]
    toy.graph.tensors[stored].sparsity = sparsity
    toy.operator("DENSIFY", [stored], [dense])
    toy.operator("FULLY_CONNECTED", [fed, dense, -1], [made], "FullyConnectedOptions")
    return toy.bytes([fed], [made])


@_exhibit
def uint8_of_2018() -> bytes:
    toy = Toy()
    fed, made = toy.tensor([1, 8, 8, 3], "uint8", zeros=[128]), toy.tensor([1, 8, 8, 4], "uint8")
    weights = toy.tensor([4, 3, 3, 3], "uint8", zeros=[120], data=True)
    bias = toy.tensor([4], "int32", scales=[0.01], data=True)
    toy.operator("CONV_2D", [fed, weights, bias], [made], "Conv2DOptions", strideW=1, strideH=1)
    return toy.bytes([fed], [made])


@_exhibit
def stateful() -> bytes:
    toy, begin = Toy(), schema.SubGraphT()
    begin.tensors, begin.operators, begin.inputs, begin.outputs = [], [], [], []
    toy.model.subgraphs.append(begin)
    fed, state, read, made = toy.tensor([1, 8]), toy.tensor([1], "resource"), toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    toy.operator("VAR_HANDLE", [], [state], "VarHandleOptions")
    toy.operator("READ_VARIABLE", [state], [read])
    toy.operator("ADD", [fed, read], [made], "AddOptions")
    toy.operator("ASSIGN_VARIABLE", [state, made], [])
    return toy.bytes([fed], [made])


@_exhibit
def several_signatures() -> bytes:
    toy = Toy()
    fed, made = toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("RELU", [fed], [made])
    toy.model.signatureDefs = [_signature(key, fed) for key in ("train", "infer", "")]
    return toy.bytes([fed], [made])


def _signature(key: str, fed: int) -> schema.SignatureDefT:
    found, argument = schema.SignatureDefT(), schema.TensorMapT()
    argument.name, argument.tensorIndex = "x", fed
    found.signatureKey, found.inputs, found.outputs = key, [argument], []
    return found


@_exhibit
def no_operators_and_a_huge_input() -> bytes:
    toy = Toy()
    fed = toy.tensor([1, 8000, 8000, 10])
    return toy.bytes([fed], [fed])


@_exhibit
def no_tensors_at_all() -> bytes:
    return Toy().bytes([], [])


@_exhibit
def operators_without_inputs() -> bytes:
    toy = Toy()
    made = toy.tensor([1, 8])
    for name in ("CONV_2D", "ADD", "RESHAPE", "MEAN", "PAD", "SOFTMAX", "SPLIT", "FULLY_CONNECTED"):
        toy.operator(name, [], [])
        toy.operator(name, [-1, -1, -1], [made])
    return toy.bytes([], [made])


@_exhibit
def operator_that_waits_for_itself() -> bytes:
    toy = Toy()
    fed, one, other = toy.tensor([1, 8]), toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("ADD", [fed, other], [one], "AddOptions")
    toy.operator("RELU", [one], [other])
    return toy.bytes([fed], [other])


@_exhibit
def open_everywhere() -> bytes:
    toy = Toy()
    fed, made = toy.tensor([-1, -1, -1, 3]), toy.tensor([-1, -1, -1, 4])
    toy.operator("CONV_2D", [fed, toy.tensor([4, 3, 3, 3], data=True), -1], [made], "Conv2DOptions")
    return toy.bytes([fed], [made])


@_exhibit
def strings_and_a_table() -> bytes:
    toy = Toy()
    words, table, missing = toy.tensor([1], "string"), toy.tensor([1], "resource"), toy.tensor([1], "int64", data=True)
    made = toy.tensor([1], "int64")
    toy.operator("HASHTABLE", [], [table], "HashtableOptions")
    toy.operator("HASHTABLE_FIND", [table, words, missing], [made])
    return toy.bytes([words], [made])


@_exhibit
def graph_that_is_not_there() -> bytes:
    toy = Toy()
    fed, made = toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("WHILE", [fed], [made], "WhileOptions", condSubgraphIndex=77, bodySubgraphIndex=78)
    return toy.bytes([fed], [made])
