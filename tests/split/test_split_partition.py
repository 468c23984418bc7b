"""The partition is the best one: held against every partition there is."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.split.partition import fewest, partition


def ranges(weights: list[int]) -> np.ndarray:
    sums = np.cumsum([0, *weights]).astype(float)
    return sums[None, :] - sums[:, None]


def every(steps: int, parts: int) -> list[tuple[int, ...]]:
    return list(combinations(range(1, steps), parts - 1))


def heaviest(cost: np.ndarray, cuts: tuple[int, ...]) -> float:
    return max(cost[first, last] for first, last in pairwise((0, *cuts, len(cost) - 1)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=3, max_size=8), st.integers(2, 4), st.randoms(use_true_random=False))
def test_no_partition_is_better(weights: list[int], parts: int, random) -> None:  # type: ignore[no-untyped-def]
    parts = min(parts, len(weights))
    cost, crossing = ranges(weights), np.array([random.randint(0, 5) for _ in range(len(weights) + 1)], float)
    found = partition(cost, crossing, parts)
    assert found is not None
    ways = [(heaviest(cost, cuts), sum(crossing[list(cuts)])) for cuts in every(len(weights), parts)]
    assert (heaviest(cost, found), sum(crossing[list(found)])) == min(ways)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.integers(1, 20))
def test_fewest_is_the_first_number_that_has_a_partition(weights: list[int], limit: int) -> None:
    cost, free = ranges(weights), np.zeros(len(weights) + 1)
    allowed = np.where(cost <= limit, cost, np.inf)
    numbers = [parts for parts in range(1, len(weights) + 1) if partition(allowed, free, parts) is not None]
    assert fewest(cost, limit) == (numbers[0] if numbers else None)


def test_slack_buys_fewer_bytes() -> None:
    cost, crossing = ranges([10, 1, 10]), np.array([0, 9, 1, 0], float)
    assert partition(cost, crossing, 2) == (2,)
    uneven, crossing = ranges([10, 1, 11]), np.array([0, 1, 9, 0], float)
    assert partition(uneven, crossing, 2) == (2,)
    assert partition(uneven, crossing, 2, slack=0.1) == (1,)


def test_no_partition_is_said() -> None:
    assert partition(np.full((4, 4), np.inf), np.zeros(4), 2) is None
