"""What XNNPACK asks beyond the delegate's own checks, when the kernel of a piece is built.

The delegate has taken the operator by then, and a failure is final: the runtime says "failed to prepare" and loads no
file. Sources: LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, GetXNNPackDatatype; XNNPACK, src/tensor.c and
src/subgraph/ (validation.c, concatenate.c, copy.c, static-resize-bilinear-2d.c ...).
"""

from __future__ import annotations

from edgekit.forecast.xnnpack_checks import (
    FLOAT,
    MOST_DIMENSIONS,
    ZERO_POINTS,
    Node,
    Refusal,
    normal,
)
from edgekit.forecast.xnnpack_rules import RULES
from edgekit.tflite.graph import Tensor

_PER_CHANNEL = ("int8", "int4")


def build_refusal(node: Node) -> Refusal | None:
    """Why the kernel of an operator that the delegate takes cannot be built; None where it can."""
    rule = RULES[node.operator.name]
    problem = next(filter(None, (_value_problem(tensor) for tensor in _values(node, rule.reads))), None)
    if problem:
        reason = f"XNNPACK takes {node.operator.name} and then fails on it: {problem}"
        return Refusal("kernel", reason, "quantize the model again, or run it without XNNPACK")
    found = next(filter(None, (check(node) for check in rule.kernel)), None)
    if found is None:
        return None
    reason = f"XNNPACK takes it and then fails: {found.reason}"
    return Refusal("kernel", reason, f"{found.mend}; or run the file without XNNPACK")


def _values(node: Node, reads: tuple[int, ...] | None) -> list[Tensor]:
    """The tensors that become values of XNNPACK's own graph."""
    operator = node.operator
    places = range(len(operator.inputs)) if reads is None else reads
    indices = [operator.inputs[place] for place in places if node.has(place)]
    indices = [index for index in (*indices, *operator.outputs) if index not in node.halves]
    return [node.tensors[index] for index in indices if node.tensors[index].dtype != "resource"]


def _value_problem(tensor: Tensor) -> str | None:
    if len(tensor.shape) > MOST_DIMENSIONS:
        return f"a tensor has {len(tensor.shape)} dimensions, more than {MOST_DIMENSIONS}"
    if tensor.dtype in FLOAT:
        return None
    if not tensor.scales:
        return f"an {tensor.dtype} tensor has no scale"
    if any(scale <= 0 or not normal(scale) for scale in tensor.scales):
        return "a scale is zero, negative or no number"
    return _zero_point_problem(tensor) if len(tensor.scales) == 1 else _channel_problem(tensor)


def _zero_point_problem(tensor: Tensor) -> str | None:
    least, most = ZERO_POINTS.get(tensor.dtype, (0, 0))
    if all(least <= zero <= most for zero in tensor.zero_points):
        return None
    return f"the zero point {tensor.zero_points[0]} does not fit into {tensor.dtype}"


def _channel_problem(tensor: Tensor) -> str | None:
    if tensor.dtype == "uint8" or (tensor.dtype == "int32" and tensor.quantized_axis):
        return f"an {tensor.dtype} tensor has {len(tensor.scales)} scales along dimension {tensor.quantized_axis}"
    allowed = (0, 8) if tensor.dtype == "int4" else (0,)
    fits = all(zero in allowed for zero in tensor.zero_points)
    return None if fits else "a tensor with a scale for each channel has a zero point other than 0"
