"""PAD as the padding of the layer behind it, where both put the same zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names
from toys import Toy

from edgekit.surgery.rewrite import rewrite

VALID = 1


def padded(
    pads: tuple[int, int],
    *,
    size: int = 8,
    window: int = 3,
    stride: int = 2,
    kind: str = "float32",
    layer: str = "CONV_2D",
    dilation: int = 1,
    shared: bool = False,
    zero: int = 7,
    open: bool = False,
) -> bytes:
    """An image, zeros around it, and a layer on 2 channels; `shared`: the padded image goes out, too.

    `open`: heights and widths are open, and the stored ones those of an image of 1x1, as the stock converter writes.
    """
    toy, rng, grown = Toy(), np.random.default_rng(0), size + sum(pads)
    out = (grown - (window - 1) * dilation - 1) // stride + 1
    grid: dict[str, Any] = {"kind": kind, "scales": [0.05], "zeros": [zero]} if kind == "int8" else {}
    x, y, z = (toy.tensor((1, length, length, 2), **grid) for length in (size, grown, out))
    for tensor in toy.graph.tensors if open else ():
        tensor.shapeSignature = [-1, -1, -1, 2]
    toy.operator("PAD", [x, toy.tensor((4, 2), "int32", data=[[0, 0], pads, pads, [0, 0]])], [y], "PadOptions", 2)
    shape = (2, window, window, 2) if layer == "CONV_2D" else (1, window, window, 2)
    values = rng.integers(-127, 128, shape) if kind == "int8" else rng.normal(size=shape)
    scaled = {"scales": [0.002, 0.003], "axis": 0 if layer == "CONV_2D" else 3} if kind == "int8" else {}
    weights = toy.tensor(shape, kind, data=values, **scaled)
    biased: dict[str, Any] = {"kind": "int32", "scales": [0.0001, 0.00015]} if kind == "int8" else {}
    bias = toy.tensor((2,), data=[30, -40] if kind == "int8" else [0.3, -0.4], **biased)
    options = {"strideH": stride, "strideW": stride, "dilationHFactor": dilation, "dilationWFactor": dilation}
    more = {"depthMultiplier": 1} if layer != "CONV_2D" else {}
    table = "Conv2DOptions" if layer == "CONV_2D" else "DepthwiseConv2DOptions"
    toy.operator(layer, [y, weights, bias], [z], table, 3, padding=VALID, **options, **more)
    return toy.bytes([x], [z, *([y] if shared else [])])


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("layer", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(
    ("pads", "settings"),
    [
        ((0, 1), {}),
        ((1, 1), {"size": 9}),
        ((1, 2), {"window": 5}),
        ((1, 1), {"stride": 1}),
        ((2, 2), {"stride": 1, "dilation": 2}),
    ],
)
def test_zeros_of_the_layer_itself_replace_those_of_a_pad(
    pads: tuple[int, int], settings: dict[str, int], layer: str, kind: str
) -> None:
    file = padded(pads, kind=kind, layer=layer, **settings)  # type: ignore[arg-type]
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["padding-of-layer"]
    assert names(done.file) == [layer]
    size = settings.get("size", 8)
    shape = (1, size, size, 2)
    x = every_integer(shape) if kind == "int8" else np.random.default_rng(1).normal(size=shape)
    np.testing.assert_allclose(answers(done.file, x)[0], answers(file, x)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("pads", "settings"),
    [
        ((1, 1), {}),
        ((1, 0), {}),
        ((0, 1), {"size": 9}),
        ((3, 3), {"window": 7}),
        ((2, 2), {"stride": 1}),
        ((0, 1), {"shared": True}),
        ((3, 3), {"window": 7, "size": 1, "open": True}),
    ],
    ids=[
        *("one at each side", "in front", "an odd size", "ResNet's first layer", "more than SAME", "read elsewhere"),
        "right for the stored size alone",
    ],
)
def test_other_zeros_stay(pads: tuple[int, int], settings: dict[str, Any]) -> None:
    file = padded(pads, **settings)
    assert rewrite(file).file is file
