"""What XNNPACK asks beyond the delegate's own checks, when the kernel of a piece is built.

The delegate has taken the operator by then, and a failure is final: the runtime says "failed to prepare" and loads no
file. Sources: LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, GetXNNPackDatatype; XNNPACK, src/tensor.c and
src/subgraph/ (validation.c, concatenate.c, copy.c, static-resize-bilinear-2d.c ...).
"""

from __future__ import annotations

from edgekit.forecast.xnnpack_checks import Asked, Refusal, value_problem
from edgekit.forecast.xnnpack_rules import RULES
from edgekit.tflite.graph import Tensor


def build_refusal(node: Asked) -> Refusal | None:
    """Why the kernel of an operator that the delegate takes cannot be built; None where it can."""
    rule = RULES[node.operator.name]
    problem = next(filter(None, (value_problem(tensor) for tensor in _values(node, rule.reads))), None)
    if problem:
        reason = f"XNNPACK takes {node.operator.name} and then fails on it: {problem}"
        return Refusal("kernel", reason, "quantize the model again, or run it without XNNPACK")
    found = next(filter(None, (check(node) for check in rule.kernel)), None)
    if found is None:
        return None
    reason = f"XNNPACK takes it and then fails: {found.reason}"
    return Refusal("kernel", reason, f"{found.mend}; or run the file without XNNPACK")


def _values(node: Asked, reads: tuple[int, ...] | None) -> list[Tensor]:
    """The tensors that become values of XNNPACK's own graph."""
    operator = node.operator
    places = range(len(operator.inputs)) if reads is None else reads
    indices = [operator.inputs[place] for place in places if node.has(place)]
    indices = [index for index in (*indices, *operator.outputs) if index not in node.halves]
    return [node.tensors[index] for index in indices if node.tensors[index].dtype != "resource"]
