"""Scales that no runtime opens a file with: along a dimension that is not there, of a wrong number, or not numbers.

Sources: InterpreterBuilder::ParseQuantization in tflite/core/interpreter_builder.cc of LiteRT; for TFLite Micro,
PopulateConvolutionQuantizationParams in kernels/kernel_util.cc, which refuses the operator that reads the tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from edgekit.finding import Finding
from edgekit.tflite.graph import Graph, Tensor

_SOURCE = (
    "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/core/interpreter_builder.cc : ParseQuantization; "
    "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/kernel_util.cc"
)
_MEND = "quantize the model again with a current converter, or repair the file with its maker"
_NAMED = 3


def quantization_findings(graph: Graph) -> Iterator[Finding]:
    """One error for all tensors of a main graph with the same fault."""
    faults: dict[str, list[str]] = {}
    for tensor in graph.tensors:
        if fault := _fault(tensor):
            faults.setdefault(fault, []).append(tensor.name)
    for fault, names in faults.items():
        more = ", ..." if len(names) > _NAMED else ""
        subject = f"tensor{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMED])}{more}"
        yield Finding("error", "unsound-scales", subject, f"{fault}: runtimes refuse the file", _MEND, _SOURCE)


def _fault(tensor: Tensor) -> str:
    """What is wrong with the scales of a tensor; empty where they are sound, or none."""
    scales, rank, axis = len(tensor.scales), len(tensor.shape), tensor.quantized_axis
    if not scales:
        return ""
    if len(tensor.zero_points) != scales:
        return f"{scales} scales and {len(tensor.zero_points)} zero points"
    if axis < 0 or 0 < rank <= axis:
        return f"scales along dimension {axis} of {rank}"
    if scales > 1 and rank and tensor.shape[axis] != scales:
        return f"{scales} scales along a dimension of {tensor.shape[axis]}"
    return "" if all(isfinite(scale) and scale >= 0 for scale in tensor.scales) else "a scale is negative or no number"
