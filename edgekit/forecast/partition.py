"""How the TFLite runtime groups the operators that a delegate takes into pieces, each one kernel of the delegate.

The runtime walks the graph in epochs: the first operator that is ready decides whether an epoch belongs to the
delegate, and every operator of that side joins it as soon as its inputs are known, wherever it stands in the order of
execution. Operators that may have side effects keep their order among themselves. Source: LiteRT,
tflite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsets with its default of greedy clustering; which operators
have side effects: tflite/core/subgraph.cc, OpMightHaveSideEffect.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush
from typing import NamedTuple

from edgekit.tflite.graph import Graph, Operator

_CONTROL_FLOW = {"IF", "WHILE", "CALL_ONCE"}


class Piece(NamedTuple):
    """Operators, by number, that run together: in one kernel of the delegate, or one by one outside of it."""

    taken: bool
    operators: tuple[int, ...]


def partition(graph: Graph, taken: Collection[int]) -> tuple[Piece, ...] | None:
    """The pieces in their order of execution, given the numbers of the operators that a delegate takes.

    None if some operator can never run because its inputs depend on its own output: there the runtime applies no
    delegate at all. Takes time in proportion to the number of operators and their inputs.
    """
    waiting = _Waiting(graph, frozenset(taken))
    pieces = []
    while waiting.any_ready():
        side = waiting.first_side()
        pieces.append(Piece(side, tuple(waiting.drain(side))))
    return tuple(pieces) if sum(len(piece.operators) for piece in pieces) == len(graph.operators) else None


class _Waiting:
    """Operators that have not run yet: how many things each waits for, and which are ready, by side."""

    def __init__(self, graph: Graph, taken: frozenset[int]) -> None:
        self.graph, self.taken = graph, taken
        self.unknown = {index for operator in graph.operators for index in operator.outputs if index >= 0}
        self.readers: dict[int, list[int]] = {}
        self.successor: dict[int, int] = {}
        self.left = [0] * len(graph.operators)
        self.ready: dict[bool, list[int]] = {False: [], True: []}
        self._count()

    def _count(self) -> None:
        before = None
        for place, operator in enumerate(self.graph.operators):
            needed = {index for index in operator.inputs if index in self.unknown}
            for index in needed:
                self.readers.setdefault(index, []).append(place)
            self.left[place] = len(needed)
            if _has_side_effects(self.graph, operator):
                self.left[place] += before is not None
                if before is not None:
                    self.successor[before] = place
                before = place
            self._offer(place)

    def _offer(self, place: int) -> None:
        if not self.left[place]:
            heappush(self.ready[place in self.taken], place)

    def any_ready(self) -> bool:
        return bool(self.ready[False] or self.ready[True])

    def first_side(self) -> bool:
        outside, inside = self.ready[False], self.ready[True]
        return bool(inside) and (not outside or inside[0] < outside[0])

    def drain(self, side: bool) -> list[int]:
        """Run every operator of this side that is ready or becomes so."""
        ran = []
        while self.ready[side]:
            place = heappop(self.ready[side])
            ran.append(place)
            self._run(place)
        return sorted(ran)

    def _run(self, place: int) -> None:
        known = {index for index in self.graph.operators[place].outputs if index in self.unknown}
        self.unknown -= known
        freed = [reader for index in known for reader in self.readers.get(index, ())]
        for other in [*freed, *([self.successor[place]] if place in self.successor else [])]:
            self.left[other] -= 1
            self._offer(other)


def _has_side_effects(graph: Graph, operator: Operator) -> bool:
    used = (index for index in (*operator.inputs, *operator.outputs) if index >= 0)
    return operator.name in _CONTROL_FLOW or any(graph.tensors[index].dtype == "resource" for index in used)
