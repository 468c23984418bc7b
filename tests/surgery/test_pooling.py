"""Poolings as weights and strides, on both sides of each condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from toys import Toy

from edgekit.surgery.rewrite import rewrite

SAME, VALID = 0, 1


def pooled(name: str, window: int, stride: int, padding: int, *, kind: str = "int8", layer: int = 0) -> bytes:
    """LOGISTIC, a pooling, LOGISTIC; with `layer` a convolution with windows of that size stands before the last."""
    toy, size, channels = Toy(), 9, 4
    out = -(-size // stride) if padding == SAME else (size - window) // stride + 1
    grid: dict[str, Any] = {"kind": kind, "scales": [1 / 256] if kind == "int8" else None, "zeros": [-128]}
    x, a = (toy.tensor((1, size, size, channels), **grid) for _ in range(2))
    b, c, y = (toy.tensor((1, out, out, channels), **grid) for _ in range(3))
    toy.operator("LOGISTIC", [x], [a])
    options = {"filterHeight": window, "filterWidth": window, "strideH": stride, "strideW": stride, "padding": padding}
    toy.operator(name, [a], [b], "Pool2DOptions", 2, **options)
    if layer:
        kernel = np.random.default_rng(0).integers(-127, 128, (channels, layer, layer, channels))
        scaled = {"scales": [0.01] * channels} if kind == "int8" else {}
        weights = toy.tensor(kernel.shape, kind, data=kernel, **scaled)
        bias_grid = {"kind": "int32", "scales": [0.01 / 256] * channels} if kind == "int8" else {}
        bias = toy.tensor((channels,), data=np.zeros(channels), **bias_grid)
        strides = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": SAME}
        toy.operator("CONV_2D", [b, weights, bias], [c], "Conv2DOptions", 3, **strides)
    toy.operator("LOGISTIC", [c if layer else b], [y])
    return toy.bytes([x], [y])


@pytest.mark.parametrize(
    ("name", "window", "stride", "padding"),
    [
        ("AVERAGE_POOL_2D", 2, 2, VALID),
        ("AVERAGE_POOL_2D", 3, 3, SAME),
        ("AVERAGE_POOL_2D", 5, 1, VALID),
        ("AVERAGE_POOL_2D", 1, 2, SAME),
        ("MAX_POOL_2D", 1, 2, VALID),
    ],
)
def test_a_pooling_that_stays_inside_is_a_convolution_with_equal_weights(
    name: str, window: int, stride: int, padding: int
) -> None:
    file = pooled(name, window, stride, padding)
    done, x = rewrite(file), every_integer((1, 9, 9, 4))
    assert [found.rule for found in done.applied] == ["pooling-as-weights"]
    assert (partitions(file), partitions(done.file)) == (2, 1)
    assert np.abs(answers(done.file, x)[0] - answers(file, x)[0]).max() <= 1


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 1, SAME), (2, 2, SAME), (7, 1, VALID)])
def test_a_pooling_over_the_edge_or_with_a_large_window_is_computed_in_float(
    window: int, stride: int, padding: int
) -> None:
    file = pooled("AVERAGE_POOL_2D", window, stride, padding)
    done, x = rewrite(file), every_integer((1, 9, 9, 4))
    assert [found.rule for found in done.applied] == ["float-island"]
    assert partitions(done.file) == 1
    assert np.abs(answers(done.file, x)[0] - answers(file, x)[0]).max() <= 1


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_a_step_before_a_convolution_of_one_by_one_becomes_its_stride(name: str, kind: str) -> None:
    file = pooled(name, 1, 2, SAME, kind=kind, layer=1)
    done = rewrite(file)
    x = every_integer((1, 9, 9, 4)) / (1 if kind == "int8" else 64)
    assert [found.rule for found in done.applied] == ["stride-for-pooling"]
    assert names(done.file) == ["LOGISTIC", "CONV_2D", "LOGISTIC"]
    np.testing.assert_array_equal(answers(done.file, x)[0], answers(file, x)[0])


def test_a_larger_convolution_keeps_its_neighbours() -> None:
    """A window of 3x3 over every second value is another set of values than a window of 3x3 in steps of two."""
    done = rewrite(pooled("MAX_POOL_2D", 1, 2, SAME, layer=3))
    assert [found.rule for found in done.applied] == ["pooling-as-weights"]


def test_float_poolings_that_xnnpack_takes_stay() -> None:
    file = pooled("AVERAGE_POOL_2D", 3, 1, SAME, kind="float32")
    assert rewrite(file).file is file
