"""The GPU delegate, rule by rule: both sides of each documented limit, then pieces, float16, sizes, and whole files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from made_graphs import chain, constant, fed, operator, step, zeros

from edgekit.errors import InputError, ModelError
from edgekit.forecast.gpu import forecast_gpu
from edgekit.forecast.gpu_rules import RULES
from edgekit.forecast.placement import Placement
from edgekit.operators import load_table
from edgekit.tflite.flatbuffer import operator_names
from edgekit.tflite.graph import Graph, read_graph

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
SHARED = pytest.mark.skipif(not FILES, reason="the shared models are not here")

IMAGE, ROW, CUBE = fed([1, 8, 8, 4]), fed([1, 4]), fed([1, 8, 4])
WINDOW = {"StrideW": 1, "StrideH": 1, "DilationWFactor": 1, "DilationHFactor": 1}
POOL = {"StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2}
WEIGHTS, BIAS = zeros(4, 3, 3, 4), zeros(4)
AXES = constant([1, 2], "int32")
SIGN_BIT = 5


def only(graph: Graph, **settings: object) -> Placement:
    (placement,) = forecast_gpu(graph, **settings).placements  # type: ignore[arg-type]
    return placement


def code(graph: Graph) -> str:
    placement = only(graph)
    assert (placement.code == "") == (placement.taken is True)
    assert placement.source.startswith("https://")
    assert placement.taken or placement.reason
    return placement.code


@pytest.mark.parametrize(
    ("taken", "left", "why"),
    [
        (
            operator("CONV_2D", [IMAGE, WEIGHTS, BIAS], [IMAGE], 6, **WINDOW),
            operator("CONV_2D", [IMAGE, WEIGHTS, BIAS], [IMAGE], 7, **WINDOW),
            "operator-version",
        ),
        (
            operator("CONV_2D", [IMAGE, WEIGHTS, BIAS], [IMAGE], **WINDOW),
            operator("CONV_2D", [IMAGE, WEIGHTS, fed([4])], [IMAGE], **{**WINDOW, "StrideH": 0}),
            "setting",
        ),
        (
            operator("CONV_2D", [IMAGE, fed([4, 3, 3, 4]), None], [IMAGE], **WINDOW),
            operator("CONV_2D", [IMAGE, fed([4, 3, 3, 4]), fed([4])], [IMAGE], **WINDOW),
            "input-count",
        ),
        (
            operator("CONV_2D", [IMAGE, WEIGHTS], [IMAGE], **WINDOW, FusedActivationFunction=4),
            operator("CONV_2D", [IMAGE, WEIGHTS], [IMAGE], **WINDOW, FusedActivationFunction=SIGN_BIT),
            "fused-activation",
        ),
        (
            operator("DEPTHWISE_CONV_2D", [IMAGE, zeros(1, 3, 3, 8)], [fed([1, 8, 8, 8])], **WINDOW, DepthMultiplier=2),
            operator("DEPTHWISE_CONV_2D", [IMAGE, zeros(1, 3, 3, 8)], [fed([1, 8, 8, 8])], **WINDOW, DepthMultiplier=1),
            "shape",
        ),
        (
            operator("MAX_POOL_2D", [IMAGE], [IMAGE], **POOL),
            operator("MAX_POOL_2D", [IMAGE], [IMAGE], **{**POOL, "FilterWidth": 0}),
            "setting",
        ),
        (
            operator("ADD", [IMAGE, zeros(8, 8, 4)], [IMAGE]),
            operator("ADD", [fed([2, 8, 8, 4]), zeros(8, 8, 4)], [IMAGE]),
            "broadcast",
        ),
        (operator("ADD", [IMAGE, ROW], [IMAGE]), operator("ADD", [IMAGE, fed([8, 4])], [IMAGE]), "broadcast"),
        (operator("MUL", [IMAGE, fed([1, 1])], [IMAGE], 3), operator("MUL", [CUBE, ROW], [CUBE], 3), "broadcast"),
        (operator("MUL", [IMAGE, IMAGE], [IMAGE], 3), operator("MUL", [IMAGE, IMAGE], [IMAGE], 4), "operator-version"),
        (
            operator("ADD_N", [IMAGE, fed([1, 8, 8, 4])], [IMAGE]),
            operator("ADD_N", [IMAGE, IMAGE, IMAGE], [IMAGE]),
            "input-count",
        ),
        (
            operator("SUB", [IMAGE, constant(1.0)], [IMAGE]),
            operator("SUB", [constant(1.0), constant(1.0)], [IMAGE]),
            "input-count",
        ),
        (
            operator("MEAN", [IMAGE, AXES], [ROW]),
            operator("MEAN", [IMAGE, constant([1, 2], "int64")], [ROW]),
            "constant-axes",
        ),
        (operator("SOFTMAX", [ROW], [ROW], Beta=1.0), operator("SOFTMAX", [ROW], [ROW], Beta=0.5), "setting"),
        (
            operator("SLICE", [CUBE, AXES, AXES], [CUBE]),
            operator("SLICE", [ROW, AXES, AXES], [ROW]),
            "too-many-dimensions",
        ),
        (
            operator("STRIDED_SLICE", [CUBE, AXES, AXES, constant([1, 1, 1], "int32")], [CUBE]),
            operator("STRIDED_SLICE", [CUBE, AXES, AXES, constant([1, 1, 1], "int32")], [ROW], ShrinkAxisMask=1),
            "setting",
        ),
        (
            operator("STRIDED_SLICE", [CUBE, AXES, AXES, constant([1, 1, 1], "int32")], [CUBE]),
            operator("STRIDED_SLICE", [CUBE, AXES, AXES, constant([1, -1, 1], "int32")], [CUBE]),
            "fails-to-build",
        ),
        (
            operator("PAD", [IMAGE, zeros(4, 2, dtype="int32")], [IMAGE]),
            operator("PAD", [ROW, zeros(2, 2, dtype="int32")], [ROW]),
            "shape",
        ),
        (
            operator("MIRROR_PAD", [IMAGE, zeros(4, 2, dtype="int32")], [IMAGE], Mode=0),
            operator("MIRROR_PAD", [IMAGE, zeros(4, 2, dtype="int32")], [IMAGE], Mode=1),
            "setting",
        ),
        (
            operator("RESIZE_BILINEAR", [IMAGE, AXES], [IMAGE], AlignCorners=True),
            operator("RESIZE_BILINEAR", [IMAGE, AXES], [IMAGE], AlignCorners=True, HalfPixelCenters=True),
            "setting",
        ),
        (
            operator("DEPTH_TO_SPACE", [IMAGE], [IMAGE], BlockSize=2),
            operator("DEPTH_TO_SPACE", [IMAGE], [IMAGE], BlockSize=1),
            "setting",
        ),
        (
            operator("FULLY_CONNECTED", [ROW, zeros(2, 4), None], [fed([1, 2])], 9),
            operator("FULLY_CONNECTED", [ROW, zeros(2, 4), None], [fed([1, 2])], WeightsFormat=1),
            "setting",
        ),
        (
            operator("FULLY_CONNECTED", [CUBE, zeros(2, 4)], [fed([1, 8, 2])], KeepNumDims=True),
            operator("FULLY_CONNECTED", [CUBE, zeros(2, 4)], [fed([8, 2])], KeepNumDims=True),
            "shape",
        ),
        (
            operator("FULLY_CONNECTED", [fed([1, 32]), zeros(2, 32)], [fed([1, 2])]),
            operator("FULLY_CONNECTED", [CUBE, zeros(2, 32)], [fed([1, 2])]),
            "fails-to-build",
        ),
        (
            operator("BATCH_MATMUL", [CUBE, zeros(4, 2)], [CUBE]),
            operator("BATCH_MATMUL", [CUBE, zeros(1, 4, 2)], [CUBE]),
            "fails-to-build",
        ),
        (
            operator("CAST", [IMAGE], [fed([1, 8, 8, 4], "int32")]),
            operator("CAST", [IMAGE], [fed([1, 8, 8, 4], "int64")]),
            "unsupported-type",
        ),
        (
            operator("GATHER", [CUBE, constant([0], "int32")], [CUBE]),
            operator("GATHER", [CUBE, constant([[0]], "int32")], [CUBE]),
            "shape",
        ),
        (
            operator("DEQUANTIZE", [fed([1, 4], "int8")], [ROW]),
            operator("DEQUANTIZE", [fed([1, 4], "int16")], [ROW]),
            "unsupported-type",
        ),
        (
            operator("CUMSUM", [CUBE, constant(1, "int32")], [CUBE]),
            operator("CUMSUM", [CUBE, fed([], "int32")], [CUBE]),
            "setting",
        ),
        (
            operator("RELU", [fed([1, 2, 2, 4])], [IMAGE], 2),
            operator("RELU", [fed([1, 2, 2, 2, 4])], [IMAGE], 2),
            "too-many-dimensions",
        ),
        (
            operator("TANH", [fed([1, 4], "float16")], [fed([1, 4], "float16")]),
            operator("TANH", [fed([1, 4], "int16")], [fed([1, 4], "int16")]),
            "unsupported-type",
        ),
        (operator("TANH", [fed([1])], [fed([1])]), operator("TANH", [fed([])], [fed([])]), "fails-to-build"),
        (
            operator("TANH", [fed([1, 4], "int8")], [fed([1, 4], "int8")]),
            operator("TANH", [fed([1, 4], "int8", [0.1, 0.2])], [fed([1, 4], "int8")]),
            "fails-to-build",
        ),
        (
            operator("MAXIMUM", [IMAGE, constant(np.ones((1, 1, 1, 4)))], [IMAGE]),
            operator("MAXIMUM", [IMAGE, constant(np.ones((2, 1, 1, 4)))], [IMAGE]),
            "fails-to-build",
        ),
        (operator("ADD", [IMAGE, IMAGE], [IMAGE]), operator("SUB", [IMAGE, IMAGE], [IMAGE]), "fails-to-build"),
        (
            operator("SELECT_V2", [fed([1, 1], "bool"), constant(0.0), constant(1.0)], [ROW]),
            operator("SELECT_V2", [fed([1, 4], "bool"), ROW, fed([1, 4])], [ROW]),
            "shape",
        ),
        (
            operator(
                "ONE_HOT",
                [fed([1, 1, 1, 3], "int32"), constant(2, "int32"), constant(1.0), constant(0.0)],
                [IMAGE],
                Axis=-1,
            ),
            operator(
                "ONE_HOT",
                [fed([1, 2, 1, 3], "int32"), constant(2, "int32"), constant(1.0), constant(0.0)],
                [IMAGE],
                Axis=-1,
            ),
            "setting",
        ),
        (
            operator(
                "LSTM",
                [ROW, ROW, ROW, WEIGHTS, BIAS],
                [ROW, ROW, ROW, fed([1, 8])],
                KernelType=1,
                FusedActivationFunction=4,
            ),
            operator(
                "LSTM",
                [ROW, ROW, ROW, WEIGHTS, BIAS],
                [ROW, ROW, ROW, fed([1, 6])],
                KernelType=1,
                FusedActivationFunction=4,
            ),
            "setting",
        ),
        (
            operator("TRANSPOSE", [IMAGE, AXES], [IMAGE], 4),
            operator("EXPAND_DIMS", [IMAGE, AXES], [IMAGE]),
            "unsupported-operator",
        ),
    ],
)
def test_both_sides_of_each_limit(taken: Graph, left: Graph, why: str) -> None:
    assert (code(taken), code(left)) == ("", why)


def test_a_comparison_goes_into_one_cast_or_select() -> None:
    flag, other = fed([1, 4], "bool"), fed([1, 4])
    compare, cast = step("LESS", [ROW, constant(0.0)], [flag]), step("CAST", [flag], [other])
    after = step("TANH", [other], [fed([1, 4])])
    assert not forecast_gpu(chain([compare, cast, after])).left
    shared = forecast_gpu(chain([compare, cast, after, step("CAST", [flag], [fed([1, 4])])]))
    assert {placement.code for placement in shared.left} >= {"shared-comparison"}
    assert forecast_gpu(chain([compare, step("TANH", [ROW], [other])])).left[0].code == "shared-comparison"


def test_split_depends_on_the_device_unless_it_is_told() -> None:
    graph = operator("SPLIT", [constant(3, "int32"), IMAGE], [fed([1, 8, 8, 2]), fed([1, 8, 8, 2])])
    assert [only(graph, opencl=told).taken for told in (None, True, False)] == [None, True, False]


def test_what_an_undecided_operator_decides_is_undecided() -> None:
    halves = [fed([1, 8, 8, 2]), fed([1, 8, 8, 2])]
    graph = chain([
        step("TANH", [ROW], [fed([1, 4])]),
        step("RELU", [IMAGE], [first := fed([1, 8, 8, 4])]),
        step("SPLIT", [constant(3, "int32"), first], halves),
        step("TANH", [halves[0]], [second := fed([1, 8, 8, 2])]),
        step("TANH", [second], [fed([1, 8, 8, 2])]),
    ])  # fmt: skip
    assert [placement.taken for placement in forecast_gpu(graph).placements] == [True, True, None, None, None]
    assert not forecast_gpu(graph, opencl=True).left


def test_where_an_undecided_operator_joins_the_larger_piece_neither_piece_is_certain() -> None:
    names = (*["TANH"] * 3, "ROUND", *["TANH"] * 2)
    wires = [fed([1, 8, 8, 4]) for _ in range(len(names) + 1)]
    halves = [fed([1, 8, 8, 2]), fed([1, 8, 8, 2])]
    graph = chain([
        *(step(name, [wires[i]], [wires[i + 1]]) for i, name in enumerate(names)),
        step("SPLIT", [constant(3, "int32"), wires[-1]], halves),
        step("TANH", [halves[0]], [third := fed([1, 8, 8, 2])]),
        step("TANH", [third], [fed([1, 8, 8, 2])]),
    ])  # fmt: skip
    found = [placement.taken for placement in forecast_gpu(graph).placements]
    assert found == [None, None, None, False, None, None, None, None, None]
    taken = [placement.taken for placement in forecast_gpu(graph, opencl=True).placements]
    assert taken == [False, False, False, False, True, True, True, True, True]


def test_eight_bits_can_be_switched_off() -> None:
    graph = operator("TANH", [fed([1, 4], "int8")], [fed([1, 4], "int8")])
    assert only(graph).taken
    assert only(graph, quantized=False).code == "unsupported-type"
    cast = operator("QUANTIZE", [ROW], [fed([1, 4], "int8")])
    assert only(cast, quantized=False).code == "quantization-off"


def test_custom_operators_are_unknown_or_left() -> None:
    assert only(operator("Resampler", [IMAGE, IMAGE], [IMAGE], custom=True)).taken is None
    assert only(operator("Mine", [IMAGE], [IMAGE], custom=True)).code == "unsupported-operator"


def _cut_twice() -> Graph:
    names = ("TANH", "TANH", "ROUND", "TANH", "TANH", "TANH", "ROUND", "TANH")
    wires = [fed([1, 4]) for _ in range(len(names) + 1)]
    return chain([step(name, [wires[i]], [wires[i + 1]]) for i, name in enumerate(names)])


def test_only_the_largest_pieces_are_delegated() -> None:
    codes = {1: "ppuTTTup", 2: "TTuTTTup", 3: "TTuTTTuT"}
    short = {"": "T", "smaller-piece": "p", "unsupported-operator": "u"}
    for most, wanted in codes.items():
        found = forecast_gpu(_cut_twice(), pieces=most)
        assert "".join(short[placement.code] for placement in found.placements) == wanted
        assert found.partitions == most
    with pytest.raises(InputError, match="0 pieces"):
        forecast_gpu(_cut_twice(), pieces=0)


def test_a_piece_goes_on_past_what_another_branch_cuts() -> None:
    left, right = fed([1, 4]), fed([1, 4])
    graph = chain([
        step("TANH", [ROW], [first := fed([1, 4])]),
        step("ROUND", [first], [left]),
        step("TANH", [first], [right]),
        step("ADD", [left, right], [fed([1, 4])]),
    ])  # fmt: skip
    found = forecast_gpu(graph, pieces=2)
    assert ([placement.taken for placement in found.placements], found.partitions) == ([True, False, True, True], 2)


def test_float16_constants_go_along_only_with_everything() -> None:
    unpacked = fed([2, 4])
    unpack = step("DEQUANTIZE", [constant(np.zeros((2, 4)), "float16")], [unpacked])
    dense = step("FULLY_CONNECTED", [ROW, unpacked, None], [made := fed([1, 2])])
    whole = forecast_gpu(chain([unpack, dense]))
    assert (whole.left, whole.partitions) == ((), 1)
    cut = forecast_gpu(chain([unpack, dense, step("ROUND", [made], [fed([1, 2])])]))
    assert [placement.code for placement in cut.placements] == ["float16-constants", "", "unsupported-operator"]


def test_one_size_that_is_not_known_refuses_the_whole_graph() -> None:
    reshape = step("RESHAPE", [IMAGE, fed([2], "int32")], [ROW])
    found = forecast_gpu(chain([step("TANH", [fed([1, 8, 8, 4])], [IMAGE]), reshape]))
    assert [placement.code for placement in found.placements] == ["delegate-refused", "dynamic-tensor"]
    assert found.partitions == 0
    size = fed([4], "int32")
    settled = chain([step("SHAPE", [IMAGE], [size]), step("FILL", [size, constant(0.0)], [fed([1, 8, 8, 4])])])
    assert {placement.code for placement in forecast_gpu(settled).placements} == {"unsupported-operator"}


def test_a_graph_that_waits_for_itself_is_an_error() -> None:
    one, other = fed([1, 4]), fed([1, 4])
    with pytest.raises(ModelError, match="computed after"):
        forecast_gpu(chain([step("ADD", [ROW, other], [one]), step("TANH", [one], [other])]))


def test_the_table_has_every_rule_and_schema_names_only() -> None:
    table = load_table("gpu")
    assert set(RULES) <= set(table.operators) <= set(operator_names().values())


@SHARED
def test_whole_files() -> None:
    found = {path.stem: forecast_gpu(read_graph(path)) for path in FILES}
    assert not found["mobilenet_v1_0.25_128_quant"].left
    assert not found["pretrainedResnet"].left
    assert [p.name for p in found["deeplabv3_mnv2_dm05_pascal_quant"].left] == ["ARG_MAX"]
    assert found["micro_speech_quantized"].left[2].code == "fails-to-build"
    assert "dynamic-tensor" in {placement.code for placement in found["nmp"].left}


@SHARED
def test_a_damaged_file_is_an_answer_or_an_error_of_ours() -> None:
    data = bytearray(next(path for path in FILES if path.stem == "pretrainedResnet_quant").read_bytes())
    chance = random.Random(11)
    for _ in range(200):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            copy[chance.randrange(min(len(copy), 60_000))] = chance.randrange(256)
        try:
            found = forecast_gpu(read_graph(copy))
        except ModelError:
            continue
        assert all(placement.taken in (True, False, None) for placement in found.placements)
