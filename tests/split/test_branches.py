"""Independent parts are found, and laid side by side."""

from __future__ import annotations

from itertools import product

import pytest
from toy_networks import Network, chain, skipping, two_branches, two_inputs

from edgekit.split.branches import _through, regions, side_by_side
from edgekit.split.flow import Flow, read_flow


def reachable(flow: Flow) -> set[tuple[int, int]]:
    """(earlier, later) for all pairs where the later waits for the earlier; by transitive closure."""
    makers = flow.makers
    pairs = {(makers[index], number) for number in flow.order for index in flow.read(number) if index in makers}
    for middle, one, other in product(flow.order, repeat=3):
        if (one, middle) in pairs and (middle, other) in pairs:
            pairs.add((one, other))
    return pairs


@pytest.mark.parametrize("make", [chain, skipping, two_branches, two_inputs])
def test_everything_goes_through_what_is_ordered_with_all(make) -> None:  # type: ignore[no-untyped-def]
    flow = read_flow(make())
    pairs = reachable(flow)
    found = {
        number
        for number in flow.order
        if all(other == number or (number, other) in pairs or (other, number) in pairs for other in flow.order)
    }
    assert _through(flow) == found


@pytest.mark.parametrize("make", [two_branches, two_inputs])
def test_branches_do_not_wait_for_each_other(make) -> None:  # type: ignore[no-untyped-def]
    flow = read_flow(make())
    pairs = reachable(flow)
    found = regions(flow)
    assert found
    for branches in found:
        for one, other in product(branches, repeat=2):
            assert one is other or not any((a, b) in pairs for a, b in product(one, other))


def test_a_skip_is_no_branch() -> None:
    assert regions(read_flow(skipping())) == []
    assert regions(read_flow(chain())) == []


def test_heads_are_branches_too() -> None:
    net = Network()
    stem = net.dense(net.x)
    flow = read_flow(net.file(net.dense(net.dense(stem), 4), net.dense(stem, 2)))
    assert [sorted(map(len, branches)) for branches in regions(flow)] == [[1, 2]]


def test_pieces_hold_every_operator_once_in_an_order_that_can_run() -> None:
    flow = read_flow(two_branches())
    pieces = side_by_side(flow, dict.fromkeys(flow.order, 1.0), parts=4)
    order = [number for piece in pieces for number in piece.operators]
    assert sorted(order) == sorted(flow.order)
    assert not {(b, a) for at, a in enumerate(order) for b in order[at + 1 :]} & reachable(flow)
    assert [len(piece.operators) for piece in pieces] == [1, 3, 2, 2]
    assert [piece.region for piece in pieces] == [None, 0, 0, None]


def test_many_branches_are_dealt_to_two_lanes_of_about_the_same_weight() -> None:
    net = Network()
    ends = []
    for length in (3, 2, 2, 1):
        at = net.x
        for _ in range(length):
            at = net.dense(at)
        ends.append(at)
    flow = read_flow(net.file(net.dense(net.join(*ends), 4)))
    pieces = side_by_side(flow, dict.fromkeys(flow.order, 1.0), parts=3)
    assert [len(piece.operators) for piece in pieces] == [4, 4, 2]


def test_the_region_that_saves_most_is_taken_where_there_is_room_for_one() -> None:
    net = Network()
    at = net.dense(net.x)
    for longer in (1, 3):
        left, right = net.dense(at), net.dense(at)
        for _ in range(longer - 1):
            left, right = net.dense(left), net.dense(right)
        at = net.add(left, right)
    flow = read_flow(net.file(net.dense(at, 4)))
    pieces = side_by_side(flow, dict.fromkeys(flow.order, 1.0), parts=4)
    assert [len(piece.operators) for piece in pieces if piece.region is not None] == [3, 3]
    assert len(side_by_side(flow, dict.fromkeys(flow.order, 1.0), parts=7)) == 7


def test_an_operator_that_was_not_timed_takes_no_time() -> None:
    flow = read_flow(two_branches())
    seconds = dict.fromkeys(flow.order, 1.0)
    untimed = regions(flow)[0][0][0]
    assert side_by_side(flow, {number: one for number, one in seconds.items() if number != untimed}, 4) == side_by_side(
        flow, seconds | {untimed: 0.0}, 4
    )


def test_what_takes_no_time_is_worth_no_segment() -> None:
    flow = read_flow(two_branches())
    assert len(side_by_side(flow, dict.fromkeys(flow.order, 0.0), parts=9)) == 1
