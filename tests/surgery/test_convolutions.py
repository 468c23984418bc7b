"""Large windows in bands: the same values in every arrangement, and what is left as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from toys import Toy

from edgekit.surgery.rewrite import rewrite
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.surgery import pack, unpack

SAME, VALID = 0, 1
RELU6 = 3


def depthwise(
    window: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = SAME,
    kind: str = "float32",
    multiplier: int = 1,
    grouped: bool = False,
    dilation: int = 1,
    fused: int = 0,
    size: int = 15,
    channels: int = 8,
) -> bytes:
    """One depthwise convolution; `kind` is `float32`, `int8`, or `hybrid`: float data, int8 weights."""
    toy, rng = Toy(), np.random.default_rng(1)
    out = -(-size // stride) if padding == SAME else (size - (window[0] - 1) * dilation - 1) // stride + 1
    wide = -(-size // stride) if padding == SAME else (size - (window[1] - 1) * dilation - 1) // stride + 1
    data = "int8" if kind == "int8" else "float32"
    x = toy.tensor((1, size, size, channels), data, [0.03] if data == "int8" else None, [4])
    y = toy.tensor((1, out, wide, channels * multiplier), data, [0.09] if data == "int8" else None, [-7])
    shape = (channels * multiplier, *window, 1) if grouped else (1, *window, channels * multiplier)
    bias_values = rng.normal(size=channels * multiplier)
    if kind == "float32":
        weights = toy.tensor(shape, data=rng.normal(size=shape) / 7)
        bias = toy.tensor(bias_values.shape, data=bias_values)
    else:
        scales = [0.002 + 0.001 * index for index in range(channels * multiplier)]
        kernel = rng.integers(-127, 128, shape)
        weights = toy.tensor(shape, "int8", scales, axis=0 if grouped else 3, data=kernel)
        integer = kind == "int8"
        steps = [0.03 * scale for scale in scales] if integer else None
        known = np.round(bias_values / np.array(steps)) if steps else bias_values
        bias = toy.tensor(known.shape, "int32" if integer else "float32", steps, data=known)
    options: dict[str, Any] = {"strideH": stride, "strideW": stride, "padding": padding}
    options |= {"dilationHFactor": dilation, "dilationWFactor": dilation, "fusedActivationFunction": fused}
    if grouped:
        toy.operator("CONV_2D", [x, weights, bias], [y], "Conv2DOptions", 6, **options)
    else:
        options["depthMultiplier"] = multiplier
        toy.operator("DEPTHWISE_CONV_2D", [x, weights, bias], [y], "DepthwiseConv2DOptions", 6, **options)
    return toy.bytes([x], [y])


def _inputs(kind: str, size: int = 15) -> np.ndarray[Any, Any]:
    shape = (1, size, size, 8)
    return every_integer(shape) if kind == "int8" else np.random.default_rng(2).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize(
    "settings",
    [
        {"window": (7, 7)},
        {"window": (7, 7), "stride": 2},
        {"window": (7, 7), "stride": 2, "size": 16},
        {"window": (7, 7), "padding": VALID, "fused": RELU6},
        {"window": (9, 9), "grouped": True},
        {"window": (3, 11)},
        {"window": (13, 2)},
    ],
    ids=str,
)
def test_bands_give_what_the_window_gave(settings: dict[str, Any], kind: str) -> None:
    file = depthwise(kind=kind, **settings)
    done, x = rewrite(file), _inputs(kind, settings.get("size", 15))
    assert [found.rule for found in done.applied] == ["window-in-bands"]
    assert names(done.file).count("DEPTHWISE_CONV_2D") > 1
    assert partitions(done.file) == 1
    ours, theirs = answers(done.file, x)[0], answers(file, x)[0]
    if kind == "int8":
        assert np.abs(ours - theirs).max() <= 1  # the sum of a tie in float32
        assert (ours != theirs).mean() < 0.01
    else:
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_bands_of_hybrid_weights_are_those_of_the_float_convolution() -> None:
    """The data are no longer rounded: the values are nearer to the weights' own than the runtime's kernels are."""
    hybrid, x = depthwise((7, 7), kind="hybrid"), _inputs("hybrid")
    done = rewrite(hybrid)
    assert [found.rule for found in done.applied] == ["window-in-bands"]
    rounded, ours = answers(hybrid, x)[0], answers(done.file, x)[0]
    assert np.abs(ours - rounded).max() < 0.05 * np.abs(rounded).max()
    assert len(done.file) < len(hybrid) + 4096


@pytest.mark.parametrize(
    "settings",
    [
        {"window": (5, 5)},
        {"window": (13, 13)},
        {"window": (7, 7), "dilation": 2, "size": 21},
        {"window": (7, 7), "multiplier": 2},
        {"window": (7, 7), "channels": 3},
    ],
    ids=["25 weights", "too wide for bands", "dilated", "no depthwise kernel for it", "few channels"],
)
def test_other_windows_stay(settings: dict[str, Any]) -> None:
    file = depthwise(**settings)
    assert rewrite(file).file is file


def test_a_window_over_an_image_of_open_size_stays() -> None:
    """The bands would be cut for the stored size, in which a file of the stock converter has 1 for what is open."""
    tree = unpack(depthwise((7, 7), size=1))
    for index in (0, 1):
        tree.subgraphs[0].tensors[index].shapeSignature = np.array([1, -1, -1, 8], np.int32)
    file = pack(tree)
    assert rewrite(file).file is file


def test_the_batch_can_still_be_changed() -> None:
    from edgekit.bench.run import infer

    file = rewrite(depthwise((7, 7))).file
    x = np.concatenate([_inputs("float32"), -_inputs("float32")] * 3)
    many = infer(batched_twin(file), [x], batch=6).outputs[0]
    np.testing.assert_allclose(many, infer(file, [x]).outputs[0], atol=2e-5)
