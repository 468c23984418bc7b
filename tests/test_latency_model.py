"""The latency model: it finds what made the times, its band follows the scatter, and kinds count, not points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.latency_model import LEVEL, Work, fit_latency

WORKS = [
    Work(int(macs), int(macs * share), max(0, int(streamed)))
    for macs, share, streamed in zip(
        np.geomspace(1e7, 1e10, 12), [0, 0.1, 0.05, 0.02] * 3, np.linspace(-4e6, 2e7, 12), strict=True
    )
]
KINDS = [f"kind {number}" for number in range(len(WORKS))]


def _seconds(work: Work, terms: tuple[float, float, float, float]) -> float:
    return terms[0] * work.macs + terms[1] * work.depthwise_macs + terms[2] * work.streamed_bytes + terms[3]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.tuples(st.floats(1e-11, 1e-8), st.floats(0, 1e-8), st.floats(0, 1e-7), st.floats(0, 1e-3)))
def test_times_made_by_the_formula_are_predicted_without_a_band(terms: tuple[float, float, float, float]) -> None:
    model = fit_latency([(work, _seconds(work, terms)) for work in WORKS], KINDS)
    for work in WORKS:
        assert model.seconds(work) == pytest.approx(_seconds(work, terms), rel=1e-4)
    assert model.factor == pytest.approx(1, abs=1e-3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.3, 3), min_size=12, max_size=12), st.floats(0.01, 100))
def test_a_faster_device_has_the_same_band_and_no_term_is_negative(noise: list[float], speed: float) -> None:
    seconds = [work.macs * 1e-9 * factor for work, factor in zip(WORKS, noise, strict=True)]
    one = fit_latency(list(zip(WORKS, seconds, strict=True)), KINDS)
    other = fit_latency([(work, time / speed) for work, time in zip(WORKS, seconds, strict=True)], KINDS)
    assert min(one.terms) >= 0
    assert other.factor == pytest.approx(one.factor, rel=1e-4)
    assert other.seconds(WORKS[5]) == pytest.approx(one.seconds(WORKS[5]) / speed, rel=1e-4)


def test_few_points_are_fitted_by_macs_alone() -> None:
    points = [(work, 2e-9 * work.macs) for work in WORKS[:5]]
    assert fit_latency(points, KINDS[:5]).terms == pytest.approx((2e-9, 0, 0, 0))


def test_points_of_one_kind_do_not_narrow_the_band() -> None:
    rng = np.random.default_rng(0)
    points = [(work, work.macs * 1e-9 * math.exp(rng.normal(0, 0.2))) for work in WORKS]
    few = fit_latency(points, ["a", "b", "c", *["c"] * 9])
    assert few.factor > fit_latency(points, KINDS).factor > 1


def test_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 kinds"):
        fit_latency([(work, 1.0) for work in WORKS[:4]], ["a", "b", "a", "b"])


def test_the_band_holds_what_it_claims_where_errors_are_log_normal() -> None:
    """A new network in each of 200 worlds: at least the claimed share less three standard errors lies inside."""
    rng = np.random.default_rng(1)
    worlds, inside = 200, 0
    for _ in range(worlds):
        picked = rng.permutation(len(WORKS))[:7]
        true = {number: WORKS[number].macs * 1e-9 * math.exp(rng.normal(0, 0.3)) for number in picked}
        model = fit_latency([(WORKS[n], true[n]) for n in picked[1:]], [KINDS[n] for n in picked[1:]])
        ratio = model.seconds(WORKS[picked[0]]) / true[picked[0]]
        inside += 1 / model.factor <= ratio <= model.factor
    assert inside / worlds >= LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / worlds)
