"""What goes between segments, and how far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.split.flow import Flow
from edgekit.split.plan import Edge

_OUTSIDE = -1


def edges_of(flow: Flow, groups: Sequence[Sequence[int]]) -> tuple[Edge, ...]:
    """The edges between groups of operators in their order, and those from and to the outside."""
    end, owner = len(groups), dict.fromkeys(flow.contents.input_indices, _OUTSIDE)
    owner |= {index: at for at, group in enumerate(groups) for number in group for index in flow.written(number)}
    read = [(index, at) for at, group in enumerate(groups) for number in group for index in flow.read(number)]
    found: dict[tuple[int, int], dict[int, None]] = {}
    for index, at in (*read, *((index, end) for index in flow.contents.output_indices)):
        if owner[index] != at:
            found.setdefault((owner[index], at), {})[index] = None
    for at in set(range(end)) - {target for _, target in found}:  # it waits for nothing, but runs once a sample
        found[_OUTSIDE, at] = {}
    return tuple(
        Edge(
            None if source == _OUTSIDE else source,
            None if target == end else target,
            tuple(tensors),
            sum(map(flow.tensor_bytes, tensors)),
            longest_way(found, source, target),
        )
        for (source, target), tensors in sorted(found.items())
    )


def longest_way(edges: Iterable[tuple[int, int]], source: int, target: int) -> int:
    """Edges on the longest way between two nodes; every edge goes to a larger number, and there is a way."""
    far = {source: 0}
    for first, last in sorted(edges):
        if first in far:
            far[last] = max(far.get(last, 0), far[first] + 1)
    return far[target]
