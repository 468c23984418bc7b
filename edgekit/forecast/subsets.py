"""How a TFLite runtime divides a graph between a delegate and the CPU.

The rule is that of `PartitionGraphIntoIndependentNodeSubsets` (tensorflow/lite/graph_info.cc), which every delegate
goes through, the Edge TPU compiler among them: a subset takes all operators of its kind that are ready, until none is
left; then one of the other kind begins. So subsets alternate, and an operator is in the first one of its kind that is
not before a subset it reads from: one pass over the operators tells the number.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from edgekit.tflite.graph import Graph


class Subset(Struct, frozen=True):
    """Operators that run together without an exchange with the other side, in order of execution."""

    delegated: bool
    operators: tuple[int, ...]


def independent_subsets(graph: Graph, delegated: Sequence[bool]) -> tuple[Subset, ...]:
    """The subsets in order of execution; `delegated` says for each operator on which side it runs.

    An operator that reads what itself or a later one writes (a damaged file) is in none of them, nor is what needs it.
    """
    if not graph.operators:
        return ()
    unready = {index for operator in graph.operators for index in operator.outputs}
    rounds: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for operator in graph.operators:
        if unready.isdisjoint(operator.inputs):
            earliest = max((rounds.get(index, 0) for index in operator.inputs), default=0)
            turn = delegated[operator.index] == delegated[0]
            number = earliest + (earliest % 2 == (0 if not turn else 1))
            members.setdefault(number, []).append(operator.index)
            unready.difference_update(operator.outputs)
            rounds |= dict.fromkeys(operator.outputs, number)
    return tuple(Subset(delegated[members[number][0]], tuple(members[number])) for number in sorted(members))
