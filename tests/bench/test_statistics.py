"""Statistics of samples: laws of the intervals."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.plan import plan_for
from edgekit.bench.result import Measurement
from edgekit.bench.run import measure
from edgekit.bench.statistics import median_interval, percentiles, ratio_of_medians, summarize

SERIES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=200)


@given(SERIES)
def test_intervals_hold_their_value_and_stay_inside_the_samples(values: list[float]) -> None:
    for interval in (*percentiles(values, (50, 90, 99)), median_interval(values)):
        assert min(values) <= interval.low <= interval.value <= interval.high <= max(values)


@given(SERIES)
def test_percentiles_rise(values: list[float]) -> None:
    p50, p90, p99 = percentiles(values, (50, 90, 99))
    assert p50.value <= p90.value <= p99.value


@given(SERIES, SERIES)
def test_the_ratio_turns_round_with_its_series(a: list[float], b: list[float]) -> None:
    there, back = ratio_of_medians(a, b), ratio_of_medians(b, a)
    assert there.value * back.value == pytest.approx(1)
    assert there.low <= there.value <= there.high


def test_the_same_samples_and_seed_give_the_same_interval() -> None:
    values = np.random.default_rng(1).lognormal(size=500)
    assert percentiles(values, (50,), seed=3) == percentiles(values, (50,), seed=3)


def test_a_constant_series_is_known_exactly() -> None:
    assert percentiles([2.0] * 40, (99,))[0].relative_width == 0


@pytest.mark.parametrize(("count", "rank"), [(5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6), (30, 10)])
def test_order_statistics_are_those_of_the_published_tables(count: int, rank: int) -> None:
    """Ranks of the sign interval for a median at 95 %, as in Conover's table A3 (binomial, p = 1/2)."""
    interval = median_interval([float(index) for index in range(1, count + 1)])
    assert (interval.low, interval.high) == (rank, count + 1 - rank)


def test_the_median_of_few_is_covered_as_often_as_promised() -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, 10))
    held = [interval.low <= np.log(2) <= interval.high for interval in map(median_interval, draws.tolist())]
    assert 0.95 <= np.mean(held) <= 1.0


def test_samples_that_hang_together_get_a_wider_interval() -> None:
    generator = np.random.default_rng(0)
    slow = np.repeat(generator.normal(10, 1, 20), 50)
    fast = generator.permutation(slow)
    assert percentiles(slow, (50,))[0].relative_width > 3 * percentiles(fast, (50,))[0].relative_width


def test_a_slow_down_of_a_tenth_is_outside_the_interval_and_none_is_inside() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.lognormal(0, 0.05, (2, 1000))
    assert ratio_of_medians(a, b).low <= 1 <= ratio_of_medians(a, b).high
    assert ratio_of_medians(a, b * 1.1).low > 1


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(tiny_models.negative(), plan_for(seconds=0.02))


def test_summary_is_in_seconds_and_bytes(measured: Measurement) -> None:
    found = summarize(
        msgspec.structs.replace(measured, steady_ns=tuple(1_000_000 + index % 7 * 100 for index in range(300)))
    )
    assert found.p50_seconds.value == pytest.approx(1e-3, rel=0.01)
    assert found.runs == 300
    assert found.min_seconds <= found.mean_seconds <= found.max_seconds
    assert found.peak_bytes == measured.memory.first.peak_bytes


def test_memory_that_is_not_known_stays_unknown(measured: Measurement) -> None:
    blank = msgspec.structs.replace(measured.memory.first, anonymous_bytes=None)
    memory = msgspec.structs.replace(measured.memory, first=blank)
    assert summarize(msgspec.structs.replace(measured, memory=memory)).model_anonymous_bytes is None
