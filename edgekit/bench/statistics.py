"""Statistics of raw samples, computed at reading: percentiles with intervals, and ratios.

Latency samples that follow each other are alike, so intervals of one series come from a bootstrap of blocks of
neighbours (Kuensch 1989, The jackknife and the bootstrap for general stationary observations). Ratios of runs that
were paired in several processes are few and independent: their median gets the distribution-free interval of order
statistics (Conover, Practical Nonparametric Statistics, section 3.2). All intervals are of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.bench.result import Measurement

_CONFIDENCE = 0.95
_TAIL = 100 * (1 - _CONFIDENCE) / 2
_BLOCKS = 50
_RESAMPLES = 400
_MOST_RESAMPLED = 4000

Floats = npt.NDArray[np.float64]


class Interval(Struct, frozen=True):
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Half of the interval's width as a share of the value."""
        return (self.high - self.low) / 2 / self.value


class Summary(Struct, frozen=True):
    """What a table shows of a measurement, in seconds and bytes.

    Memory is that after the first inference, when all that the model needs is there and the samples that the agent
    collects are not. `model_*_bytes` is growth since the runtime was imported. `joules` are of one run, with all that
    the device did besides, and `above_idle_joules` what is beyond the idle device; null where no meter told.
    """

    load_seconds: float
    first_seconds: float
    runs: int
    mean_seconds: float
    min_seconds: float
    max_seconds: float
    p50_seconds: Interval
    p90_seconds: Interval
    p99_seconds: Interval
    peak_bytes: int | None
    baseline_bytes: int | None
    model_anonymous_bytes: int | None
    model_file_bytes: int | None
    arena_bytes: int | None = None
    joules: float | None = None
    above_idle_joules: float | None = None


def summarize(measurement: Measurement) -> Summary:
    """The statistics of a measurement."""
    seconds = np.asarray(measurement.steady_ns, np.float64) * 1e-9
    p50, p90, p99 = percentiles(seconds, (50, 90, 99))
    points, energy = measurement.memory, measurement.energy
    return Summary(
        load_seconds=measurement.load_ns * 1e-9,
        first_seconds=measurement.first_ns * 1e-9,
        runs=len(seconds),
        mean_seconds=float(seconds.mean()),
        min_seconds=float(seconds.min()),
        max_seconds=float(seconds.max()),
        p50_seconds=p50,
        p90_seconds=p90,
        p99_seconds=p99,
        peak_bytes=points.first.peak_bytes,
        baseline_bytes=points.imported.resident_bytes,
        model_anonymous_bytes=growth(points.imported.anonymous_bytes, points.first.anonymous_bytes),
        model_file_bytes=growth(points.imported.file_bytes, points.first.file_bytes),
        arena_bytes=measurement.model.arena_bytes,
        joules=energy.joules / len(seconds) if energy else None,
        above_idle_joules=energy.above_idle_joules / len(seconds) if energy else None,
    )


def percentiles(samples: Sequence[float] | Floats, ranks: Sequence[float], seed: int = 0) -> tuple[Interval, ...]:
    """Percentiles of a series, each with the interval of a bootstrap of blocks; the order of samples matters."""
    values = np.asarray(samples, np.float64)
    found = np.percentile(values, ranks)
    drawn = np.percentile(_resampled(values, np.random.default_rng(seed)), ranks, axis=1)
    ends = np.percentile(drawn, [_TAIL, 100 - _TAIL], axis=1)
    return tuple(_interval(*map(float, row)) for row in zip(found, *ends, strict=True))


def ratio_of_medians(a: Sequence[float] | Floats, b: Sequence[float] | Floats, seed: int = 0) -> Interval:
    """Median of `b` over median of `a`, two series measured apart, with the interval of a bootstrap of blocks."""
    generator = np.random.default_rng(seed)
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    drawn = np.median(_resampled(second, generator), axis=1) / np.median(_resampled(first, generator), axis=1)
    low, high = np.percentile(drawn, [_TAIL, 100 - _TAIL])
    return _interval(float(np.median(second) / np.median(first)), float(low), float(high))


def median_interval(values: Sequence[float]) -> Interval:
    """Median of a few independent values, with the interval of order statistics.

    Below six values no interval reaches 95 %: it is then from the least to the greatest.
    """
    ordered = sorted(values)
    count, skip, tail = len(ordered), 0, 0.5 ** len(ordered)
    while 2 * (tail + math.comb(count, skip + 1) * 0.5**count) <= 1 - _CONFIDENCE:
        skip += 1
        tail += math.comb(count, skip) * 0.5**count
    return Interval(float(np.median(ordered)), ordered[skip], ordered[count - 1 - skip])


def _resampled(values: Floats, generator: np.random.Generator) -> Floats:
    """Series `[resamples, samples]` made of blocks of neighbours drawn with replacement; long series are thinned."""
    thinned = values[:: -(-len(values) // _MOST_RESAMPLED)]
    blocks = min(len(thinned), _BLOCKS)
    length = len(thinned) // blocks
    table = thinned[len(thinned) - blocks * length :].reshape(blocks, length)
    chosen = generator.integers(0, blocks, (_RESAMPLES, blocks))
    return table[chosen].reshape(_RESAMPLES, -1)


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, min(low, value), max(high, value))


def growth(before: int | None, after: int | None) -> int | None:
    """How much more there is afterwards; None where one of the two is not known."""
    return None if before is None or after is None else after - before
