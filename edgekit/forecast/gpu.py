"""What the GPU delegate of Android takes of a file, by the rules of its source; nothing is run.

Each operator is asked for its version, settings, types and dimensions. The delegate then takes the largest connected
piece only, or as many as it is told (`max_delegated_partitions`, 1 unless changed). The rules are those of the delegate
behind the Interpreter API; what a driver refuses later is in no source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edgekit.forecast.delegate import Delegate, forecast, refused
from edgekit.forecast.gpu_build import build_fault
from edgekit.forecast.gpu_rules import RULES
from edgekit.forecast.node import Fault, Node
from edgekit.forecast.placement import Forecast
from edgekit.operators import load_table
from edgekit.tflite.graph import Graph, Operator, Tensor

_COMPARISONS = {"EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"}
_AFTER_COMPARISON = {"CAST", "SELECT", "SELECT_V2"}
_FLOATS = ("float16", "float32")
_EIGHT_BITS = ("int8", "uint8")
_DIMENSIONS = 4
_TABLE = "gpu"


def forecast_gpu(graph: Graph, *, quantized: bool = True, pieces: int = 1, opencl: bool | None = None) -> Forecast:
    """Ask the GPU delegate about every operator of the main graph.

    `quantized` is its option to compute 8-bit files in floating point, `pieces` its max_delegated_partitions; `opencl`
    says whether the device has OpenCL (None: not known), which SPLIT needs. Raises ModelError for a graph with a
    circle, InputError for less than one piece, TargetError if the shipped table is damaged.
    """
    asked = _Asked(graph, quantized, opencl)
    return forecast(graph, Delegate("gpu", load_table(_TABLE), asked, pieces, build_fault))


class _Asked:
    """The checks of GetOpsToReplace for the operators of one graph."""

    def __init__(self, graph: Graph, quantized: bool, opencl: bool | None) -> None:
        self.table, self.quantized, self.opencl = load_table(_TABLE), quantized, opencl
        self.readers: dict[int, list[Operator]] = {}
        self.makers = Counter(index for op in graph.operators for index in op.outputs)
        self.tensors = graph.tensors
        for operator in graph.operators:
            for index in operator.inputs:
                self.readers.setdefault(index, []).append(operator)

    def __call__(self, node: Node) -> Fault | None:
        name = node.operator.name
        if node.operator.custom and name in self.table.custom:
            return Fault("custom-settings", "the settings of a custom operator are not read", certain=False)
        return refused(node, self.table) or self._switched_off(name) or self._ruled(node) or self._typed(node)

    def _switched_off(self, name: str) -> Fault | None:
        if name in ("QUANTIZE", "DEQUANTIZE") and not self.quantized:
            return Fault("quantization-off", "the delegate is told to take no 8-bit tensors", "allow it, or use float")
        if name in ("SPLIT", "SPLIT_V") and not self.opencl:
            reason = "taken only where the device has OpenCL"
            return Fault("needs-opencl", reason, "slice instead of splitting", certain=self.opencl is False)
        return None

    def _ruled(self, node: Node) -> Fault | None:
        name = node.operator.name
        if name in _COMPARISONS:
            return self._comparison(node)
        if name == "CAST" and node.input(0).dtype == "bool" and node.output().dtype in _FLOATS:
            alone = self._alone(node.operator.inputs) and len(self._after(node)) == 1
            reason = "a cast from bool is taken only where one operator makes its input and one reads its output"
            return None if alone else Fault("shared-comparison", reason, "compute in float32 instead of bool")
        return next((fault for rule in RULES.get(name, ()) if (fault := rule(node))), None)

    def _comparison(self, node: Node) -> Fault | None:
        after = self._after(node)
        if self._alone(node.operator.outputs) and after[0].name in _AFTER_COMPARISON:
            made = [self.tensors[index] for index in after[0].outputs if index >= 0]
            if made and made[0].dtype in _FLOATS:
                return None
        reason = "a comparison is taken only if its result goes into one CAST or SELECT to float"
        return Fault("shared-comparison", reason, "select or multiply in float32 right after it")

    def _after(self, node: Node) -> list[Operator]:
        return self.readers.get(node.operator.outputs[0], []) if node.operator.outputs else []

    def _alone(self, indices: tuple[int, ...]) -> bool:
        """The first of the tensors has one operator that makes it, and one that reads it."""
        return bool(indices) and self.makers[indices[0]] == 1 and len(self.readers.get(indices[0], [])) == 1

    def _typed(self, node: Node) -> Fault | None:
        rule = self.table.operators[node.operator.name]
        common = self.table.types if self.quantized else _FLOATS
        given = [tensor for tensor in node.inputs if tensor is not None]
        return _checked(given, {*common, *rule.reads}) or _checked(node.outputs, {*common, *rule.writes})


def _checked(tensors: Iterable[Tensor], types: set[str]) -> Fault | None:
    """Nothing has five dimensions, and what is computed has a type that the delegate has."""
    for tensor in tensors:
        if len(tensor.shape) > _DIMENSIONS:
            reason = f"a tensor of {len(tensor.shape)} dimensions; it has {_DIMENSIONS} and fewer"
            return Fault("too-many-dimensions", reason, "reshape to four dimensions or fewer")
        if not tensor.constant and not tensor.variable and tensor.dtype not in types:
            mend = "compute in float32, float16 or 8 bits"
            return Fault("unsupported-type", f"a tensor of {tensor.dtype}", mend)
    return None
