"""Operators that XNNPACK has in float32 only, as float islands inside of its one int8 piece.

Outside of XNNPACK an operator costs a border (the piece ends, and values are repacked) and runs on the runtime's own
kernels, in integer arithmetic that is not tuned. Between a DEQUANTIZE and a QUANTIZE, both of which XNNPACK has, it
stays inside; it computes on the same integers, and rounds once.

Attention is the dearest of them: the products of queries, keys and values in a small vision transformer (4 blocks, 64
tokens of 64) take 652 of 860 us as int8 BATCH_MATMUL of the runtime; as islands they leave the file 0.27 of its time.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from edgekit.surgery.edit import Edit

FLOAT_ONLY = frozenset(
    (
        *("ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"),
        *("ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"),
        *("AVERAGE_POOL_2D", "SOFTMAX", "ADD", "SUB", "MUL", "BATCH_MATMUL"),
    )
)


def island(edit: Edit, operator: Any) -> bool:
    """The operator in float32 between casts; what another island has just rounded is read before the rounding."""
    sides = [int(index) for index in (*operator.inputs, *operator.outputs)]
    if edit.name(operator) not in FLOAT_ONLY or min(sides) < 0:
        return False
    if any(edit.dtype(index) != "int8" or edit.grid(index) is None for index in sides):
        return False
    casts: list[Any] = []
    inner = copy(operator)
    inner.inputs = np.array([_constant_or_float(edit, int(index), casts) for index in operator.inputs], np.int32)
    out = int(operator.outputs[0])
    made = edit.like(out, "_float", type=edit.fb.TensorType.FLOAT32, quantization=None)
    inner.outputs = np.array([made], np.int32)
    edit.replace(operator, *casts, inner, edit.operator("QUANTIZE", [made], [out]))
    return True


def in_float(edit: Edit, index: int, casts: list[Any]) -> int:
    """The float tensor with the values of an int8 one: what was just rounded, or a cast more. A float one is itself."""
    if edit.dtype(index) == "float32":
        return index
    maker = edit.makers.get(index)
    if maker is not None and edit.name(maker) == "QUANTIZE" and edit.dtype(maker.inputs[0]) == "float32":
        return int(maker.inputs[0])
    made = edit.like(index, "_float", type=edit.fb.TensorType.FLOAT32, quantization=None)
    casts.append(edit.operator("DEQUANTIZE", [index], [made]))
    return made


def _constant_or_float(edit: Edit, index: int, casts: list[Any]) -> int:
    values, (scale, zero) = edit.constant(index), edit.grid(index) or (1.0, 0)
    if values is None:
        return in_float(edit, index, casts)
    return edit.store("float_constant", (values.astype(np.float32) - zero) * np.float32(scale))
