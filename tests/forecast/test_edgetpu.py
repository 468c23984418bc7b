"""The forecast for the Edge TPU: each limitation on both sides, the cut, the cache, and the compiler's own answers."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgetpu_files import Of, Step, chain, file_of, graph_of, numbers, single, weights
from msgspec import structs

from edgekit.errors import InputError, ModelError
from edgekit.forecast.edgetpu import ParameterCache, edgetpu_log, forecast_cache, forecast_edgetpu
from edgekit.forecast.units import forecasts
from edgekit.source_check import check_model
from edgekit.target import load_target
from edgekit.tflite.graph import Graph, read_graph

PAIRS = (
    Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models/coral_pairs"
)
COMPILED = sorted(PAIRS.glob("*_edgetpu.tflite"))
IMAGE = Of((1, 8, 8, 8))
RELU = 1


def _code(graph: Graph, **options: Any) -> tuple[bool | None, str]:
    placement = forecast_edgetpu(graph, **options).placements[0]
    return placement.taken, placement.code


@pytest.mark.skipif(not COMPILED, reason="the shared Coral pairs are not here")
@pytest.mark.parametrize("compiled", COMPILED, ids=lambda path: path.stem)
def test_what_is_left_on_the_cpu_is_what_the_compiler_left(compiled: Path) -> None:
    before = read_graph(compiled.with_name(compiled.name.replace("_edgetpu", "")))
    after = Counter(operator.name for operator in read_graph(compiled).operators)
    found = forecast_edgetpu(before)
    assert found.partitions == after.pop("edgetpu-custom-op")
    assert Counter(placement.name for placement in found.left) == after
    assert len(found.placements) == len(before.operators)


@pytest.mark.skipif(not COMPILED, reason="the shared Coral pairs are not here")
@pytest.mark.parametrize("compiled", COMPILED, ids=lambda path: path.stem)
def test_a_compiled_file_tells_by_itself(compiled: Path) -> None:
    graph = read_graph(compiled)
    found = forecast_edgetpu(graph)
    assert found.partitions == 1
    assert {placement.code for placement in found.left} <= {"compiled"}
    assert len(found.left) == len(graph.operators) - 1


CONV = [IMAGE, weights(8, 3, 3, 8), weights(8, dtype="INT32")]
DENSE = [Of((1, 16)), weights(4, 16), weights(4, dtype="INT32")]
SLICE = [Of((1, 8, 8, 8)), numbers(0, 0, 0, 0), numbers(1, 4, 4, 8), numbers(1, 1, 1, 1)]
SLICED = Of((1, 4, 4, 8))
TAKEN: dict[str, Graph] = {
    "convolution": single("CONV_2D", CONV, IMAGE, dilationHFactor=2, dilationWFactor=2),
    "a kernel of one column": single(
        "CONV_2D", [IMAGE, weights(8, 3, 1, 8), weights(8, dtype="INT32")], IMAGE, dilationHFactor=2
    ),
    "dense": single("FULLY_CONNECTED", DENSE, Of((1, 4))),
    "an open batch in the signature": single(
        "FULLY_CONNECTED", [Of((1, 16), signature=(-1, 16)), *DENSE[1:]], Of((1, 4), signature=(-1, 4))
    ),
    "pooling": single("MAX_POOL_2D", [IMAGE], Of((1, 4, 4, 8)), strideW=2, strideH=2),
    "a mean over places": single("MEAN", [IMAGE, numbers(1, 2)], Of((1, 8))),
    "a mean over 8 channels": single("MEAN", [IMAGE, numbers(3)], Of((1, 8, 8, 1))),
    "a mean over 64x128": single("MEAN", [Of((1, 64, 128, 3)), numbers(1, 2)], Of((1, 3))),
    "a pad of channels": single("PAD", [IMAGE, numbers(0, 0, 0, 0, 0, 0, 0, 8)], Of((1, 8, 8, 16))),
    "pack of the last axis": single("PACK", [Of((1, 8, 8)), Of((1, 8, 8))], Of((1, 8, 8, 2)), axis=-1, valuesCount=2),
    "maximum along a row": single("REDUCE_MAX", [IMAGE, numbers(2)], Of((1, 8, 8))),
    "prelu by channel": single("PRELU", [IMAGE, weights(1, 1, 8)], IMAGE),
    "softmax of 16,384": single("SOFTMAX", [Of((1, 16384))], Of((1, 16384))),
    "twice as large": single(
        "RESIZE_BILINEAR", [IMAGE, numbers(16, 16)], Of((1, 16, 16, 8)), alignCorners=False, halfPixelCenters=True
    ),
    "as large": single("RESIZE_BILINEAR", [IMAGE, numbers(8, 8)], IMAGE, alignCorners=True),
    "slice": single("STRIDED_SLICE", SLICE, SLICED),
    "squeeze of leading ones": single("SQUEEZE", [Of((1, 1, 5, 10))], Of((1, 5, 10)), squeezeDims=[1]),
    "squeeze of all ones": single("SQUEEZE", [Of((1, 1, 1, 10))], Of((10,))),
    "concatenation": single("CONCATENATION", [IMAGE, IMAGE, IMAGE], Of((1, 8, 8, 24)), axis=3),
    "a padding of zeros": single("CONCATENATION", [IMAGE, weights(1, 8, 8, 8)], Of((1, 8, 8, 16)), axis=3),
    "transpose": single("TRANSPOSE", [IMAGE, numbers(0, 2, 1, 3)], IMAGE),
    "transposed convolution": single("TRANSPOSE_CONV", [numbers(1, 16, 16, 8), CONV[1], IMAGE], Of((1, 16, 16, 8))),
    "a reshape of all of the chip": single("RESHAPE", [Of((1, 2048, 1024, 4)), numbers(1, 2**23)], Of((1, 2**23))),
    "reshape": single("RESHAPE", [IMAGE, numbers(1, 512)], Of((1, 512))),
    "requantize": single("QUANTIZE", [Of((1, 8), "UINT8")], Of((1, 8))),
    "tile": single("TILE", [Of((1, 1, 1, 8)), numbers(1, 33, 33, 1)], Of((1, 33, 33, 8))),
}


@pytest.mark.parametrize("graph", TAKEN.values(), ids=TAKEN)
def test_within_the_limits_it_is_taken(graph: Graph) -> None:
    found = forecast_edgetpu(graph)
    assert [(placement.taken, placement.code) for placement in found.placements] == [(True, "")]
    assert found.partitions == 1
    assert found.left == ()


LEFT: dict[str, tuple[Graph, str]] = {
    "unequal dilation": (single("CONV_2D", CONV, IMAGE, dilationHFactor=2), "dilation"),
    "computed weights": (single("CONV_2D", [IMAGE, Of((8, 3, 3, 8)), CONV[2]], IMAGE), "rank"),
    "computed dense weights": (single("FULLY_CONNECTED", [DENSE[0], Of((4, 16))], Of((1, 4))), "computed-parameter"),
    "shuffled weights": (single("FULLY_CONNECTED", DENSE, Of((1, 4)), weightsFormat=1), "weight-format"),
    "fused pooling": (
        single("MAX_POOL_2D", [IMAGE], Of((1, 4, 4, 8)), fusedActivationFunction=RELU),
        "fused-activation",
    ),
    "fused concatenation": (
        single("CONCATENATION", [IMAGE, IMAGE], Of((1, 8, 8, 16)), fusedActivationFunction=RELU),
        "fused-activation",
    ),
    "a mean over 6 channels": (
        single("MEAN", [Of((1, 8, 8, 6)), numbers(-1)], Of((1, 8, 8, 1))),
        "channel-multiple",
    ),
    "a mean over 256x128": (single("MEAN", [Of((1, 256, 128, 3)), numbers(1, 2)], Of((1, 3))), "large-window"),
    "a mean over the batch": (single("MEAN", [IMAGE, numbers(0)], Of((8, 8, 8))), "batch-axis"),
    "a sum over the batch": (single("SUM", [IMAGE, numbers(0)], Of((8, 8, 8))), "batch-axis"),
    "a pad of the batch": (single("PAD", [IMAGE, numbers(0, 1, 0, 0, 0, 0, 0, 0)], Of((2, 8, 8, 8))), "rank"),
    "pack of the batch": (single("PACK", [Of((8, 8, 8))], Of((1, 8, 8, 8)), axis=0, valuesCount=1), "batch-axis"),
    "prelu by place": (single("PRELU", [IMAGE, weights(8, 8, 8)], IMAGE), "alpha-shape"),
    "softmax of 16,385": (single("SOFTMAX", [Of((1, 16385))], Of((1, 16385))), "too-many-elements"),
    "16 times as large": (
        single("RESIZE_BILINEAR", [Of((1, 33, 33, 2)), numbers(513, 513)], Of((1, 513, 513, 2)), alignCorners=True),
        "resize-factor",
    ),
    "one pixel to 33": (
        single("RESIZE_BILINEAR", [Of((1, 1, 1, 8)), numbers(33, 33)], Of((1, 33, 33, 8)), alignCorners=True),
        "resize-factor",
    ),
    "a stride of 2": (single("STRIDED_SLICE", [*SLICE[:3], numbers(1, 2, 1, 1)], SLICED), "slice"),
    "an ellipsis": (single("STRIDED_SLICE", SLICE, SLICED, ellipsisMask=1), "slice"),
    "a new axis": (single("STRIDED_SLICE", SLICE, SLICED, newAxisMask=1), "slice"),
    "squeeze behind a larger one": (single("SQUEEZE", [Of((1, 5, 1, 10))], Of((1, 5, 10)), squeezeDims=[2]), "squeeze"),
    "three inputs and a constant": (
        single("CONCATENATION", [IMAGE, IMAGE, weights(1, 8, 8, 8)], Of((1, 8, 8, 24)), axis=3),
        "constant-input",
    ),
    "a constant that is not zero": (
        single("CONCATENATION", [IMAGE, Of((1, 8, 8, 8), values=np.ones(512, np.int8))], Of((1, 8, 8, 16)), axis=3),
        "constant-input",
    ),
    "float": (single("RELU", [Of((1, 8), "FLOAT32", scale=None)], Of((1, 8), "FLOAT32", scale=None)), "data-type"),
    "sixteen bits": (single("RELU", [Of((1, 8), "INT16")], Of((1, 8), "INT16")), "data-type"),
    "a cast at the rim": (single("QUANTIZE", [Of((1, 8), "FLOAT32", scale=None)], Of((1, 8))), "float-rim"),
    "no scale": (single("RELU", [Of((1, 8), scale=None)], Of((1, 8))), "not-quantized"),
    "an infinite scale": (single("RELU", [Of((1, 8), scale=float("inf"))], Of((1, 8))), "bad-scale"),
    "a scale that is no number": (single("RELU", [Of((1, 8), scale=float("nan"))], Of((1, 8))), "bad-scale"),
    "batch 2": (single("RELU", [Of((2, 8, 8, 8))], Of((2, 8, 8, 8))), "rank"),
    "hard swish": (single("HARD_SWISH", [IMAGE], IMAGE), "not-supported"),
    "a computed size": (single("RESHAPE", [IMAGE, Of((2,), "INT32", scale=None)], Of((1, 512))), "dynamic-size"),
    "a size by values": (single("WHERE", [IMAGE], Of((1, 4), "INT32", scale=None)), "dynamic-size"),
}


@pytest.mark.parametrize(("graph", "code"), LEFT.values(), ids=LEFT)
def test_beyond_a_limit_it_stays_on_the_cpu_with_a_reason_and_a_mend(graph: Graph, code: str) -> None:
    found = forecast_edgetpu(graph)
    placement = found.placements[0]
    assert (placement.taken, placement.code, found.partitions) == (False, code, 0)
    assert placement.reason
    assert placement.mend
    assert "https://" in placement.source


OPEN: dict[str, tuple[Graph, str]] = {
    "4 times as large": (
        single("RESIZE_NEAREST_NEIGHBOR", [IMAGE, numbers(32, 32)], Of((1, 32, 32, 8)), alignCorners=False),
        "resize-factor",
    ),
    "dense over rows": (single("FULLY_CONNECTED", [Of((1, 5, 16)), *DENSE[1:]], Of((1, 5, 4))), "not-one-dimensional"),
    "softmax over rows": (single("SOFTMAX", [Of((1, 5, 16))], Of((1, 5, 16))), "not-one-dimensional"),
    "a reshape of more than the chip": (
        single("RESHAPE", [Of((1, 2048, 1025, 4)), numbers(1, 8396800)], Of((1, 8396800))),
        "large-tensor",
    ),
    "a mean over 128x128": (single("MEAN", [Of((1, 128, 128, 3)), numbers(1, 2)], Of((1, 3))), "large-window"),
}


@pytest.mark.parametrize(("graph", "code"), OPEN.values(), ids=OPEN)
def test_what_the_documents_leave_open_is_said_to_be_open(graph: Graph, code: str) -> None:
    assert _code(graph) == (None, code)
    assert "Not documented" in edgetpu_log(forecast_edgetpu(graph))


def test_a_certain_limit_goes_before_an_open_one() -> None:
    assert _code(single("FULLY_CONNECTED", [Of((1, 5, 16)), Of((4, 16))], Of((1, 5, 4)))) == (
        False,
        "computed-parameter",
    )


def test_operators_of_later_runtimes_are_left_by_earlier_ones() -> None:
    graph = TAKEN["transpose"]
    assert _code(graph, runtime_version=13) == (False, "runtime-version")
    assert _code(graph, runtime_version=14) == (True, "")
    assert _code(TAKEN["transposed convolution"], runtime_version=12) == (False, "runtime-version")
    with pytest.raises(InputError, match="runtime version 0"):
        forecast_edgetpu(graph, 0)


def test_only_the_first_piece_is_mapped_unless_several_are_asked_for() -> None:
    graph = chain("RELU", "LEAKY_RELU", "RELU", "TANH", "LEAKY_RELU", "RELU6")
    one, several = forecast_edgetpu(graph), forecast_edgetpu(graph, several_subgraphs=True)
    assert [placement.taken for placement in one.placements] == [True, False, False, False, False, False]
    assert [placement.code for placement in one.left] == ["not-supported", "cut", "cut", "not-supported", "cut"]
    assert [placement.taken for placement in several.placements] == [True, False, True, True, False, True]
    assert (one.partitions, several.partitions) == (1, 3)


def _branches(*order: str) -> Graph:
    """`a` feeds `b` (unsupported) and `c`; `d` joins them; operators are stored in the order asked for."""
    steps = {
        "a": Step("RELU", ("in",), ("a",)),
        "b": Step("LEAKY_RELU", ("a",), ("b",)),
        "c": Step("TANH", ("a",), ("c",)),
        "d": Step("ADD", ("b", "c"), ("d",)),
    }
    tensors = dict.fromkeys(("in", "a", "b", "c", "d"), IMAGE)
    return graph_of(tensors, [steps[name] for name in order], ("in",), ("d",))


@pytest.mark.parametrize("order", ["abcd", "acbd"])
def test_a_branch_beside_an_unsupported_operator_is_mapped_with_the_first_piece(order: str) -> None:
    found = forecast_edgetpu(_branches(*order))
    taken = {placement.name: placement.taken for placement in found.placements}
    assert taken == {"RELU": True, "LEAKY_RELU": False, "TANH": True, "ADD": False}
    assert found.partitions == 1


def test_a_piece_may_begin_behind_a_cast_from_float() -> None:
    tensors = {"in": Of((1, 8), "FLOAT32", scale=None), "q": Of((1, 8)), "r": Of((1, 8)), "out": Of((1, 8), "FLOAT32")}
    steps = [Step("QUANTIZE", ("in",), ("q",)), Step("RELU", ("q",), ("r",)), Step("DEQUANTIZE", ("r",), ("out",))]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in",), ("out",)))
    assert [placement.taken for placement in found.placements] == [False, True, False]
    assert [placement.code for placement in found.left] == ["float-rim", "float-rim"]


def test_a_cast_inside_of_the_model_is_no_rim() -> None:
    floats = Of((1, 8), "FLOAT32", scale=None)
    tensors = {"in": Of((1, 8)), "a": floats, "b": floats, "out": Of((1, 8))}
    steps = [Step("DEQUANTIZE", ("in",), ("a",)), Step("SQRT", ("a",), ("b",)), Step("QUANTIZE", ("b",), ("out",))]
    assert [one.code for one in forecast_edgetpu(graph_of(tensors, steps, ("in",), ("out",))).left] == [
        "float-rim",
        "data-type",
        "float-rim",
    ]
    tensors |= {"start": Of((1, 8)), "end": Of((1, 8))}
    steps = [Step("RELU", ("start",), ("in",)), *steps, Step("RELU", ("out",), ("end",))]
    found = forecast_edgetpu(graph_of(tensors, steps, ("start",), ("end",)))
    assert [one.code for one in found.left] == ["float-cast", "data-type", "float-cast", "cut"]
    words = [line.split(maxsplit=2)[2] for line in edgetpu_log(found).splitlines()[3:6]]
    assert words == [
        "Operation is working on an unsupported data type",
        "Operation is working on an unsupported data type",
        "Operation is otherwise supported, but not mapped due to some unspecified limitation",
    ]


def test_the_mend_of_a_type_is_one_that_helps() -> None:
    largest = single("ARG_MAX", [Of((1, 8)), numbers(1)], Of((1,), "INT64", scale=None))
    assert "in the application" in forecast_edgetpu(largest).left[0].mend
    assert "int8" in forecast_edgetpu(LEFT["float"][0]).left[0].mend


def test_repeated_pixels_are_one_finding_with_a_mend_that_can_be_followed() -> None:
    """As Keras 3 writes UpSampling2D(2): a dimension of 1 behind the one that grows, repeated, and folded away."""
    shapes = [(1, 8, 8, 8), (1, 8, 1, 8, 8), (1, 8, 2, 8, 8), (1, 16, 8, 8)]
    tensors = {f"t{number}": Of(shape) for number, shape in enumerate(shapes)}
    tensors |= {"apart": numbers(*shapes[1]), "twice": numbers(1, 1, 2, 1, 1), "folded": numbers(*shapes[3])}
    steps = [
        Step("RELU", ("in",), ("t0",)),
        Step("RESHAPE", ("t0", "apart"), ("t1",)),
        Step("TILE", ("t1", "twice"), ("t2",)),
        Step("RESHAPE", ("t2", "folded"), ("t3",)),
        Step("CONV_2D", ("t3", "kernel", "bias"), ("out",)),
    ]
    tensors |= {"in": IMAGE, "kernel": CONV[1], "bias": CONV[2], "out": Of(shapes[3])}
    found = check_model(file_of(tensors, steps, ("in",), ("out",)), "coral-usb")
    (repeated,) = (one for one in found.findings if one.code == "rank")
    assert repeated.subject == "RESHAPE TILE x3 (#1, #2, #3)"
    assert "Conv2DTranspose" in repeated.mend
    (advice,) = (one for one in found.advice if one.resource == "outside")
    assert advice.what.startswith("mend RESHAPE TILE x3")
    assert advice.before > advice.after == 0
    assert "batch 1" in forecast_edgetpu(LEFT["batch 2"][0]).left[0].mend


def test_behind_an_open_operator_everything_is_open() -> None:
    tensors = {"in": IMAGE, "size": numbers(32, 32), "big": Of((1, 32, 32, 8)), "out": Of((1, 32, 32, 8))}
    steps = [Step("RESIZE_BILINEAR", ("in", "size"), ("big",)), Step("RELU", ("big",), ("out",))]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in",), ("out",)))
    assert [placement.taken for placement in found.placements] == [None, True]
    steps.insert(0, Step("TANH", ("start",), ("in",)))
    found = forecast_edgetpu(graph_of({"start": IMAGE, **tensors}, steps, ("start",), ("out",)))
    assert [placement.taken for placement in found.placements] == [True, None, None]
    assert [placement.code for placement in found.left] == ["resize-factor", "cut"]


def test_what_is_mapped_only_if_an_open_operator_before_it_is_not_is_open() -> None:
    shapes = {"in": IMAGE, "size": numbers(32, 32)} | dict.fromkeys(("big", "leaky", "out"), Of((1, 32, 32, 8)))
    steps = [Step("RESIZE_BILINEAR", ("in", "size"), ("big",)), Step("LEAKY_RELU", ("big",), ("leaky",))]
    graph = graph_of(shapes, [*steps, Step("RELU", ("leaky",), ("out",))], ("in",), ("out",))
    assert [placement.taken for placement in forecast_edgetpu(graph).placements] == [None, False, None]
    several = forecast_edgetpu(graph, several_subgraphs=True)
    assert [placement.taken for placement in several.placements] == [None, False, True]


@pytest.mark.parametrize(
    "graph",
    [
        single("FILL", [Of((2,), "INT32", scale=None), numbers(0)], Of((1, 8))),
        single("SPLIT_V", [Of((1, 8)), Of((2,), "INT32", scale=None), numbers(1)], Of((1, 4))),
        single("MIRROR_PAD", [Of((1, 8)), Of((2, 2), "INT32", scale=None)], Of((1, 10))),
    ],
)
def test_whatever_decides_a_size_is_constant_for_the_compiler(graph: Graph) -> None:
    assert forecast_edgetpu(graph).left[0].code == "dynamic-size"


def test_a_computed_size_makes_the_compiler_refuse_the_whole_file() -> None:
    tensors = {"in": IMAGE, "a": IMAGE, "size": Of((2,), "INT32", scale=None), "out": Of((1, 512))}
    steps = [Step("RELU", ("in",), ("a",)), Step("RESHAPE", ("a", "size"), ("out",))]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in", "size"), ("out",)))
    assert [placement.code for placement in found.left] == ["file-refused", "dynamic-size"]
    assert found.partitions == 0
    assert "RESHAPE #1" in found.left[0].reason


def test_custom_operators_stay_on_the_cpu() -> None:
    tensors = {"in": IMAGE, "a": IMAGE, "out": IMAGE}
    steps = [Step("RELU", ("in",), ("a",)), Step("TFLite_Detection_PostProcess", ("a",), ("out",), custom=True)]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in",), ("out",)))
    assert [placement.name for placement in found.left] == ["TFLite_Detection_PostProcess"]
    assert "CUSTOM                         1          Operation not supported" in edgetpu_log(found)


def _dense_twice(share: bool) -> Graph:
    tensors = {"in": Of((1, 64)), "w": weights(64, 64), "v": weights(64, 64), "a": Of((1, 64)), "out": Of((1, 64))}
    second = "w" if share else "v"
    steps = [Step("FULLY_CONNECTED", ("in", "w"), ("a",)), Step("FULLY_CONNECTED", ("a", second), ("out",))]
    return graph_of(tensors, steps, ("in",), ("out",))


def test_parameters_are_cached_operator_by_operator_until_the_chip_is_full() -> None:
    graph, one = _dense_twice(share=False), 64 * 64
    found = forecast_edgetpu(graph)
    assert forecast_cache(graph, found) == ParameterCache(2 * one, 0)
    assert forecast_cache(graph, found, chip_bytes=2 * one - 1) == ParameterCache(one, one)
    assert forecast_cache(graph, found, chip_bytes=0) == ParameterCache(0, 2 * one)


def test_shared_parameters_count_once_and_those_on_the_cpu_not_at_all() -> None:
    graph = _dense_twice(share=True)
    assert forecast_cache(graph, forecast_edgetpu(graph)) == ParameterCache(64 * 64, 0)
    left = LEFT["shuffled weights"][0]
    assert forecast_cache(left, forecast_edgetpu(left)) == ParameterCache(0, 0)


def test_the_log_has_the_shape_of_the_compilers_own() -> None:
    assert edgetpu_log(forecast_edgetpu(chain("RELU", "RELU", "LEAKY_RELU", "RELU"))) == (
        "Operator                       Count      Status\n"
        "\n"
        "RELU                           2          Mapped to Edge TPU\n"
        "LEAKY_RELU                     1          Operation not supported\n"
        "RELU                           1          More than one subgraph is not supported\n"
    )


def test_pieces_of_a_long_chain_are_counted() -> None:
    found = forecast_edgetpu(chain(*("RELU", "LEAKY_RELU") * 1000), several_subgraphs=True)
    assert (found.partitions, len(found.left)) == (1000, 1000)


def test_operators_out_of_order_run_when_they_can_and_those_without_tensors_are_left() -> None:
    tensors = {"in": IMAGE, "a": IMAGE, "b": IMAGE}
    steps = [Step("RELU", ("b",), ("a",)), Step("RELU", ("in",), ("b",)), Step("ADD", (), ())]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in",), ("a",)))
    assert [placement.taken for placement in found.placements] == [True, True, False]


def test_operators_that_wait_for_themselves_are_refused() -> None:
    tensors = {"in": IMAGE, "a": IMAGE, "b": IMAGE}
    steps = [Step("RELU", ("in",), ("a",)), Step("ADD", ("a", "b"), ("b",))]
    found = forecast_edgetpu(graph_of(tensors, steps, ("in",), ("b",)))
    assert [placement.code for placement in found.left] == ["file-refused", "file-refused"]
    assert "can never run" in found.left[0].reason


def test_damaged_files_end_in_an_answer_or_a_model_error() -> None:
    draw, sound = random.Random(5), [_bytes_of(name) for name in ("MEAN", "PAD", "STRIDED_SLICE", "SQUEEZE", "PACK")]
    answers = 0
    for data in sound * 60:
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(8, len(damaged))] = draw.randrange(256)
        try:
            answers += len(forecast_edgetpu(read_graph(bytes(damaged))).placements) > 0
        except ModelError:
            continue
    assert answers > 30


def _bytes_of(name: str) -> bytes:
    inputs = {"MEAN": [IMAGE, numbers(1, 2)], "PAD": [IMAGE, numbers(*range(8))], "STRIDED_SLICE": SLICE}
    tensors = {f"in{number}": of for number, of in enumerate(inputs.get(name, [IMAGE]))} | {"out": SLICED}
    options = {"PACK": {"axis": 1}, "SQUEEZE": {"squeezeDims": [0]}}.get(name, {})
    return file_of(tensors, [Step(name, tuple(tensors)[:-1], ("out",), options)], ("in0",), ("out",))


def test_a_target_may_name_an_older_runtime() -> None:
    coral = load_target("coral-usb")
    older = structs.replace(coral, runtime=structs.replace(coral.runtime, edgetpu_runtime=13))
    codes = [forecasts(TAKEN["transpose"], target)[0].placements[-1].code for target in (coral, older)]
    assert codes == ["", "runtime-version"]
