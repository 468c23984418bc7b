"""What the samples of one input are, in a few numbers each, and how much that differs from draw to draw.

A set of calibration samples is judged against sets of the same size drawn from the training data: what such draws
differ by is chance, whatever the data, so no threshold depends on the kind of data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DRAWS = 40
_MAP_SIDE = 32


@dataclass(frozen=True, eq=False)
class Samples:
    """Numbers of each sample of one input: `lows`, `highs` `[samples]`, first and second moment of each channel
    `[samples, channels]`, and `maps`, the mean over the channels at (some) places `[samples, rows, columns]`.

    `bounds` are least and greatest value of all samples, also of those that were left out.
    """

    bounds: tuple[float, float]
    lows: Array = field(repr=False)
    highs: Array = field(repr=False)
    first: Array = field(repr=False)
    second: Array = field(repr=False)
    maps: Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.lows)

    @cached_property
    def level(self) -> float:
        """The mean of all values."""
        return float(self.first.mean())

    @cached_property
    def spread(self) -> float:
        """Standard deviation of all values."""
        return float(np.sqrt(max(self.second.mean() - self.level**2, 0.0)))

    @cached_property
    def channel_pattern(self) -> Array:
        """Mean and standard deviation of each channel, `[2, channels]`, in standard deviations of the whole."""
        mean = self.first.mean(axis=0)
        deviation = np.sqrt(np.maximum(self.second.mean(axis=0) - mean**2, 0))
        return np.asarray(np.stack([mean - self.level, deviation]) / (self.spread or 1.0))

    @cached_property
    def variety(self) -> float:
        """How much samples differ from each other at the same place, in standard deviations of the whole."""
        return float(np.sqrt(self.maps.var(axis=0).mean())) / (self.spread or 1.0)

    @cached_property
    def reach(self) -> Array:
        """How far each sample goes from the level of the median sample, `[samples]`."""
        return np.asarray(np.maximum(np.abs(self.lows - self._center), np.abs(self.highs - self._center)))

    @property
    def widest(self) -> float:
        """How far the furthest sample goes from that level."""
        return max(abs(end - self._center) for end in self.bounds)

    @cached_property
    def _center(self) -> float:
        return float(np.median(self.first.mean(axis=1)))

    def take(self, rows: Array) -> Samples:
        """Some of the samples."""
        lows, highs = self.lows[rows], self.highs[rows]
        ends = float(lows.min()), float(highs.max())
        return Samples(ends, lows, highs, self.first[rows], self.second[rows], self.maps[rows])


def samples_of(values: Array, most: int | None = None) -> Samples:
    """The numbers of an input `[samples, ...]`, channels last; of about `most` samples where there are more."""
    some = values[:: max(1, len(values) // most)] if most else values
    found = [_numbers(some[start : start + 64]) for start in range(0, len(some), 64)]
    ends = float(values.min()), float(values.max())
    return Samples(ends, *(np.concatenate(column) for column in zip(*found, strict=True)))


def _numbers(values: Array) -> tuple[Array, ...]:
    wide = np.asarray(values, np.float64)
    channels = wide.reshape(len(wide), -1, wide.shape[-1] if wide.ndim > 1 else 1)
    rows = wide.mean(axis=-1) if wide.ndim > 2 else wide.reshape(len(wide), -1)
    maps = rows.reshape(len(wide), rows.shape[1], -1)
    steps = [max(1, size // _MAP_SIDE) for size in maps.shape[1:]]
    maps = maps[:, :: steps[0], :: steps[1]]
    flat = wide.reshape(len(wide), -1)
    return flat.min(axis=1), flat.max(axis=1), channels.mean(axis=1), (channels**2).mean(axis=1), maps


def by_chance(train: Samples, count: int, statistic: Callable[[Samples], float]) -> Array:
    """The statistic of sets of `count` samples drawn from `train`, always the same ones."""
    random = np.random.default_rng(0)
    return np.array([statistic(train.take(random.integers(0, len(train), count))) for _ in range(_DRAWS)])


def beyond_chance(value: float, chance: Array) -> bool:
    """Whether a value lies more than six standard deviations from those that chance gives."""
    return bool(abs(value - chance.mean()) > 6 * chance.std() + 1e-9 * abs(value))


def binomial_tail(most: int, count: int, share: float) -> float:
    """The chance of at most `most` hits in `count` draws that hit with a chance of `share` each."""
    if not 0 < share < 1:
        return float(share == 0 or most >= count)
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(most + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))
