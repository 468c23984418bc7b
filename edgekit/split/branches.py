"""Parts of a graph that are independent of each other: what lies between a fork and a join, or before the first join.

An operator through which everything goes has every other one before or after it. Between two such operators the
connected components are branches: none of them waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from edgekit.split.flow import Flow


class Piece(Struct, frozen=True):
    """Operators, in the order in which they can run; the pieces of one `region` (None: alone) are independent."""

    operators: tuple[int, ...]
    region: int | None = None


def regions(flow: Flow) -> list[list[tuple[int, ...]]]:
    """The branches of each place where there are at least two, in the order of execution."""
    found, between = [], []
    through = _through(flow)
    for number in (*flow.order, None):
        if number is not None and number not in through:
            between.append(number)
            continue
        branches = _components(flow, between)
        found += [branches] if len(branches) > 1 else []
        between = []
    return found


def side_by_side(flow: Flow, seconds: Mapping[int, float], parts: int, lanes: int = 2) -> list[Piece]:
    """Pieces for at most `parts` segments: the branches that save most are dealt to `lanes` lanes each.

    `seconds` are those of each operator, or anything in proportion; one without is free. What is saved is all that does
    not lie in the longest lane. No region may be left: then there is one piece.
    """

    def weight(operators: Sequence[int]) -> float:
        return sum(seconds.get(number, 0.0) for number in operators)

    dealt = [_dealt(flow, branches, weight, lanes) for branches in regions(flow)]
    saved = [sum(map(weight, one)) - max(map(weight, one)) for one in dealt]
    chosen: list[int] = []
    for number in sorted(range(len(dealt)), key=lambda number: -saved[number]):
        wider = sorted([*chosen, number])
        if saved[number] > 0 and len(_pieces(flow, [dealt[one] for one in wider])) <= parts:
            chosen = wider
    return _pieces(flow, [dealt[one] for one in chosen])


def _through(flow: Flow) -> set[int]:
    """The operators through which everything goes, by sets of ancestors as bits."""
    place, makers = {number: at for at, number in enumerate(flow.order)}, flow.makers
    above: list[int] = []
    for number in flow.order:
        bits = 0
        for index in flow.read(number):
            if index in makers:
                bits |= above[place[makers[index]]] | 1 << place[makers[index]]
        above.append(bits)
    below = [0] * len(above)
    for bits in above:
        while bits:
            low = bits & -bits
            below[low.bit_length() - 1] += 1
            bits ^= low
    return {number for at, number in enumerate(flow.order) if above[at].bit_count() + below[at] == len(above) - 1}


def _components(flow: Flow, operators: Sequence[int]) -> list[tuple[int, ...]]:
    """Operators that are connected among themselves, through tensors that one of them computes or a shared state."""
    leader = {number: number for number in operators}

    def head(number: int) -> int:
        while leader[number] != number:
            number = leader[number]
        return number

    makers = flow.makers
    pairs = [(number, makers[index]) for number in operators for index in flow.read(number) if index in makers]
    pairs += [(one, other) for group in flow.together for one in group for other in group]
    for one, other in pairs:
        if one in leader and other in leader:
            leader[head(one)] = head(other)
    groups: dict[int, list[int]] = {}
    for number in operators:
        groups.setdefault(head(number), []).append(number)
    return [tuple(group) for group in groups.values()]


def _dealt(
    flow: Flow, branches: Sequence[tuple[int, ...]], weight: Callable[[Sequence[int]], float], lanes: int
) -> list[tuple[int, ...]]:
    """Branches in at most `lanes` groups of about the same weight: the longest first, each to the lightest group."""
    groups: list[list[int]] = [[] for _ in range(min(lanes, len(branches)))]
    for branch in sorted(branches, key=weight, reverse=True):
        min(groups, key=weight).extend(branch)
    place = {number: at for at, number in enumerate(flow.order)}
    return [tuple(sorted(group, key=place.__getitem__)) for group in groups]


def _pieces(flow: Flow, chosen: Sequence[Sequence[tuple[int, ...]]]) -> list[Piece]:
    """The operators in order, with the groups of each chosen region as pieces of their own."""
    owner = {number: (at, group) for at, groups in enumerate(chosen) for group in groups for number in group}
    found: list[Piece] = []
    alone: list[int] = []
    done: set[int] = set()
    for number in flow.order:
        at, _ = owner.get(number, (None, ()))
        if at is None:
            alone.append(number)
        elif at not in done:
            done.add(at)
            found += [Piece(tuple(alone))] if alone else []
            found += [Piece(group, at) for group in chosen[at]]
            alone = []
    return [*found, Piece(tuple(alone))] if alone else found
