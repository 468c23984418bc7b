"""A scale and a shift by channel, as an unfolded batch normalization leaves them, in one operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.edit import Array, Edit

_MOST_BIAS = 2.0**28  # in units of the accumulator, which has 31 bits


def scale_and_shift(edit: Edit, operator: Any) -> bool:
    """int8 x * m + a, with m and a by channel, as a depthwise convolution of 1x1 with the weights m and the bias a.

    The product is no longer rounded to 8 bits before the sum, so values move towards those of the float file.
    """
    adding = edit.only_reader(operator.outputs[0])
    if adding is None or edit.name(adding) != "ADD" or operator.builtinOptions is None:
        return False
    if operator.builtinOptions.fusedActivationFunction or adding.builtinOptions is None:
        return False
    factors, terms = _by_channel(edit, operator), _by_channel(edit, adding)
    if factors is None or terms is None or terms[0] != int(operator.outputs[0]):
        return False
    source, out = factors[0], int(adding.outputs[0])
    before, after = edit.grid(source), edit.grid(out)
    if before is None or after is None or edit.dtype(out) != "int8":
        return False
    layer = _layer(factors[1], terms[1], before[0])
    if layer is None or float(layer[1].max()) * before[0] / after[0] >= 200:
        return False
    weights = edit.store("factors", layer[0].reshape(1, 1, 1, -1), layer[1], 3)
    bias = edit.store("terms", layer[2], layer[1] * before[0])
    fused = {"fusedActivationFunction": adding.builtinOptions.fusedActivationFunction, "padding": 1}
    steps = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "depthMultiplier": 1}
    edit.replace(operator)
    edit.replace(adding, edit.operator("DEPTHWISE_CONV_2D", [source, weights, bias], [out], **steps, **fused))
    return True


def _by_channel(edit: Edit, operator: Any) -> tuple[int, Array] | None:
    """What an operator on int8 images reads beside a constant for each channel, and that constant in real numbers."""
    first, second = map(int, operator.inputs)
    data, stored = (first, second) if edit.constant(second) is not None else (second, first)
    values, grid, shape = edit.constant(stored), edit.grid(stored), edit.shape(data)
    if values is None or grid is None or values.dtype != np.int8 or edit.dtype(data) != "int8" or len(shape) != 4:
        return None
    if values.shape[-1:] != shape[3:] or values.size != shape[3] or edit.constant(data) is not None or edit.open(data):
        return None
    return data, (values.ravel().astype(np.float64) - grid[1]) * grid[0]


def _layer(factors: Array, terms: Array, step: float) -> tuple[Array, Array, Array] | None:
    """Weights (int8), their scales and the bias (int32); None for values that are no numbers.

    A scale is that of the factor, or larger where the term would not fit into the accumulator beside it.
    """
    least = max(float(np.abs(factors).max()) * 2.0**-20, float(np.finfo(np.float32).tiny) * 2**20)
    scales = np.maximum(np.maximum(np.abs(factors), least) / 127, np.abs(terms) / (step * _MOST_BIAS))
    if not np.isfinite(scales).all() or not step > 0:
        return None
    scales = scales.astype(np.float32).astype(np.float64)
    weights = np.clip(np.round(factors / scales), -127, 127)
    return weights.astype(np.int8), scales, np.round(terms / (step * scales)).astype(np.int32)
