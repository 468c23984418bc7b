"""Confidence intervals: what a test part of this size allows to say. All are two-sided, 95 % unless told otherwise.

Proportions: Wilson 1927 (doi:10.1080/01621459.1927.10502953), and for paired proportions Tango's score interval
(Statistics in Medicine 17:891, 1998), recommended by Fagerland, Lydersen and Laake (Statistics in Medicine 33:2850,
2014); it has a width even where the two never disagree. Means: Student's t. All else: the percentile bootstrap
(Efron 1979), with a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
Statistic = Callable[[Floats], Floats]

LEVEL = 0.95
_CHUNK_ELEMENTS = 400_000  # weights that stay in the cache


def wilson(hits: int, count: int, level: float = LEVEL) -> Interval:
    """Interval of a proportion: `hits` of `count`."""
    z = _z(level)
    rate, square = hits / count, z * z / count
    middle = (rate + square / 2) / (1 + square)
    half = z * math.sqrt(rate * (1 - rate) / count + square / (4 * count)) / (1 + square)
    return middle - half if hits else 0.0, middle + half if hits < count else 1.0


def tango(gained: int, lost: int, count: int, level: float = LEVEL) -> Interval:
    """Interval of the difference of paired proportions, (gained - lost) / count.

    `gained` pairs are right in the second only, `lost` in the first only. Limits are where the score statistic
    (Tango 1998, equation 16) reaches the normal quantile; it falls all the way, so bisection finds them.
    """
    z, observed = _z(level), (gained - lost) / count
    low = -1.0 if observed == -1 else _falling_root(lambda d: _tango_score(gained, lost, count, d) - z, -1.0, observed)
    high = 1.0 if observed == 1 else _falling_root(lambda d: _tango_score(gained, lost, count, d) + z, observed, 1.0)
    return low, high


def _tango_score(gained: int, lost: int, count: int, difference: float) -> float:
    """Score statistic of `difference`; the nuisance proportion is the positive root of a quadratic."""
    linear = -gained - lost + (2 * count - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    lost_rate = (math.sqrt(linear * linear - 8 * count * constant) - linear) / (4 * count)
    variance = count * (2 * lost_rate + difference * (1 - difference))
    distance = gained - lost - count * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _falling_root(function: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def mean_t(values: npt.NDArray[Any], level: float = LEVEL) -> Interval:
    """Interval of a mean `[samples]`; Raises DataError for a single sample, which says nothing about the spread."""
    if len(values) < 2:
        raise DataError("one sample is too few for a confidence interval", "give a test part of at least two")
    exact = values.astype(np.float64)
    half = t_quantile((1 + level) / 2, len(exact) - 1) * float(exact.std(ddof=1)) / math.sqrt(len(exact))
    return float(exact.mean()) - half, float(exact.mean()) + half


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile (above 0.5) of Student's t; the distribution in closed form is Abramowitz and Stegun 26.7.3-4."""
    normal = NormalDist().inv_cdf(probability)
    if freedom > 2000:  # first terms of 26.7.5, exact to nine digits here
        return (
            normal
            + (normal**3 + normal) / (4 * freedom)
            + (5 * normal**5 + 16 * normal**3 + 3 * normal) / (96 * freedom**2)
        )
    high = normal
    while _t_below(high, freedom) < probability:
        high *= 2
    return _falling_root(lambda t: probability - _t_below(t, freedom), normal, high)


def _t_below(t: float, freedom: int) -> float:
    """Probability that Student's t lies below a positive `t`."""
    angle = math.atan(t / math.sqrt(freedom))
    odd, cosine = freedom % 2, math.cos(angle)
    term = total = cosine if odd else 1.0
    for step in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    series = math.sin(angle) * total if freedom > 1 else 0.0
    return (1 + (2 / math.pi * (angle + series) if odd else series)) / 2


def bootstrap(statistic: Statistic, count: int, *, seed: int = 0, draws: int = 1000, level: float = LEVEL) -> Interval:
    """Percentile interval of a statistic over `count` samples.

    `statistic` maps how often each sample was drawn `[draws, count]` to values `[draws]`; NaN where it has none.
    Two statistics of the same samples and seed see the same draws, which makes their difference a paired one.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // count)
    values = [statistic(_drawn(rng, min(chunk, draws - start), count)) for start in range(0, draws, chunk)]
    together = np.concatenate(values)
    if np.isnan(together).all():
        return math.nan, math.nan
    low, high = np.nanquantile(together, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _drawn(rng: np.random.Generator, draws: int, count: int) -> Floats:
    """How often each sample is in each of `draws` resamples `[draws, count]`."""
    return np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(draws)]).astype(float)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
