"""Depthwise convolutions with windows that XNNPACK has no depthwise kernel for.

It computes a window above 25 weights as a general convolution of one channel a group, at a fifth of the speed or less
(a window of 7x7 over 96 channels of 24x24: 1.5 ms against 0.25 ms in bands; int8 1.9 against 0.24). A CONV_2D with a
group for each channel is such a convolution too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edgekit.surgery.edit import Array, Edit
from edgekit.surgery.islands import in_float

MOST_TAPS = 25  # the largest window of XNNPACK's depthwise kernels (src/configs/dwconv-config.c)
_WIDEST = 12  # above it a band of a window is one row, and the sums cost more than they save
_FEWEST = 8  # channels; with 3 of them, or with a multiplier above 1, the bands were slower than the window
_SAME = 0


class _Window(NamedTuple):
    """A depthwise convolution: `weights` `[1, height, width, channels]`, each channel's `scales` if they are int8."""

    weights: Array
    scales: Array | None
    bias: Array


def in_bands(edit: Edit, operator: Any) -> bool:
    """A depthwise convolution with a large window as the sum of some with its bands, of up to 25 weights each.

    sum over (i, j) of w[i, j] x[i, j], taken band by band of i, in float32; int8 data are cast before and rounded once,
    after the sum, so they are what they were but for the rounding of float32. int8 weights stay so in the file.
    """
    window = _window(edit, operator)
    if window is None or window.weights.shape[1] * window.weights.shape[2] <= MOST_TAPS:
        return False
    axis = 1 if window.weights.shape[1] >= window.weights.shape[2] else 2
    if window.weights.shape[3 - axis] > _WIDEST:
        return False
    parts: list[Any] = []
    image = _padded(edit, operator, in_float(edit, int(operator.inputs[0]), parts), window.weights.shape, parts)
    step = MOST_TAPS // window.weights.shape[3 - axis]
    starts = range(0, window.weights.shape[axis], step)
    sums = [_band(edit, operator, image, window, axis, range(start, start + step), parts) for start in starts]
    _summed(edit, operator, sums, parts)
    edit.replace(operator, *parts)
    return True


def _window(edit: Edit, operator: Any) -> _Window | None:
    """The window of a depthwise convolution of fixed sizes without dilation; None for any other operator."""
    options = operator.builtinOptions
    if len(operator.inputs) != 3 or options is None or len(edit.shape(operator.outputs[0])) != 4:
        return None
    data, weights, bias = map(int, operator.inputs)
    if edit.open(data) or edit.open(operator.outputs[0]):
        return None
    found, image = edit.constant(weights), edit.shape(data)
    if found is None or found.ndim != 4 or len(image) != 4 or not _known(edit, operator):
        return None
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1) or min(options.strideH, options.strideW) < 1:
        return None
    if edit.name(operator) == "CONV_2D":
        if found.shape[3] != 1 or image[3] < 2:
            return None
        found = np.ascontiguousarray(found.transpose(3, 1, 2, 0))
    if found.shape[3] != image[3] or image[3] < _FEWEST:
        return None
    return _with_bias(edit, found, weights, data, bias)


def _known(edit: Edit, operator: Any) -> bool:
    """Whether the types are float32, int8 (with one scale for data), or float32 data with int8 weights."""
    data, weights, out = int(operator.inputs[0]), int(operator.inputs[1]), int(operator.outputs[0])
    kinds = edit.dtype(data), edit.dtype(weights), edit.dtype(out)
    if kinds == ("int8", "int8", "int8"):
        return edit.grid(data) is not None and edit.grid(out) is not None
    return kinds in (("float32", "float32", "float32"), ("float32", "int8", "float32"))


def _with_bias(edit: Edit, window: Array, weights: int, data: int, bias: int) -> _Window | None:
    channels, scales = window.shape[3], None
    if window.dtype == np.int8:
        stored = edit.tensor(weights).quantization
        if stored is None or stored.scale is None or len(stored.scale) not in (1, channels) or np.any(stored.zeroPoint):
            return None
        scales = np.broadcast_to(np.asarray(stored.scale, np.float32), channels)
    known = np.zeros(channels, np.float32) if bias < 0 else edit.constant(bias)
    if known is None or known.shape != (channels,):
        return None
    if known.dtype == np.int32 and scales is not None:
        known = (known * (np.float64(edit.grid(data)[0]) * scales)).astype(np.float32)  # type: ignore[index]
    return _Window(window, scales, known) if known.dtype == np.float32 else None


def _padded(edit: Edit, operator: Any, image: int, window: tuple[int, ...], parts: list[Any]) -> int:
    """The image with the zeros around it that SAME implies."""
    options = operator.builtinOptions
    size, out = edit.shape(image), edit.shape(operator.outputs[0])
    pads = np.zeros((4, 2), np.int32)
    for axis, stride in ((1, options.strideH), (2, options.strideW)):
        missing = max((out[axis] - 1) * stride + window[axis] - size[axis], 0) if options.padding == _SAME else 0
        pads[axis] = missing // 2, missing - missing // 2
    if not pads.any():
        return image
    made = edit.like(image, "_padded", shape=np.array(size + pads.sum(1), np.int32))
    parts.append(edit.operator("PAD", [image, edit.store("paddings", pads)], [made]))
    return made


def _band(edit: Edit, operator: Any, image: int, window: _Window, axis: int, rows: range, parts: list[Any]) -> int:
    """The convolution of a band of the window with the part of the image that it meets."""
    options, weights = (
        operator.builtinOptions,
        np.take(window.weights, [*rows][: window.weights.shape[axis] - rows.start], axis),
    )
    cut = _cut(edit, operator, image, axis, rows.start, weights.shape[axis], parts)
    if window.scales is None:
        kernel = edit.store("band", weights)
    else:
        kernel = in_float(edit, edit.store("band_int8", weights, window.scales, 3), parts)
    bias = edit.store("band_bias", window.bias if rows.start == 0 else np.zeros_like(window.bias))
    made = edit.like(int(operator.outputs[0]), "_band", type=edit.fb.TensorType.FLOAT32, quantization=None)
    strides = {"strideH": options.strideH, "strideW": options.strideW, "padding": 1}
    fixed = {"depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    parts.append(edit.operator("DEPTHWISE_CONV_2D", [cut, kernel, bias], [made], **strides, **fixed))
    return made


def _cut(edit: Edit, operator: Any, image: int, axis: int, start: int, length: int, parts: list[Any]) -> int:
    """The image from a row on, as far as a band meets it; the batch stays whatever it is."""
    stride = (operator.builtinOptions.strideH, operator.builtinOptions.strideW)[axis - 1]
    size = np.array(edit.shape(image), np.int32)
    size[axis] = (edit.shape(operator.outputs[0])[axis] - 1) * stride + length
    begin, end = np.zeros(4, np.int32), np.zeros(4, np.int32)
    begin[axis], end[axis] = start, start + size[axis]
    marks = [edit.store(name, found) for name, found in (("begin", begin), ("end", end), ("ones", begin * 0 + 1))]
    whole = 0b1111 & ~(1 << axis)
    made = edit.like(image, "_cut", shape=size)
    parts.append(edit.operator("STRIDED_SLICE", [image, *marks], [made], beginMask=whole, endMask=whole))
    return made


def _summed(edit: Edit, operator: Any, sums: list[int], parts: list[Any]) -> None:
    """The bands added up, with the activation of the operator; cast, if it gives integers."""
    out, total = int(operator.outputs[0]), sums[0]
    integers = edit.dtype(out) == "int8"
    fused = operator.builtinOptions.fusedActivationFunction
    for made in sums[1:]:
        last = made == sums[-1]
        more = out if last and not integers else edit.like(sums[0], "_sum")
        parts.append(edit.operator("ADD", [total, made], [more], fusedActivationFunction=fused if last else 0))
        total = more
    if integers:
        parts.append(edit.operator("QUANTIZE", [total], [out]))
