"""From the answer of each operator to what a delegate takes: static sizes, float16 constants, and the largest pieces.

Sources: ModifyGraphWithDelegate in tensorflow/lite/core/subgraph.cc; GraphPartitionHelper and FP16GraphPartitionHelper
in tensorflow/lite/delegates/utils.cc.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, structs

from edgekit.errors import InputError, ModelError
from edgekit.forecast.node import Fault, Node, Rule, nodes, unpacks_half
from edgekit.forecast.partition import partition
from edgekit.forecast.placement import Forecast, Placement, Unit
from edgekit.forecast.shapes import dynamic_operators
from edgekit.operators import OperatorTable
from edgekit.tflite.graph import Graph, Operator

LITERT = "https://github.com/google-ai-edge/LiteRT/blob/f67457790c9c2ab67347d6fe53270e8d3df20868/tflite"
VERSION = "LiteRT at f677457, 2026-08-21"
DELEGATE_REFUSED = "delegate-refused"

_STATIC = f"{LITERT}/core/subgraph.cc : ModifyGraphWithDelegate refuses dynamic tensors"
_PARTS = f"{LITERT}/delegates/utils.cc : GetNodesOfFirstNLargestPartitions"
_MERGE = "replace what cuts the graph, or move it to the end of the model"


class Delegate(Struct, frozen=True):
    """A delegate: what it asks of an operator, how many pieces it takes, and at which operators it fails to build."""

    unit: Unit
    table: OperatorTable
    ask: Rule
    most_pieces: int
    build: Callable[[Node], Fault | None] = lambda node: None


class _Chosen(Struct, frozen=True):
    """What is taken if undecided operators are all left and if they are all taken: in both cases, and in one at least.

    Where an undecided operator joins two pieces, another piece may be the largest.
    """

    surely: frozenset[int]
    perhaps: frozenset[int]
    pieces: int
    most_pieces: int


class _Failure(Struct, frozen=True):
    """The operators for which the delegate is not applied at all, each with why."""

    culprits: dict[int, Fault]
    source: str

    @property
    def of_others(self) -> Fault:
        """What it means for every other operator."""
        first, fault = min(self.culprits.items())
        reason = f"the delegate is refused as a whole, for #{first}: {fault.reason}"
        certain = any(one.certain for one in self.culprits.values())
        return Fault(DELEGATE_REFUSED, reason, fault.mend, certain)


def forecast(graph: Graph, delegate: Delegate) -> Forecast:
    """Ask a delegate about every operator of the main graph.

    Raises ModelError for a graph with a circle, InputError for a delegate that takes less than one piece.
    """
    if delegate.most_pieces < 1:
        raise InputError(f"{delegate.most_pieces} pieces to delegate", "give 1 or more")
    found = nodes(graph)
    halves = frozenset(op.index for op in graph.operators if unpacks_half(graph, op))
    faults = {node.operator.index: fault for node in found if (fault := delegate.ask(node))}
    chosen = _choose(graph, faults, halves, delegate.most_pieces)
    failure = _failure(graph, found, chosen, delegate)
    placed = tuple(_place(node, faults, halves, chosen, failure, delegate.table) for node in found)
    return Forecast(delegate.unit, placed, 0 if failure else chosen.pieces, VERSION)


def _choose(graph: Graph, faults: dict[int, Fault], halves: frozenset[int], most: int) -> _Chosen:
    every = frozenset(op.index for op in graph.operators)
    maybe = every - frozenset(index for index, fault in faults.items() if fault.certain)
    fewest = _largest(graph, every - frozenset(faults), halves, most)
    few, many = frozenset().union(*fewest), frozenset().union(*_largest(graph, maybe, halves, most))
    return _Chosen(few & many, few | many, len(fewest), most)


def _largest(graph: Graph, supported: frozenset[int], halves: frozenset[int], most: int) -> list[tuple[int, ...]]:
    """The largest pieces. What unpacks float16 constants goes along only if nothing at all is left over."""
    if len(supported | halves) == len(graph.operators):
        return _pieces(graph, supported | halves)[:most]
    return sorted(_pieces(graph, supported - halves), key=len, reverse=True)[:most]


def _pieces(graph: Graph, taken: frozenset[int]) -> list[tuple[int, ...]]:
    found = partition(graph, taken)
    if found is None:
        raise ModelError("an operator needs what is computed after it", "make the file again: no runtime executes it")
    return [piece.operators for piece in found if piece.taken]


def _failure(graph: Graph, found: list[Node], chosen: _Chosen, delegate: Delegate) -> _Failure | None:
    """Why the delegate is not applied at all, if it is not."""
    if sizes := dynamic_operators(graph):
        return _Failure({operator.index: _unsized(operator) for operator in sizes}, _STATIC)
    built = {node.operator.index: delegate.build(node) for node in found if node.operator.index in chosen.perhaps}
    culprits = {
        index: structs.replace(fault, certain=index in chosen.surely) for index, fault in built.items() if fault
    }
    return _Failure(culprits, delegate.table.source) if culprits else None


def _unsized(operator: Operator) -> Fault:
    mend = "convert with a fixed batch and constant shapes, as `edgekit optimize` does"
    return Fault("dynamic-tensor", f"the size of what {operator.name} makes is known only when it runs", mend)


def _place(
    node: Node,
    faults: dict[int, Fault],
    halves: frozenset[int],
    chosen: _Chosen,
    failure: _Failure | None,
    table: OperatorTable,
) -> Placement:
    index, name = node.operator.index, node.operator.name
    if failure and index in failure.culprits:
        return _left(node, failure.culprits[index], failure.source)
    if index in faults and index not in halves:
        return _left(node, faults[index], table.source_of(name))
    if failure:
        return _left(node, failure.of_others, failure.source)
    if index in chosen.surely:
        return Placement(index, name, True, source=table.source_of(name))
    if index in halves:
        reason = "it unpacks constants, and stays on the CPU where any other operator does"
        return _left(node, Fault("float16-constants", reason, certain=index not in chosen.perhaps), _PARTS)
    kept = f"only the largest {chosen.most_pieces} are" if chosen.most_pieces > 1 else "only the largest is"
    reason = f"in a piece of the graph that is not delegated: {kept}"
    return _left(node, Fault("smaller-piece", reason, _MERGE, index not in chosen.perhaps), _PARTS)


def _left(node: Node, fault: Fault, source: str) -> Placement:
    taken = False if fault.certain else None
    return Placement(node.operator.index, node.operator.name, taken, fault.code, fault.reason, fault.mend, source)


def refused(node: Node, table: OperatorTable) -> Fault | None:
    """The operator is in the table, in a version that it has."""
    operator = node.operator
    if operator.custom or operator.name not in table.operators:
        reason = "a custom operator" if operator.custom else "it has no such operator"
        return Fault("unsupported-operator", reason, "replace the layer, or move it to the end of the model")
    highest = table.operators[operator.name].max_version
    if highest is not None and operator.version > highest:
        reason = f"version {operator.version} of the operator; it has {highest} and lower"
        return Fault("operator-version", reason, "make the file for an older runtime, or without the newer setting")
    return None
