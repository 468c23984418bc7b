"""The NNAPI delegate, rule by rule: both sides of each API level and limit of its source, then whole files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_graphs import chain, constant, fed, operator, step, zeros

from edgekit.errors import InputError
from edgekit.forecast.nnapi import forecast_nnapi
from edgekit.forecast.nnapi_rules import RULES
from edgekit.forecast.placement import Placement
from edgekit.operators import load_table
from edgekit.target import load_target
from edgekit.tflite.flatbuffer import operator_names
from edgekit.tflite.graph import Graph, read_graph

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
SHARED = pytest.mark.skipif(not FILES, reason="the shared models are not here")

IMAGE, ROW = fed([1, 8, 8, 4]), fed([1, 4])
BYTES, OLD = fed([1, 8, 8, 4], "int8"), fed([1, 8, 8, 4], "uint8")
WIDE = fed([1, 8, 8, 4], "uint8", [4.0])
WHOLE = fed([1, 4], "int32")
BIAS = zeros(4)
SIZE, AXIS = constant([8, 8], "int32"), constant(1, "int32")
PLAIN = {"DilationWFactor": 1, "DilationHFactor": 1}
FLOAT_WEIGHTS = zeros(4, 3, 3, 4)
RELU = 1


def weights(dtype: str, *scales: float) -> object:
    return constant([[[[0] * 4] * 3] * 3] * 4, dtype, scales)


CHANNELS, ONE_SCALE, COARSE = weights("int8", 0.1, 0.2), weights("uint8", 0.5), weights("uint8", 9.0)


def only(graph: Graph, level: int) -> Placement:
    (placement,) = forecast_nnapi(graph, level).placements
    assert placement.source.startswith("https://")
    assert (placement.code == "") == (placement.taken is True)
    return placement


LEVELS = [
    (operator("CONV_2D", [IMAGE, FLOAT_WEIGHTS, BIAS], [IMAGE], **PLAIN), 27, 26, "api-level"),
    (operator("CONV_2D", [BYTES, CHANNELS, BIAS], [BYTES], **PLAIN), 29, 28, "unsupported-type"),
    (operator("CONV_2D", [IMAGE, CHANNELS, BIAS], [IMAGE], **PLAIN), 29, 28, "hybrid"),
    (operator("CONV_2D", [OLD, COARSE, BIAS], [WIDE], **PLAIN), 29, 28, "scales"),
    (operator("CONV_2D", [OLD, weights("uint8", 0.1, 0.1), BIAS], [WIDE], **PLAIN), 29, 28, "per-channel-weights"),
    (operator("CONV_2D", [IMAGE, zeros(4, 3, 3, 2), BIAS], [IMAGE], **PLAIN), 29, 28, "setting"),
    (operator("CONV_2D", [IMAGE, FLOAT_WEIGHTS, BIAS], [IMAGE], **{**PLAIN, "DilationWFactor": 2}), 29, 28, "setting"),
    (operator("DEPTHWISE_CONV_2D", [BYTES, CHANNELS, BIAS], [BYTES], **PLAIN), 29, 28, "unsupported-type"),
    (operator("FULLY_CONNECTED", [IMAGE, zeros(2, 4), None], [IMAGE], KeepNumDims=True), 30, 29, "api-level"),
    (operator("ADD", [WHOLE, WHOLE], [WHOLE]), 30, 29, "unsupported-type"),
    (operator("MUL", [ROW, ROW], [ROW], 3), 29, 28, "operator-version"),
    (operator("SUB", [ROW, ROW], [ROW]), 28, 27, "api-level"),
    (operator("SUB", [BYTES, BYTES], [BYTES]), 29, 28, "unsupported-type"),
    (operator("TANH", [BYTES], [BYTES]), 29, 28, "unsupported-type"),
    (operator("EXP", [ROW], [ROW]), 29, 28, "api-level"),
    (operator("ARG_MAX", [IMAGE, AXIS], [WHOLE]), 29, 28, "api-level"),
    (operator("ELU", [ROW], [ROW]), 30, 29, "api-level"),
    (operator("AVERAGE_POOL_2D", [OLD], [OLD], FilterWidth=17, FilterHeight=16), 29, 28, "setting"),
    (operator("SOFTMAX", [fed([1, 2, 4])], [fed([1, 2, 4])]), 29, 28, "shape"),
    (operator("RESIZE_BILINEAR", [IMAGE, SIZE], [fed([1, 8, 4, 4])]), 29, 28, "setting"),
    (operator("RESIZE_BILINEAR", [IMAGE, SIZE], [IMAGE], AlignCorners=True), 30, 29, "setting"),
    (operator("SQUEEZE", [IMAGE], [ROW]), 29, 28, "setting"),
    (operator("L2_POOL_2D", [IMAGE], [IMAGE], FusedActivationFunction=RELU), 29, 28, "fused-activation"),
    (operator("L2_NORMALIZATION", [ROW], [ROW]), 29, 28, "too-many-dimensions"),
    (operator("PADV2", [IMAGE, zeros(4, 2, dtype="int32"), constant(0.0)], [IMAGE]), 29, 28, "api-level"),
    (operator("CONCATENATION", [OLD, WIDE], [OLD]), 29, 28, "scales"),
    (operator("DEQUANTIZE", [fed([1, 4], "int8", [0.1], 3)], [ROW], 2), 30, 29, "zero-point"),
    (operator("CAST", [ROW], [fed([1, 4], "int8")]), 30, 29, "unsupported-type"),
    (operator("QUANTIZE", [ROW], [fed([1, 4], "int8")]), 30, 29, "unsupported-type"),
    (operator("SPLIT", [AXIS, BYTES], [BYTES, BYTES], 2), 30, 29, "unsupported-type"),
    (operator("SQUARED_DIFFERENCE", [BYTES, BYTES], [BYTES]), 30, 29, "unsupported-type"),
    (operator("LSTM", [ROW, *[FLOAT_WEIGHTS] * 23], [ROW]), 29, 28, "api-level"),
    (operator("LSTM", [ROW, None, *[CHANNELS] * 18], [ROW]), 30, 29, "unsupported-type"),
    (operator("LSH_PROJECTION", [ROW, ROW], [ROW], Type=1), 29, 28, "setting"),
]


@pytest.mark.parametrize(("graph", "level", "below", "why"), LEVELS)
def test_both_sides_of_each_level(graph: Graph, level: int, below: int, why: str) -> None:
    assert only(graph, level).taken
    assert (only(graph, below).taken, only(graph, below).code) == (False, why)


LIMITS = [
    ("CONV_2D", [IMAGE, FLOAT_WEIGHTS, BIAS], [IMAGE, FLOAT_WEIGHTS], {}, {}, "input-count"),
    ("RELU", [ROW], [fed([1, 4], "int16")], {}, {}, "unsupported-type"),
    ("ADD", [IMAGE, ROW], [fed([1, 1, 8, 8, 4]), ROW], {}, {}, "too-many-dimensions"),
    (
        "ADD",
        [ROW, ROW],
        [WHOLE, WHOLE],
        {"FusedActivationFunction": RELU},
        {"FusedActivationFunction": RELU},
        "fused-activation",
    ),
    ("CONCATENATION", [ROW, ROW], [ROW, ROW], {}, {"FusedActivationFunction": RELU}, "fused-activation"),
    (
        "BATCH_TO_SPACE_ND",
        [IMAGE, SIZE, zeros(2, 2, dtype="int32")],
        [IMAGE, SIZE, constant([[0, 1], [0, 0]], "int32")],
        {},
        {},
        "setting",
    ),
    ("GATHER", [ROW, constant([0], "int32")], [ROW, constant(0, "int32")], {}, {}, "too-many-dimensions"),
    ("EXPAND_DIMS", [ROW, AXIS], [ROW, constant(1, "int64")], {}, {}, "computed-input"),
    ("SPLIT_V", [IMAGE, constant([4, -1], "int32"), AXIS], [IMAGE, constant([8, -1], "int32"), AXIS], {}, {}, "shape"),
    ("MAXIMUM", [ROW, constant(0.0)], [ROW, fed([])], {}, {}, "computed-input"),
    ("TOPK_V2", [ROW, AXIS], [ROW, constant(1, "int64")], {}, {}, "computed-input"),
    ("SELECT", [fed([1, 4], "bool"), ROW, ROW], [fed([1], "bool"), ROW, ROW], {}, {}, "broadcast"),
    ("PACK", [ROW, ROW], [ROW, ROW], {"Axis": 1}, {"Axis": -1}, "setting"),
    ("UNPACK", [IMAGE], [IMAGE], {"Axis": 1}, {"Axis": 3}, "setting"),
    ("FILL", [SIZE, constant(0.0)], [SIZE, constant([1], "int8")], {}, {}, "setting"),
    ("SVDF", [ROW, FLOAT_WEIGHTS, ROW, ROW, ROW], [ROW, CHANNELS, ROW, ROW, ROW], {}, {}, "unsupported-type"),
    (
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [ROW, None, *[FLOAT_WEIGHTS] * 22],
        [ROW, None, *[CHANNELS] * 22],
        {},
        {},
        "hybrid",
    ),
    ("PAD", [IMAGE, zeros(4, 2, dtype="int32")], [fed([1, 0, 8, 4]), zeros(4, 2, dtype="int32")], {}, {}, "shape"),
    ("LOGICAL_NOT", [fed([1, 4], "bool")], [ROW], {}, {}, "unsupported-type"),
    ("ABS", [ROW], [fed([1, 4], "int8")], {}, {}, "unsupported-type"),
    ("RESHAPE", [IMAGE, SIZE], [fed([1, 1, 2, 2, 2]), SIZE], {}, {}, "too-many-dimensions"),
    ("RESHAPE", [IMAGE], [IMAGE], {"NewShape": (1, 256)}, {"NewShape": ()}, "scalar-result"),
]


@pytest.mark.parametrize(("name", "good", "bad", "set_good", "set_bad", "why"), LIMITS)
def test_both_sides_of_each_limit(name, good, bad, set_good, set_bad, why) -> None:  # type: ignore[no-untyped-def]
    assert only(operator(name, good, [ROW], **set_good), 30).taken
    assert only(operator(name, bad, [ROW], **set_bad), 30).code == why


def test_only_bounds_that_there_are_are_named() -> None:
    scalar = only(operator("GATHER", [ROW, constant(0, "int32")], [ROW]), 30)
    assert scalar.reason == "an input has no dimensions"
    cube = only(operator("ADD", [fed([1, 1, 8, 8, 4]), ROW], [ROW]), 30)
    assert cube.reason == "an input has more than 4 dimensions"


def test_results_are_asked_too() -> None:
    for name, good, bad in (
        ("MEAN", ROW, fed([])),
        ("HASHTABLE_LOOKUP", ROW, WHOLE),
        ("FULLY_CONNECTED", ROW, fed([1, 4], "int16")),
        ("ARG_MAX", WHOLE, fed([1, 4], "int64")),
        ("QUANTIZE", fed([1, 4], "int8"), fed([1, 4], "int8", [0.0])),
    ):
        assert only(operator(name, [ROW, AXIS], [good]), 30).taken, name
        assert only(operator(name, [ROW, AXIS], [bad]), 30).taken is False, name


def test_feature_levels_are_undecided_by_the_api_level() -> None:
    matrices = operator("BATCH_MATMUL", [fed([2, 4, 4]), fed([2, 4, 4])], [fed([2, 4, 4])], 2)
    assert [only(matrices, level).taken for level in (30, 31, 35, 1_000_006)] == [False, None, None, True]
    reshape = operator("RESHAPE", [WHOLE, SIZE], [WHOLE])
    assert [only(reshape, level).taken for level in (30, 33, 1_000_006)] == [False, None, True]
    assert "feature level 6" in only(matrices, 33).reason


def test_a_computed_half_is_unpacked_in_any_version() -> None:
    half = operator("DEQUANTIZE", [fed([1, 4], "float16")], [ROW], 5)
    assert [only(half, level).taken for level in (29, 30)] == [False, True]


def test_three_pieces_at_most() -> None:
    names = ["TANH", "ROUND"] * 5
    wires = [fed([1, 4]) for _ in range(len(names) + 1)]
    graph = chain([step(name, [wires[i]], [wires[i + 1]]) for i, name in enumerate(names)])
    assert (forecast_nnapi(graph, 30).partitions, forecast_nnapi(graph, 30, pieces=9).partitions) == (3, 5)
    with pytest.raises(InputError, match="API level"):
        forecast_nnapi(graph, 0)


def test_the_table_has_every_rule_and_no_level_goes_down() -> None:
    table = load_table("nnapi")
    assert set(RULES) <= set(table.operators) <= set(operator_names().values())
    for name, rule in table.operators.items():
        levels = [int(level) for level in rule.first_input]
        assert levels == sorted(levels), name
        assert not levels or rule.since is None or rule.since <= levels[0], name


def test_the_shipped_target_names_its_level() -> None:
    target = load_target("android-nnapi")
    assert target.runtime.api_level == 30
    assert "deprecated" in target.title


@SHARED
def test_whole_files() -> None:
    graphs = {path.stem: read_graph(path) for path in FILES}
    assert not forecast_nnapi(graphs["mobilenet_v1_0.25_128_quant"], 27).left
    assert not forecast_nnapi(graphs["pretrainedResnet_quant"], 29).left
    assert {p.code for p in forecast_nnapi(graphs["ad01_int8"], 28).left} == {"unsupported-type"}
