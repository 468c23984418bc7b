"""Weights of dynamic-range files, unpacked when XNNPACK starts."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import answers, names, partitions
from test_convolutions import depthwise
from toys import Toy

from edgekit.surgery.rewrite import rewrite
from edgekit.tflite.graph import read_graph


def between(kind: str) -> bytes:
    """A depthwise convolution between operators that XNNPACK takes; `kind` as in `depthwise`."""
    file = depthwise((3, 3), kind=kind)
    toy, (layer,) = Toy(), read_graph(file).operators
    known = read_graph(file).tensors
    copied = [
        toy.tensor(t.shape, t.dtype, t.scales or None, t.zero_points, t.quantized_axis, t.values()) for t in known
    ]
    x, y = (toy.tensor(known[index].shape, known[index].dtype) for index in (layer.inputs[0], layer.outputs[0]))
    toy.operator("LOGISTIC", [x], [copied[layer.inputs[0]]])
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "depthMultiplier": 1}
    table = "DepthwiseConv2DOptions"
    toy.operator(
        "DEPTHWISE_CONV_2D", [copied[i] for i in layer.inputs], [copied[layer.outputs[0]]], table, 6, **options
    )
    toy.operator("LOGISTIC", [copied[layer.outputs[0]]], [y])
    return toy.bytes([x], [y])


def test_hybrid_weights_are_read_through_a_cast_that_runs_once() -> None:
    file = between("hybrid")
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["unpacked-weights"]
    assert names(done.file) == ["LOGISTIC", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "LOGISTIC"]
    assert (partitions(file), partitions(done.file)) == (2, 1)
    x = np.random.default_rng(0).normal(size=(1, 15, 15, 8))
    np.testing.assert_allclose(answers(done.file, x)[0], answers(file, x)[0], atol=0.02)
    np.testing.assert_allclose(answers(done.file, x)[0], answers(done.file, x, xnnpack=False)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_weights_of_one_type_with_the_data_stay(kind: str) -> None:
    file = between(kind)
    assert rewrite(file).file is file
