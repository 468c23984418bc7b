"""Concatenations and strides as XNNPACK has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.edit import Edit

MOST_JOINED = 5  # the most inputs of XNNPACK's CONCATENATION (VisitConcatenationNode)


def joined_in_steps(edit: Edit, operator: Any) -> bool:
    """A CONCATENATION of more than five tensors as two, one inside of the other; it only moves values."""
    inputs, out = [int(index) for index in operator.inputs], int(operator.outputs[0])
    options, shape = operator.builtinOptions, edit.shape(out)
    if options is None or not MOST_JOINED < len(inputs) <= 2 * MOST_JOINED - 1 or min(inputs) < 0:
        return False
    if options.fusedActivationFunction or not -len(shape) <= options.axis < len(shape):
        return False
    axis, count = options.axis % len(shape), len(inputs) - MOST_JOINED + 1
    size = [*shape]
    size[axis] = sum(edit.shape(index)[axis] for index in inputs[:count])
    made = edit.like(out, "_begun", shape=np.array(size, np.int32))
    first = edit.operator("CONCATENATION", inputs[:count], [made], axis=axis)
    edit.replace(operator, first, edit.operator("CONCATENATION", [made, *inputs[count:]], [out], axis=axis))
    return True


def stride_for_pooling(edit: Edit, operator: Any) -> bool:
    """A pooling over windows of 1x1 takes every n-th value: a 1x1 convolution behind it does so by its own stride."""
    options, source = operator.builtinOptions, int(operator.inputs[0])
    reader = edit.only_reader(operator.outputs[0])
    if options is None or (options.filterHeight, options.filterWidth) != (1, 1) or options.fusedActivationFunction:
        return False
    if reader is None or edit.name(reader) != "CONV_2D" or reader.builtinOptions is None:
        return False
    layer, weights = reader.builtinOptions, edit.shape(reader.inputs[1])
    if int(reader.inputs[0]) != int(operator.outputs[0]) or weights[1:3] != (1, 1):
        return False
    if (layer.strideH, layer.strideW) != (1, 1) or edit.grid(source) != edit.grid(int(operator.outputs[0])):
        return False
    layer.strideH, layer.strideW = options.strideH, options.strideW
    reader.inputs = np.array([source, *reader.inputs[1:]], np.int32)
    edit.replace(operator)
    return True
