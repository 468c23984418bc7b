"""The front: complete, mutually non-dominated, and a pick by the stated rule."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgekit.gate import Gate
from edgekit.search.budget import Budget
from edgekit.search.front import accepted, dominates, front, nondominated, pick, preference
from edgekit.search.point import Cost, Loss, Point, Timing

SMALL = st.integers(0, 4).map(float)
VECTORS = st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL), max_size=24)


def point(name: str, loss: float, size: int, seconds: float, arena: int = 100, high: float | None = None) -> Point:
    timing = Timing(seconds, seconds, seconds, "local", "runtime 1")
    cost = Cost(size, size // 2, 1000, arena, timing)
    return Point(name, name * 8, cost, Loss(loss, loss, loss if high is None else high, 100), ())


@given(VECTORS)
def test_the_front_is_what_brute_force_finds(vectors: list[tuple[float, ...]]) -> None:
    found = {vectors[index] for index in nondominated(vectors)}
    beaten = {
        b for a, b in itertools.permutations(vectors, 2) if all(x <= y for x, y in zip(a, b, strict=True)) and a != b
    }
    assert found == set(vectors) - beaten


@given(VECTORS)
def test_no_member_beats_another_and_each_other_vector_is_beaten_or_equal(vectors: list[tuple[float, ...]]) -> None:
    chosen = [vectors[index] for index in nondominated(vectors)]
    assert len(chosen) == len(set(chosen))
    assert not any(dominates(a, b) for a in chosen for b in chosen)
    assert all(any(a == b or dominates(a, b) for a in chosen) for b in vectors)


@given(VECTORS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(vectors: list[tuple[float, ...]], random: object) -> None:
    shuffled = list(vectors)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {vectors[i] for i in nondominated(vectors)} == {shuffled[i] for i in nondominated(shuffled)}


def test_only_points_taken_to_the_end_within_floor_and_budget_are_accepted() -> None:
    budget = Budget(Gate(0.01), max_bytes=1000)
    fits, lossy, large = point("a", 0.01, 1000, 1e-3), point("b", 0.0101, 10, 1e-3), point("c", 0.0, 1001, 1e-3)
    assert [accepted(one, budget, 0.01) for one in (fits, lossy, large)] == [True, False, False]
    proxy = Point("d", "d", fits.cost, fits.loss, (), "proxy")
    assert front([fits, lossy, large, proxy], budget, 0.01) == (fits,)


def test_noise_of_a_measured_time_puts_nothing_on_the_front() -> None:
    known, twin = point("a", 0.0, 100, 1.000e-3), point("b", 0.001, 100, 0.999e-3)
    assert front([known, twin], Budget(Gate(0.01)), 0.01) == (known,)
    faster = point("c", 0.001, 100, 0.8e-3)
    assert front([known, faster], Budget(Gate(0.01)), 0.01) == (known, faster)


def test_the_pick_is_sure_of_the_floor_first_and_then_best_in_what_is_preferred() -> None:
    unsure = point("fast", 0.0, 50, 1e-3, high=0.02)
    slow, small = point("slow", 0.001, 90, 9e-3), point("small", 0.004, 40, 5e-3)
    found = (unsure, slow, small)
    assert pick(found, "score", 0.01) == slow
    assert pick(found, "bytes", 0.01) == small
    assert pick(found, "latency", 0.01) == small
    assert pick((unsure,), "latency", 0.01) == unsure
    assert pick((), "score", 0.01) is None


def test_a_budget_makes_the_score_count_and_a_floor_alone_the_speed() -> None:
    assert preference(Budget(Gate(0.01), max_ram=1)) == "score"
    assert preference(Budget(Gate(0.01))) == "latency"
