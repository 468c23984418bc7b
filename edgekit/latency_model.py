"""Seconds from work: a non-negative fit to known latencies, with a band from what it misses when each is left out.

    seconds = a * MACs + b * depthwise MACs + c * streamed bytes + d,    a, b, c, d >= 0

fitted to the least relative error; a depthwise convolution moves more bytes for each MAC, so its MACs cost more. With
fewer than eight points only `a` is fitted. The band is Student's prediction interval of the logarithm: the root mean
square of the errors of leave-one-out, times sqrt(1 + 1/k), times the quantile for k - 1 degrees of freedom. k is the
number of kinds of network, not of points: sixteen widths and sizes of one network tell little of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.intervals import t_quantile

Floats = npt.NDArray[np.float64]

LEVEL = 0.9
"""Share of networks that the band is made to hold."""
FEWEST_KINDS = 3
_ENOUGH = 8
_TINY = 1e-12  # of the true time: what stands for a prediction of none


class Work(Struct, frozen=True):
    """What one inference asks of a device; depthwise MACs are part of `macs`."""

    macs: int
    depthwise_macs: int = 0
    streamed_bytes: int = 0


@dataclass(frozen=True)
class LatencyModel:
    """Seconds a MAC, more a depthwise MAC, a streamed byte and a run; the band is from `1 / factor` to `factor`."""

    terms: tuple[float, float, float, float]
    factor: float

    def seconds(self, work: Work) -> float:
        """What the fit says a run takes."""
        return float(_row(work) @ np.array(self.terms))


def fit_latency(points: Sequence[tuple[Work, float]], kinds: Sequence[str]) -> LatencyModel:
    """Fit to (work, seconds) of networks; `kinds` names the kind of each. At least three kinds are needed."""
    count = len(set(kinds))
    if count < FEWEST_KINDS:
        raise ValueError(f"{count} kinds of network, {FEWEST_KINDS} are needed")
    rows, seconds = np.array([_row(work) for work, _ in points]), np.array([time for _, time in points])
    if len(points) < _ENOUGH:
        rows[:, 1:] = 0
    miss = math.sqrt(float(np.mean(_left_out(rows, seconds) ** 2)))
    spread = t_quantile((1 + LEVEL) / 2, count - 1) * math.sqrt(1 + 1 / count)
    terms = [float(value) for value in _non_negative(rows, seconds)]
    return LatencyModel((terms[0], terms[1], terms[2], terms[3]), math.exp(spread * miss))


def _row(work: Work) -> Floats:
    return np.array([work.macs, work.depthwise_macs, work.streamed_bytes, 1.0])


def _left_out(rows: Floats, seconds: Floats) -> Floats:
    """Logarithm of predicted over true for each point, by the fit to the others."""
    errors = []
    for index, row in enumerate(rows):
        rest = np.arange(len(rows)) != index
        predicted = float(row @ _non_negative(rows[rest], seconds[rest]))
        errors.append(math.log(max(predicted / seconds[index], _TINY)))
    return np.array(errors)


def _non_negative(rows: Floats, seconds: Floats) -> Floats:
    """Least squares of the relative error under coefficients >= 0: the best of all subsets of the four columns."""
    relative = rows / seconds[:, None]
    scale = np.abs(relative).max(axis=0)
    used = np.flatnonzero(scale)
    best, best_error = np.zeros(rows.shape[1]), math.inf
    for size in range(1, len(used) + 1):
        for columns in map(list, combinations(used, size)):
            matrix = relative[:, columns] / scale[columns]
            found = np.linalg.lstsq(matrix, np.ones(len(rows)), rcond=None)[0]
            error = float(np.sum((matrix @ found - 1) ** 2))
            if (found >= 0).all() and error < best_error - _TINY:
                best, best_error = np.zeros(rows.shape[1]), error
                best[columns] = found / scale[columns]
    return best
