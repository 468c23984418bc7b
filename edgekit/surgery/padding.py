"""Zeros around an image, left to the convolution that reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.edit import Array, Edit

_SAME, _VALID = 0, 1
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def padding_of_layer(edit: Edit, operator: Any) -> bool:
    """A PAD before convolutions, where their own SAME puts the same zeros at the same sides.

    SAME adds (out - 1) * stride + window - in, the smaller half in front (TensorFlow, tf.nn.convolution). A layer that
    pads 0 in front and 1 behind an even image, for a window of 3 in steps of 2, is such a one.
    """
    source, out = int(operator.inputs[0]), int(operator.outputs[0])
    pads = edit.constant(operator.inputs[1])
    readers = edit.readers.get(out, [])
    if pads is None or pads.shape != (4, 2) or not readers or edit.is_rim(out) or edit.grid(source) != edit.grid(out):
        return False
    if not all(_is_same(edit, reader, source, out, pads) for reader in readers):
        return False
    for reader in readers:
        reader.builtinOptions.padding = _SAME
        reader.inputs = np.array([source, *reader.inputs[1:]], np.int32)
    edit.replace(operator)
    return True


def _is_same(edit: Edit, reader: Any, source: int, padded: int, pads: Array) -> bool:
    """Whether a layer on the padded image computes what it would with SAME on the image itself."""
    options = reader.builtinOptions
    if edit.name(reader) not in _LAYERS or options is None or options.padding != _VALID:
        return False
    if [int(index) for index in reader.inputs].count(padded) != 1 or int(reader.inputs[0]) != padded:
        return False
    if edit.open(source) or edit.open(reader.outputs[0]):
        return False
    size, out, window = edit.shape(source), edit.shape(reader.outputs[0]), edit.shape(reader.inputs[1])
    if not len(size) == len(out) == len(window) == 4 or pads[[0, 3]].any():
        return False
    sides = ((options.strideH, options.dilationHFactor), (options.strideW, options.dilationWFactor))
    return all(
        tuple(pads[axis]) == _zeros(size[axis], out[axis], (window[axis] - 1) * dilation + 1, stride)
        for axis, (stride, dilation) in zip((1, 2), sides, strict=True)
    )


def _zeros(size: int, out: int, reach: int, stride: int) -> tuple[int, int] | None:
    """The zeros that SAME puts in front and behind; None where it gives another size."""
    if stride < 1 or out != -(-size // stride):
        return None
    missing = max((out - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2
