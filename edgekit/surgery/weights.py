"""Weights in the form in which XNNPACK reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.edit import Edit


def unpacked(edit: Edit, operator: Any) -> bool:
    """A float DEPTHWISE_CONV_2D with int8 weights reads them through a DEQUANTIZE, which runs once, at the start.

    The file keeps its size. The data are no longer rounded to 8 bits on the way in, so values move towards those of the
    float file.
    """
    data, weights = int(operator.inputs[0]), int(operator.inputs[1])
    if (edit.dtype(data), edit.dtype(weights)) != ("float32", "int8") or edit.constant(weights) is None:
        return False
    quantization = edit.tensor(weights).quantization
    if quantization is None or quantization.scale is None or len(operator.inputs) != 3:
        return False
    made = edit.like(weights, "_float", type=edit.fb.TensorType.FLOAT32, quantization=None)
    operator.inputs = np.array([data, made, operator.inputs[2]], np.int32)
    edit.replace(operator, edit.operator("DEQUANTIZE", [weights], [made]), operator)
    return True
