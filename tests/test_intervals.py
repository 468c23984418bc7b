"""Intervals against published values, against SciPy, and against the truth they claim to cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgekit.errors import DataError
from edgekit.intervals import bootstrap, mean_t, t_quantile, tango, wilson


@pytest.mark.parametrize(
    ("gained", "lost", "count", "level", "low", "high"),
    [
        # Fagerland, Lydersen and Laake 2017, chapter 8: Bentur et al. 2009 and Cavo et al. 2012
        (1, 7, 21, 0.95, -0.517, -0.026),
        (6, 16, 161, 0.95, -0.1240, -0.0054),
        # R package PropCIs, scoreci.mp(25, 28, 618, 0.90)
        (28, 25, 618, 0.90, -0.0148, 0.0247),
    ],
)
def test_tango_gives_the_published_intervals(gained, lost, count, level, low, high):
    digits = 3 if count == 21 else 4
    assert tuple(round(limit, digits) for limit in tango(gained, lost, count, level)) == (low, high)


def test_tango_keeps_a_width_where_two_models_never_disagree():
    low, high = tango(0, 0, 10_000)
    z = stats.norm.ppf(0.975)
    assert high == pytest.approx(z**2 / (10_000 + z**2)) == -low


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_tango_holds_the_difference_and_mirrors(gained, lost, same):
    count = max(gained + lost + same, 1)
    low, high = tango(gained, lost, count)
    assert -1 <= low <= (gained - lost) / count <= high <= 1
    assert tango(lost, gained, count) == pytest.approx((-high, -low), abs=1e-9)


@given(st.integers(1, 500), st.data())
def test_wilson_is_that_of_scipy(count, data):
    hits = data.draw(st.integers(0, count))
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    low, high = wilson(hits, count)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= hits / count <= high <= 1


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 31, 100, 999, 2000, 2001, 50_000])
def test_t_quantile_is_that_of_scipy(freedom):
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-8)


def test_mean_t_is_that_of_scipy():
    values = np.random.default_rng(1).normal(size=23)
    expected = stats.t.interval(0.95, 22, values.mean(), stats.sem(values))
    assert mean_t(values) == pytest.approx(expected, rel=1e-9)


def test_one_sample_has_no_interval_of_a_mean():
    with pytest.raises(DataError, match="one sample"):
        mean_t(np.array([1.0]))


def _coverage(hits):
    """Share of trials whose interval held the truth; discrete counts and 1000 trials leave 95 % some room."""
    return float(np.mean(hits))


def test_wilson_covers_the_true_rate():
    hits = np.random.default_rng(2).binomial(200, 0.93, 1000)
    assert 0.93 < _coverage([low <= 0.93 <= high for low, high in (wilson(int(k), 200) for k in hits)]) < 0.975


def test_tango_covers_the_true_difference_of_models_that_rarely_disagree():
    draws = np.random.default_rng(3).multinomial(400, [0.01, 0.02, 0.97], 1000)
    limits = [tango(int(gained), int(lost), 400) for gained, lost, _ in draws]
    assert 0.93 < _coverage([low <= -0.01 <= high for low, high in limits]) < 0.975


def test_mean_t_covers_the_true_mean_of_few_samples():
    samples = np.random.default_rng(4).normal(3.0, 2.0, (1000, 8))
    assert 0.93 < _coverage([low <= 3.0 <= high for low, high in map(mean_t, samples)]) < 0.97


def test_bootstrap_covers_a_true_root_mean_square():
    rng, covered = np.random.default_rng(5), []
    for seed in range(300):
        squares = rng.normal(0.0, 1.0, 150) ** 2
        root = lambda weights, s=squares: np.sqrt(weights @ s / weights.sum(axis=1))  # noqa: E731
        low, high = bootstrap(root, 150, seed=seed, draws=300)
        covered.append(low <= 1.0 <= high)
    assert 0.90 < _coverage(covered) < 0.98


def test_bootstrap_repeats_itself_and_follows_the_seed():
    values = np.random.default_rng(6).normal(size=50)
    mean = lambda weights: weights @ values / 50  # noqa: E731
    assert bootstrap(mean, 50, seed=1) == bootstrap(mean, 50, seed=1) != bootstrap(mean, 50, seed=2)


def test_bootstrap_of_a_statistic_without_value_is_nan():
    assert all(map(math.isnan, bootstrap(lambda weights: np.full(len(weights), np.nan), 5)))
