"""XNNPACK forecasts of whole files: real ones, unpacked constants, variables, kernels that fail, damage, and words."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from delegated import forecast_equals_reality, really
from toys import Toy

from edgekit.errors import ModelError
from edgekit.forecast.placement import Forecast
from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.tflite.graph import Graph, Operator, read_graph

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
SHARED = pytest.mark.skipif(not FILES, reason="the shared models are not here")
ROW = [1, 4]
IMAGE = [1, 4, 4, 8]


def _file(stem: str) -> bytes:
    return next(path for path in FILES if path.stem == stem).read_bytes()


@SHARED
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_files(path: Path) -> None:
    if path.stem == "deeplabv3_mnv2_dm05_pascal_quant_edgetpu":
        pytest.skip("its custom operator stops the runtime before XNNPACK's kernel does")
    forecast_equals_reality(path.read_bytes())


@SHARED
def test_a_kernel_that_cannot_be_built_is_told_for_the_whole_file() -> None:
    forecast = forecast_xnnpack(read_graph(_file("deeplabv3_mnv2_dm05_pascal_quant")))
    broken = [placement for placement in forecast.left if placement.code == "kernel"]
    assert [(one.index, one.name) for one in broken] == [(63, "RESIZE_BILINEAR")]
    assert "different scales" in broken[0].reason
    assert len(forecast.left) == len(forecast.placements)
    assert forecast.partitions == 0
    assert {placement.code for placement in forecast.left} == {"kernel", "file"}
    assert really(_file("deeplabv3_mnv2_dm05_pascal_quant")).failed


@SHARED
def test_a_forecast_is_fast() -> None:
    data = _file("nmp")
    start = time.perf_counter()
    forecast_xnnpack(read_graph(data))
    assert time.perf_counter() - start < 2.0


def _activations(kind: str, name: str) -> bytes:
    """Sixteen convolutions of 1x1, each with an activation behind it."""
    toy = Toy()
    first = image = toy.tensor(IMAGE, kind)
    bias = {"kind": "int32", "scales": [0.01]} if kind == "int8" else {"kind": "float32"}
    for _ in range(16):
        weights, offsets = toy.tensor([8, 1, 1, 8], kind, data=True), toy.tensor([8], data=True, **bias)
        middle, out = toy.tensor(IMAGE, kind), toy.tensor(IMAGE, kind)
        toy.operator("CONV_2D", [image, weights, offsets], [middle], "Conv2DOptions", strideW=1, strideH=1)
        toy.operator(name, [middle], [out])
        image = out
    return toy.bytes([first], [image])


def test_int8_hard_swish_cuts_a_graph_into_pieces() -> None:
    assert forecast_equals_reality(_activations("float32", "HARD_SWISH")).partitions == 1
    assert forecast_equals_reality(_activations("int8", "TANH")).partitions == 1
    forecast = forecast_equals_reality(_activations("int8", "HARD_SWISH"))
    assert forecast.partitions == 16
    assert {(placement.name, placement.code) for placement in forecast.left} == {("HARD_SWISH", "type")}
    left = forecast.left[0]
    assert left.reason == "XNNPACK has no int8 HARD_SWISH, only float32 or float16"
    assert left.mend == "use relu6 in its place, or keep these layers in float"
    assert left.source.startswith("https://github.com/google-ai-edge/LiteRT/")
    assert left.source.endswith("VisitUnaryNode")


def _softmax(behind: tuple[str, ...]) -> bytes:
    """TANH, SOFTMAX, and what comes behind them, in int8."""
    toy = Toy()
    tensors = [toy.tensor((1, 8), "int8", [1 / 256]) for _ in range(3 + len(behind))]
    toy.operator("TANH", [tensors[0]], [tensors[1]])
    toy.operator("SOFTMAX", [tensors[1]], [tensors[2]], "SoftmaxOptions", beta=1.0)
    for place, name in enumerate(behind, 2):
        toy.operator(name, [tensors[place]], [tensors[place + 1]])
    return toy.bytes(tensors[:1], tensors[-1:])


def test_the_last_softmax_needs_no_mend() -> None:
    for behind in ((), ("QUANTIZE",)):
        (left,) = forecast_xnnpack(read_graph(_softmax(behind))).left
        assert (left.name, left.mend) == ("SOFTMAX", "")
        assert left.reason.endswith("it is the last one and costs little")
    for behind in (("TANH",), ("QUANTIZE", "TANH")):
        (left,) = forecast_xnnpack(read_graph(_softmax(behind))).left
        assert left.mend == "keep the layers around it in float"


def _weights_unpacked(kind: str = "float16", bias: str = "float16", reader: str = "", weights: str = "packed") -> bytes:
    """A convolution whose constants DEQUANTIZE unpacks; `reader` is a second operator that reads the weights."""
    toy = Toy()
    image, out, aside = toy.tensor(IMAGE), toy.tensor([1, 4, 4, 4]), toy.tensor([4, 1, 1, 8])
    raw, kernel = toy.tensor([4, 1, 1, 8], kind, data=True), toy.tensor([4, 1, 1, 8])
    toy.operator("DEQUANTIZE", [raw], [kernel])
    offsets = toy.tensor([4], data=None if bias == "float16" else True)
    if bias == "float16":
        toy.operator("DEQUANTIZE", [toy.tensor([4], "float16", data=True)], [offsets])
    used = kernel if weights == "packed" else toy.tensor([4, 1, 1, 8], data=True)
    toy.operator("CONV_2D", [image, used, offsets], [out], "Conv2DOptions", strideW=1, strideH=1)
    if reader:
        toy.operator(reader, [kernel], [aside])
    return toy.bytes([image], [out, aside] if reader else [out])


@pytest.mark.parametrize("reader", ["", "NEG", "SIGN"])
@pytest.mark.parametrize("bias", ["float16", "float32"])
@pytest.mark.parametrize("kind", ["float16", "int8"])
@pytest.mark.parametrize("weights", ["packed", "plain"])
def test_constants_that_the_delegate_unpacks(kind: str, bias: str, reader: str, weights: str) -> None:
    forecast_equals_reality(_weights_unpacked(kind, bias, reader, weights))


def test_a_reader_outside_keeps_the_unpacking_outside() -> None:
    forecast = forecast_equals_reality(_weights_unpacked(bias="float32", reader="SIGN"))
    assert [(placement.name, placement.code) for placement in forecast.left] == [
        ("DEQUANTIZE", "reader"),
        ("SIGN", "operator"),
    ]
    assert "(SIGN)" in forecast.left[0].reason


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_sparse_weights(kind: str) -> None:
    toy = Toy()
    x, y, dense, bias = toy.tensor([1, 8]), toy.tensor(ROW), toy.tensor([4, 8], kind), toy.tensor([4], data=True)
    sparse = toy.tensor([4, 2], kind, data=True)
    toy.graph.tensors[sparse].shape, toy.graph.tensors[sparse].sparsity = [4, 8], _rows_of_two()
    toy.operator("DENSIFY", [sparse], [dense])
    weights = dense
    if kind == "float16":
        weights = toy.tensor([4, 8])
        toy.operator("DEQUANTIZE", [dense], [weights])
    toy.operator("FULLY_CONNECTED", [x, weights, bias], [y], "FullyConnectedOptions")
    assert forecast_equals_reality(toy.bytes([x], [y])).left == ()


def _rows_of_two() -> schema.SparsityParametersT:
    """Four rows of eight values, of which the first two are stored."""
    found, rows, columns = schema.SparsityParametersT(), schema.DimensionMetadataT(), schema.DimensionMetadataT()
    found.traversalOrder, found.dimMetadata = [0, 1], [rows, columns]
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 4
    columns.format = schema.DimensionType.SPARSE_CSR
    for field, values in (("Segments", range(0, 10, 2)), ("Indices", [0, 1] * 4)):
        vector = schema.Int32VectorT()
        vector.values = list(values)
        setattr(columns, f"array{field}", vector)
        setattr(columns, f"array{field}Type", schema.SparseIndexVector.Int32Vector)
    return found


def _random_state(seed: int) -> bytes:
    """Reads and writes of one or two variables among operators that XNNPACK takes and one that it has not."""
    chance, toy = random.Random(seed), Toy()
    x, written = toy.tensor(ROW), []
    handles = [toy.tensor([1], "resource") for _ in range(chance.randint(1, 2))]
    for number, handle in enumerate(handles):
        toy.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", container="", sharedName=f"v{number}")
    now = x
    for _ in range(chance.randint(2, 8)):
        name = chance.choice(["READ_VARIABLE", "ASSIGN_VARIABLE", "NEG", "SIGN"])
        if name == "ASSIGN_VARIABLE":
            toy.operator(name, [chance.choice(handles), now], [])
            continue
        shape = chance.choice([ROW, ROW, ROW, [4], []]) if name == "READ_VARIABLE" else ROW
        read, out = chance.choice(handles) if name == "READ_VARIABLE" else now, toy.tensor(shape)
        toy.operator(name, [read], [out])
        now = out if shape == ROW else now
        written.append(out)
    return toy.bytes([x], written or [x])


@pytest.mark.parametrize("seed", range(25))
def test_variables(seed: int) -> None:
    forecast_equals_reality(_random_state(seed))


def test_an_operator_that_reads_its_own_output_keeps_the_delegate_away() -> None:
    toy = Toy()
    x, y = toy.tensor(ROW), toy.tensor(ROW)
    toy.operator("ADD", [x, y], [y], "AddOptions")
    forecast = forecast_xnnpack(read_graph(toy.bytes([x], [y])))
    assert [(placement.taken, placement.code) for placement in forecast.placements] == [(False, "cycle")]
    assert forecast.partitions == 0


def test_custom_operators_are_not_mistaken_for_those_of_the_schema() -> None:
    toy = Toy()
    x, y = toy.tensor(IMAGE), toy.tensor(IMAGE)
    toy.operator("MaxUnpooling2D", [x, x], [y])
    toy.operator("add", [x, x], [toy.tensor(IMAGE)])
    toy.model.operatorCodes[1].customCode = "ADD"
    forecast = forecast_xnnpack(read_graph(toy.bytes([x], [y])))
    assert [(placement.name, placement.taken) for placement in forecast.placements] == [
        ("MaxUnpooling2D", None),
        ("ADD", False),
    ]


def test_a_file_without_operators() -> None:
    toy = Toy()
    x = toy.tensor(ROW)
    assert forecast_xnnpack(read_graph(toy.bytes([x], [x]))) == Forecast("xnnpack", (), 0, "LiteRT 2.3")


@SHARED
@pytest.mark.parametrize("stem", ["nmp", "alexa", "pretrainedResnet_quant", "hello_world_int8"])
def test_damaged_files_end_in_an_answer_or_in_an_error_of_ours(stem: str) -> None:
    data, chance = _file(stem), random.Random(7)
    for _ in range(15):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            copy[chance.randrange(len(copy))] = chance.randrange(256)
        try:
            forecast = forecast_xnnpack(read_graph(copy))
        except ModelError:
            continue
        assert all(placement.taken or placement.reason for placement in forecast.placements)


@pytest.mark.parametrize("name", ["CONV_2D", "RESHAPE", "PAD", "TRANSPOSE_CONV", "BATCH_MATMUL", "SPLIT", "MEAN"])
def test_odd_values_end_in_an_answer_or_in_an_error_of_ours(name: str) -> None:
    chance, answers = random.Random(name), 0
    for _ in range(60):
        toy = Toy()
        kinds = [chance.choice(["float32", "int8", "int32"]) for _ in range(4)]
        tensors = [toy.tensor([1] * chance.randrange(9), kind, data=chance.choice([None, True])) for kind in kinds]
        for tensor in toy.graph.tensors:
            tensor.shape = [chance.choice([-(2**31), -1, 0, 1, 4, 2**31 - 1]) for _ in tensor.shape]
        toy.operator(name, [chance.choice([-1, *tensors]) for _ in range(chance.randrange(5))], tensors[:1])
        try:
            answers += len(forecast_xnnpack(read_graph(toy.bytes(tensors[:1], tensors[1:2]))).placements)
        except ModelError:
            continue
    assert answers > 10


def test_a_flood_of_operators_takes_seconds() -> None:
    toy = Toy()
    toy.operator("NEG", [toy.tensor(ROW)], [toy.tensor(ROW)])
    tensors = read_graph(toy.bytes([0], [1])).tensors[:1]
    count = 12_000
    names = np.resize(["NEG", "SIGN", "ARG_MAX"], count)
    many = tuple(Operator(place, str(name), 1, False, (place,), (place + 1,), {}) for place, name in enumerate(names))
    start = time.perf_counter()
    forecast = forecast_xnnpack(Graph(many, tensors * (count + 1), (0,), (count,)))
    assert time.perf_counter() - start < 10
    assert forecast.partitions == (count + 2) // 3
