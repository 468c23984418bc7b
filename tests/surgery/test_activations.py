"""Activations out of int8 operators that XNNPACK has: their values, and both sides of each condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from toys import Toy

from edgekit.surgery.rewrite import rewrite

Function = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def _hard_swish(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return x * np.clip(x + 3, 0, 6) / 6


def between_layers(name: str, before: tuple[float, int], after: tuple[float, int], shared: bool = False) -> bytes:
    """An activation between two convolutions of 1x1 that give on what they get; `shared`: its input goes out, too."""
    toy, channels = Toy(), 4
    kernel = np.zeros((channels, 1, 1, channels), np.int8)
    kernel[range(channels), 0, 0, range(channels)] = 127
    grids = [before, before, after, after]
    tensors = [toy.tensor((1, 8, 8, channels), "int8", [scale], [zero]) for scale, zero in grids]
    for index, (scale, _) in ((0, before), (2, after)):
        weights = toy.tensor(kernel.shape, "int8", [1 / 127] * channels, data=kernel)
        bias = toy.tensor((channels,), "int32", [scale / 127] * channels, data=np.zeros(channels))
        options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        toy.operator("CONV_2D", [tensors[index], weights, bias], [tensors[index + 1]], "Conv2DOptions", 3, **options)
        if index == 0:
            toy.operator(name, [tensors[1]], [tensors[2]])
    return toy.bytes(tensors[:1], [tensors[3], *([tensors[1]] if shared else [])])


def _quanta(file: bytes, function: Function, before: tuple[float, int], after: tuple[float, int]) -> float:
    """The largest distance from the function in real numbers, in quanta of the result."""
    x = every_integer((1, 8, 8, 4))
    real = (x.astype(np.float64) - before[1]) * before[0]
    wanted = np.clip(function(real) / after[0] + after[1], -128, 127)
    return float(np.abs(answers(file, x)[0] - wanted).max())


@pytest.mark.parametrize("scale", [0.01, 0.047, 0.2, 1.0])
@pytest.mark.parametrize("shared", [False, True])
def test_hard_swish_becomes_a_product_within_a_quantum_and_a_half(scale: float, shared: bool) -> None:
    before, after = (scale, -3), (scale * 0.6, -110)
    file = between_layers("HARD_SWISH", before, after, shared)
    done = rewrite(file)
    assert [(found.rule, found.count) for found in done.applied] == [("hard-swish-as-product", 1)]
    assert "HARD_SWISH" not in names(done.file)
    assert names(done.file).count("MUL") == (2 if shared else 1)
    assert (partitions(file), partitions(done.file)) == (2, 1)
    assert _quanta(done.file, _hard_swish, before, after) <= 1.5


def test_a_layer_that_writes_for_hard_swish_alone_keeps_its_integers() -> None:
    """Only the reading of its scales changes, by the square root of six."""
    file = between_layers("HARD_SWISH", (0.05, 0), (0.03, -115))
    kernels = [weights for weights in _int8_constants(rewrite(file).file) if weights.size > 1]
    assert [weights.tobytes() for weights in kernels] == [
        weights.tobytes() for weights in _int8_constants(file) if weights.size > 1
    ]


def test_hard_swish_with_a_range_too_small_for_the_product_is_computed_in_float() -> None:
    before, after = (1e-6, 0), (5e-7, 0)
    done = rewrite(between_layers("HARD_SWISH", before, after))
    assert [found.rule for found in done.applied] == ["float-island"]
    assert _quanta(done.file, _hard_swish, before, after) <= 0.51
    assert partitions(done.file) == 1


@pytest.mark.parametrize(("name", "least", "most"), [("RELU", 0, np.inf), ("RELU6", 0, 6)])
def test_a_relu_onto_a_grid_that_starts_at_zero_is_a_change_of_scale(name: str, least: float, most: float) -> None:
    before, after = (0.1, 5), (6 / 255, -128)
    file = between_layers(name, before, after)
    done = rewrite(file)
    assert [(found.rule, found.becomes) for found in done.applied] == [("relu-as-scale", "QUANTIZE")]
    assert (partitions(file), partitions(done.file)) == (2, 1)
    assert _quanta(done.file, lambda x: np.clip(x, least, most), before, after) <= 1.0


@pytest.mark.parametrize(
    ("name", "after"),
    [("RELU", (0.05, -100)), ("RELU6", (0.05, -128)), ("RELU", (1e-4, -128))],
    ids=["the grid goes below zero", "the grid goes above six", "a ratio of scales that XNNPACK refuses"],
)
def test_any_other_relu_is_computed_in_float(name: str, after: tuple[float, int]) -> None:
    before = (0.1, 5)
    done = rewrite(between_layers(name, before, after))
    assert [found.rule for found in done.applied] == ["float-island"]
    top = 6 if name == "RELU6" else np.inf
    assert _quanta(done.file, lambda x: np.clip(x, 0, top), before, after) <= 0.51


@pytest.mark.parametrize("kind", ["float32", "int16", "uint8"])
def test_activations_of_other_types_are_left_alone(kind: str) -> None:
    toy = Toy()
    x, y, z = (toy.tensor((1, 4, 4, 2), kind, None) for _ in range(3))
    toy.operator("LOGISTIC", [x], [y])
    toy.operator("RELU", [y], [z])
    file = toy.bytes([x], [z])
    assert rewrite(file).file is file


def _int8_constants(file: bytes) -> list[np.ndarray[Any, Any]]:
    from edgekit.tflite.graph import read_graph

    found = (tensor.values() for tensor in read_graph(file).tensors if tensor.constant and tensor.dtype == "int8")
    return [values for values in found if values is not None]
