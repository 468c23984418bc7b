"""Poolings that XNNPACK lacks, as depthwise convolutions and strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.convolutions import MOST_TAPS
from edgekit.surgery.edit import Edit

_SAME = 0


def weighted(edit: Edit, operator: Any) -> bool:
    """int8 AVERAGE_POOL_2D, and MAX_POOL_2D of windows of 1x1, as a depthwise convolution with equal weights.

    The window must nowhere reach over the edge: there the pooling divides by the number of values that are there, which
    a convolution cannot.
    """
    options, source, out = operator.builtinOptions, int(operator.inputs[0]), int(operator.outputs[0])
    grids = edit.grid(source), edit.grid(out)
    if options is None or None in grids or {edit.dtype(source), edit.dtype(out)} != {"int8"}:
        return False
    window = options.filterHeight, options.filterWidth
    taps, shape = window[0] * window[1], edit.shape(source)
    if edit.name(operator) == "MAX_POOL_2D" and taps > 1:
        return False
    if len(shape) != 4 or not 1 <= taps <= MOST_TAPS or edit.open(source) or _reaches_over(edit, operator):
        return False
    scale, channels = 1 / (127 * taps), shape[3]
    weights = edit.store("mean_weights", np.full((1, *window, channels), 127, np.int8), [scale] * channels, 3)
    bias = edit.store("no_bias", np.zeros(channels, np.int32), [scale * grids[0][0]] * channels)  # type: ignore[index]
    strides = {"strideH": options.strideH, "strideW": options.strideW}
    more = {"padding": options.padding, "fusedActivationFunction": options.fusedActivationFunction}
    fixed = {"depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    edit.replace(
        operator, edit.operator("DEPTHWISE_CONV_2D", [source, weights, bias], [out], **strides, **more, **fixed)
    )
    return True


def _reaches_over(edit: Edit, operator: Any) -> bool:
    options = operator.builtinOptions
    size, found = edit.shape(operator.inputs[0])[1:3], edit.shape(operator.outputs[0])[1:3]
    sides = ((options.filterHeight, options.strideH), (options.filterWidth, options.strideW))
    return options.padding == _SAME and any(
        (out - 1) * stride + window > length for length, out, (window, stride) in zip(size, found, sides, strict=True)
    )
