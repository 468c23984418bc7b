"""Statistics of raw samples, computed at reading: percentiles with intervals, ratios, and what makes a number noisy.

Latency samples that follow each other are alike, so intervals of one series come from a bootstrap of blocks of
neighbours (Kuensch 1989, The jackknife and the bootstrap for general stationary observations). Ratios of runs that
were paired in several processes are few and independent: their median gets the distribution-free interval of order
statistics (Conover, Practical Nonparametric Statistics, section 3.2). All intervals are of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.bench.result import Measurement
from edgekit.units import format_bytes, format_seconds

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
    collects are not. `model_*_bytes` is growth since the runtime was imported.
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


def summarize(measurement: Measurement) -> Summary:
    """The statistics of a measurement."""
    seconds = np.asarray(measurement.steady_ns, np.float64) * 1e-9
    p50, p90, p99 = percentiles(seconds, (50, 90, 99))
    points = measurement.memory
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
        model_anonymous_bytes=_growth(points.imported.anonymous_bytes, points.first.anonymous_bytes),
        model_file_bytes=_growth(points.imported.file_bytes, points.first.file_bytes),
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


def _growth(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def noise_warnings(measurement: Measurement) -> list[str]:
    """What makes this measurement less than trustworthy, each with its mend; it knows what was asked for."""
    return [*_noise_of_samples(measurement), *_noise_of_setting(measurement)]


def _noise_of_samples(measurement: Measurement) -> Iterator[str]:
    seconds = np.asarray(measurement.steady_ns, np.float64) * 1e-9
    longer = _longer(measurement)
    if len(seconds) < 30:
        yield f"only {len(seconds)} runs: p90 and p99 say little; {longer}"
    if not measurement.warm_up_stable:
        yield f"the warm-up ended before the latency was stable; {longer}"
    third = max(1, len(seconds) // 3)
    drift = float(np.median(seconds[-third:]) / np.median(seconds[:third])) - 1
    if len(seconds) >= 30 and abs(drift) > 0.05:
        yield f"latency drifted by {drift:+.0%} during the run; let the device cool and end other work, then run again"
    middle = float(np.median(seconds))
    far = float(np.mean(seconds > 2 * middle))
    if far > 0.01:
        yield f"{far:.1%} of the runs took more than twice the median; end other programs and run again"
    p50 = percentiles(seconds, (50,))[0]
    if p50.relative_width > 0.05:
        yield f"the median is known to {p50.relative_width:.0%} only; {longer}"
    step = max(measurement.timer.overhead_ns, measurement.timer.resolution_ns) * 1e-9
    if middle < 50 * step:
        clock = f"a step of the clock {format_seconds(step)}"
        yield f"a run takes {format_seconds(middle)}, {clock}: judge differences with `edgekit compare` only"


def _noise_of_setting(measurement: Measurement) -> Iterator[str]:
    before, plan, machine = measurement.before, measurement.plan, measurement.machine
    if before.governor not in (None, "performance"):
        yield f"the frequency governor is {before.governor!r}; `sudo cpupower frequency-set -g performance` steadies it"
    own = 1.2  # what measuring one model after the other leaves in the load average
    if before.load_average is not None and before.load_average > max(own, 0.5 * machine.cores + 0.5):
        yield f"load was {before.load_average:.1f} on {machine.cores} cores before the run; end other programs"
    kept = 16 * (len(measurement.steady_ns) + len(measurement.warm_up_ns)) + 2**20
    grown = _growth(measurement.memory.first.anonymous_bytes, measurement.memory.end.anonymous_bytes) or 0
    if grown > kept:
        yield f"memory grew by {format_bytes(grown)} during the runs; give more --runs to see whether it goes on"
    if plan.threads > machine.usable_cores:
        yield f"{plan.threads} threads on {machine.usable_cores} usable cores; lower --threads"
    if plan.xnnpack and measurement.delegate_partitions == 0:
        yield f"XNNPACK was on and took no operator in {measurement.runtime.name} {measurement.runtime.version}"


def _longer(measurement: Measurement) -> str:
    """How to get more samples, given which limit ended this run."""
    plan = measurement.plan
    if plan.fixed_runs:
        return f"give a higher --runs than {plan.min_runs}"
    ended_late = len(measurement.steady_ns) <= plan.min_runs
    return f"give a higher --seconds than {plan.max_seconds if ended_late else plan.min_seconds:g}"
