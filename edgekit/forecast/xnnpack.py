"""What the XNNPACK delegate takes of a file, why not the rest, and in how many pieces: said without any runtime.

The runtime asks the delegate before any shape is propagated, so a forecast reads the shapes of the file. It asks in
the order of execution; what unpacks constants is settled on the way, by who reads them. Source: LiteRT,
tflite/delegates/xnnpack/xnnpack_delegate.cc, PrepareOpsToDelegate, and tflite/core/subgraph.cc.
"""

from __future__ import annotations

from edgekit.forecast.partition import partition
from edgekit.forecast.placement import Forecast, Placement
from edgekit.forecast.xnnpack_checks import Asked, Refusal, counts
from edgekit.forecast.xnnpack_kernel import build_refusal
from edgekit.forecast.xnnpack_mends import better_mend, without_rule
from edgekit.forecast.xnnpack_rules import RULES
from edgekit.tflite.graph import Graph, Operator, Tensor

VERSION = "LiteRT 2.3"
_FILE = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc"
_WEIGHTED = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}
_CASTS = {"QUANTIZE", "DEQUANTIZE"}
_UNREAD = {"Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D"}


def forecast_xnnpack(graph: Graph) -> Forecast:
    """What the default XNNPACK delegate of LiteRT 2.3 takes of the main graph.

    Where the delegate takes an operator and then fails to build its kernel, the runtime loads no file at all: every
    placement then says so, and there is no piece. Model metadata with control edges of its own is not looked at.
    """
    visit = _Visit(graph)
    refusals = visit.refusals | visit.unread_constants()
    pieces = partition(graph, visit.taken)
    if pieces is None:
        refusals, pieces = _nothing(graph, None, _CYCLE), ()
    built = ((index, build_refusal(visit.node(graph.operators[index]))) for index in sorted(visit.kernels))
    if broken := next(((index, refusal) for index, refusal in built if refusal), None):
        refusals, pieces = _nothing(graph, *broken), ()
    placements = tuple(_placement(operator, refusals) for operator in graph.operators)
    return Forecast("xnnpack", placements, sum(piece.taken for piece in pieces), VERSION)


class _Visit:
    """One walk in the order of execution: which operators are taken, and for what the others are refused."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers: dict[int, int] = {}  # tensor made from constants when the delegate starts -> its operator
        self.unpackers: set[int] = set()
        self.halves: set[int] = set()
        self.kernels: set[int] = set()
        self.refusals: dict[int, Refusal] = {}
        self.handles: dict[int, int] = {}
        self.variables: dict[int, Tensor] = {}
        self.readers = _readers(graph)
        for operator in graph.operators:
            self._visit(operator)
        for resource in self.variables:
            del self.refusals[self.handles[resource]]

    @property
    def taken(self) -> frozenset[int]:
        handles = (self.handles[resource] for resource in self.variables)
        return frozenset(self.kernels) | self.unpackers | frozenset(handles)

    def node(self, operator: Operator) -> Asked:
        return Asked(operator, self.graph.tensors, self.makers.keys(), self.halves)

    def _visit(self, operator: Operator) -> None:
        if self._unpacks(operator):
            self.unpackers.add(operator.index)
            self.makers[operator.outputs[0]] = operator.index
            return
        refusal = self._refusal(operator)
        if refusal is None:
            self.kernels.add(operator.index)
            return
        self.refusals[operator.index] = refusal
        self.unpackers -= {self.makers[index] for index in operator.inputs if index in self.makers}

    def _unpacks(self, operator: Operator) -> bool:
        """Whether an operator turns a constant into another one, which the delegate does when it starts."""
        if operator.custom or (len(operator.inputs), len(operator.outputs)) != (1, 1):
            return False
        if min(*operator.inputs, *operator.outputs) < 0:
            return False
        first, out = self.graph.tensors[operator.inputs[0]], self.graph.tensors[operator.outputs[0]]
        if operator.name == "DENSIFY":
            known = first.constant and first.sparse and first.dtype in ("float16", "int8", "float32")
            return known and out.dtype == first.dtype
        known = first.constant or operator.inputs[0] in self.makers
        packed = first.dtype == "float16" or (first.dtype == "int8" and bool(first.scales))
        if operator.name != "DEQUANTIZE" or first.sparse or not known or not packed or out.dtype != "float32":
            return False
        if first.dtype == "float16" and self._only_weights(operator.outputs[0]):
            self.halves.add(operator.outputs[0])
        return True

    def _only_weights(self, index: int) -> bool:
        return all(reader.name in _WEIGHTED and reader.inputs[0] != index for reader in self.readers.get(index, ()))

    def _refusal(self, operator: Operator) -> Refusal | None:
        node = self.node(operator)
        if operator.name == "VAR_HANDLE" and operator.outputs:
            self.handles[operator.outputs[0]] = operator.index
            return Refusal("variable", "no operator that XNNPACK takes uses this variable", "see the operators that do")
        rule = RULES.get(operator.name)
        if rule is None or operator.custom != (operator.name in _CUSTOM):
            return without_rule(operator, self.graph)
        found = counts(node, rule.inputs, rule.outputs)
        found = found or next(filter(None, (check(node) for check in rule.checks)), None)
        return better_mend(node, found, self._is_last(operator)) if found else self._variable(node)

    def _is_last(self, operator: Operator) -> bool:
        """Whether nothing but casts comes after an operator."""
        casts = self._reading(operator)
        return all(cast.name in _CASTS and not self._reading(cast) for cast in casts)

    def _reading(self, operator: Operator) -> list[Operator]:
        return [reader for index in operator.outputs for reader in self.readers.get(index, ())]

    def _variable(self, node: Asked) -> Refusal | None:
        """A variable has to keep one type and shape, and its handle has to come first."""
        if node.operator.name not in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            return None
        resource = node.operator.inputs[0]
        value = node.output() if node.operator.outputs else node.input(1)
        if resource not in self.handles:
            return Refusal("variable", "the handle of the variable is made elsewhere", "keep the state in one graph")
        first = self.variables.setdefault(resource, value)
        if (first.dtype, first.shape) == (value.dtype, value.shape):
            return None
        return Refusal("variable", "the variable changes its type or its shape", "give the state one fixed shape")

    def unread_constants(self) -> dict[int, Refusal]:
        """Refusals of operators that would unpack constants, but for an operator that XNNPACK leaves."""
        left = {index for index in self.makers.values() if index not in self.unpackers}
        return {index: _unpacked_outside(self, index) for index in left}


_CUSTOM = ("odml.scaled_dot_product_attention",)
_CYCLE = Refusal(
    "cycle", "an operator needs its own output: the runtime applies no delegate", "convert the model again"
)


def _readers(graph: Graph) -> dict[int, list[Operator]]:
    found: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            found.setdefault(index, []).append(operator)
    return found


def _unpacked_outside(visit: _Visit, index: int) -> Refusal:
    operator = visit.graph.operators[index]
    readers = [reader for reader in visit.readers[operator.outputs[0]] if reader.index in visit.refusals]
    names = ", ".join(f"{reader.index} ({reader.name})" for reader in readers[:3])
    reason = f"its constant is read by operator {names}, which XNNPACK leaves"
    return Refusal("reader", reason, "see there")


def _nothing(graph: Graph, broken: int | None, found: Refusal) -> dict[int, Refusal]:
    """Refusals for all operators, where the runtime applies no delegate or loads no file."""
    if broken is None:
        return {operator.index: found for operator in graph.operators}
    name = graph.operators[broken].name
    reason = f"XNNPACK cannot build operator {broken} ({name}), so the runtime does not load the file with XNNPACK on"
    others = Refusal("file", reason, f"see operator {broken}")
    return {operator.index: others for operator in graph.operators} | {broken: found}


def _placement(operator: Operator, refusals: dict[int, Refusal]) -> Placement:
    rule = RULES.get(operator.name)
    source = f"{_FILE} : {rule.visitor if rule else 'VisitNode'}"
    refusal = refusals.get(operator.index)
    if refusal is None:
        return Placement(operator.index, operator.name, True, source=source)
    unknown = refusal.code == "blockwise" or (operator.custom and operator.name in _UNREAD)
    taken = None if unknown else False
    return Placement(operator.index, operator.name, taken, refusal.code, refusal.reason, refusal.mend, source)
