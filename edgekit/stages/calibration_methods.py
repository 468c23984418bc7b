"""Ranges from statistics: how much of what an activation was is worth a place on its grid.

    minmax           all of it
    moving_average   the extremes of a sample, smoothed over the samples: one odd sample moves them little
                     (Jacob et al. 2018, arXiv:1712.05877, section 3.1; litert-quantizer)
    percentile:P     P percent of the values, the rest cut off in equal parts at both ends
                     (McKinstry et al. 2018, arXiv:1809.04191; Wu et al. 2020, arXiv:2004.09602, section 4)
    mse              the range with the least squared error, cutting off against rounding, step ** 2 / 12
                     (Banner et al. 2019, arXiv:1810.05723, equation 5; here of the histogram, and for both ends)
    entropy          the range whose 255 levels lose the least information (Kullback-Leibler divergence; Migacz, "8-bit
                     Inference with TensorRT", GTC 2017)

Zero is always inside of a range, as the integer schemes demand (arXiv:1712.05877, section 2.1). It lies on every grid,
so for `mse` the values in the bin of zero cost nothing.

`entropy` as published takes it for lost information when a value that is there very often shares a level with its
neighbours, though it is rounded by half a step like any other. Its authors spare zero this way; here every bin is
spared. Without that a plain background, which is one value in each channel, made it keep 0..0.87 of a ReLU6's 0..5.42
(13 % of the values cut off) in MobileNetV2 on spoken digits: 27 % right where the others have 98 %, and NVIDIA's own
search (TensorRT's, with 2,048 bins) 29 %.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, RecipeError, did_you_mean
from edgekit.stages.numerics import METHOD_PATTERN, METHODS
from edgekit.stages.observed import Observed, Ranges

Array = npt.NDArray[Any]

_DEFAULT_PERCENTILE = 99.99
_FACTORS = 2.0 ** (-np.arange(129) / 16)  # in steps of 4 %, down to a 256th
_FEWEST_BINS = 128


def needs_histograms(method: str) -> bool:
    """Whether a method needs more than extremes. Raises RecipeError for an unknown one."""
    return _parsed(method)[0] not in ("minmax", "moving_average")


def ranges(observed: Observed, method: str = "minmax", bits: int = 8) -> Ranges:
    """The range of each activation by name; `bits` is 8 (affine) or 16 (symmetric), which only `mse` asks about.

    Ranges that training left in the file stand as they are.

    Raises DataError if a statistic is not finite or histograms are missing, RecipeError for an unknown method.
    """
    name, percent = _parsed(method)
    unsound = [
        name for name, pair in zip(observed.names, observed.extremes, strict=True) if not np.isfinite(pair).all()
    ]
    if unsound:
        raise DataError(
            f"calibration gives an infinite or undefined range for {unsound[0]!r} ({len(unsound)} tensors)",
            "look for NaN or huge values in the calibration data or the weights",
        )
    if needs_histograms(method) and not observed.counts.size:
        raise DataError(f"method {method!r} needs histograms, which were not kept", "observe with histograms=True")
    found: Ranges = {}
    for index, tensor in enumerate(observed.names):
        low, high = _RULES[name](_Tensor(observed, index, bits, percent))
        known = found.get(tensor, (0.0, 0.0))
        found[tensor] = (min(low, known[0]), max(high, known[1]))
    return found | {tensor: pair for tensor, pair in observed.given.items() if tensor in found}


def _parsed(method: str) -> tuple[str, float]:
    name, _, number = method.partition(":")
    if not re.match(METHOD_PATTERN, method):
        raise RecipeError(f"unknown calibration method {method!r}", did_you_mean(name, METHODS))
    percent = float(number or _DEFAULT_PERCENTILE)
    if not 50 <= percent <= 100:
        raise RecipeError(f"calibration {method!r} keeps {percent:g} % of the values", "say 50 to 100: percentile:99.9")
    return name, percent


class _Tensor:
    """The statistics of one tensor, as the methods look at them."""

    def __init__(self, observed: Observed, index: int, bits: int, percent: float) -> None:
        self.low, self.high = map(float, observed.extremes[index])
        self.smoothed = observed.smoothed[index]
        self.counts = observed.counts[index]
        self.width = 2.0 ** (int(observed.exponents[index]) + 1) / max(len(self.counts), 1)
        self.zero = len(self.counts) // 2
        self.bits, self.percent = bits, percent

    def edges(self) -> Array:
        """The edges of the bins, one more than bins."""
        return (np.arange(len(self.counts) + 1) - self.zero) * self.width

    def step(self, low: Array, high: Array) -> Array:
        """The distance of two levels where a range is from low to high."""
        return (high - low) / 255 if self.bits == 8 else np.maximum(-low, high) / 32767


def _minmax(tensor: _Tensor) -> tuple[float, float]:
    return tensor.low, tensor.high


def _moving_average(tensor: _Tensor) -> tuple[float, float]:
    return float(tensor.smoothed[0]), float(tensor.smoothed[1])


def _percentile(tensor: _Tensor) -> tuple[float, float]:
    reached = np.concatenate([[0], np.cumsum(tensor.counts)])
    tail = (1 - tensor.percent / 100) / 2
    low, high = np.interp([tail * reached[-1], (1 - tail) * reached[-1]], reached, tensor.edges())
    return max(float(low), tensor.low), min(float(high), tensor.high)


def _mse(tensor: _Tensor) -> tuple[float, float]:
    lows, highs = (min(tensor.low, 0.0) * _FACTORS, max(tensor.high, 0.0) * _FACTORS)
    centers = tensor.edges()[:-1] + tensor.width / 2
    cut = (
        _cut_off(tensor.counts, centers, highs)[None, :] + _cut_off(tensor.counts[::-1], -centers[::-1], -lows)[:, None]
    )
    inner = tensor.counts.copy()
    inner[tensor.zero] = 0
    reached = np.concatenate([[0], np.cumsum(inner)])
    inside = np.interp(highs, tensor.edges(), reached)[None, :] - np.interp(lows, tensor.edges(), reached)[:, None]
    error = cut + inside * tensor.step(lows[:, None], highs[None, :]) ** 2 / 12
    row, column = np.unravel_index(np.argmin(error), error.shape)
    return float(lows[row]), float(highs[column])


def _cut_off(counts: Array, centers: Array, bounds: Array) -> Array:
    """The squared error of what lies above each bound: the sum of counts * (center - bound) ** 2."""
    sums = [np.append(np.cumsum((counts * centers**power)[::-1])[::-1], 0.0) for power in range(3)]
    first = np.searchsorted(centers, bounds, side="right")
    found: Array = sums[2][first] - 2 * bounds * sums[1][first] + bounds**2 * sums[0][first]
    return np.maximum(found, 0.0)


def _entropy(tensor: _Tensor) -> tuple[float, float]:
    counts = tensor.counts.astype(np.float64)
    seen = np.flatnonzero(counts)
    if not len(seen):
        return tensor.low, tensor.high
    first, last = min(seen[0], tensor.zero), max(seen[-1] + 1, tensor.zero + 1)
    widest = max(tensor.zero - first, last - tensor.zero)
    reaches = np.unique(np.geomspace(min(_FEWEST_BINS, widest), widest, 100).astype(int))
    windows = [(max(first, tensor.zero - reach), min(last, tensor.zero + reach)) for reach in reaches]
    spared = _without_spikes(counts)
    begin, end = min(windows, key=lambda window: _divergence(counts, spared, *window))
    edges = tensor.edges()
    return max(float(edges[begin]), tensor.low), min(float(edges[end]), tensor.high)


def _without_spikes(counts: Array) -> Array:
    """Each bin counts no more than the median of the five around it: a single value may lie on the edge of two bins."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 2), 5)
    spared: Array = np.minimum(counts, np.maximum(np.median(around, axis=1), 1))
    return spared


def _divergence(counts: Array, spared: Array, begin: int, end: int) -> float:
    """Kullback-Leibler divergence of what 255 levels make of a window from all values, those outside at its ends.

    What is outside counts in full, what is inside without its spikes.
    """
    inside = spared[begin:end]
    whole = inside.copy()
    whole[0] += counts[:begin].sum()
    whole[-1] += counts[end:].sum()
    starts = np.unique(np.linspace(0, len(inside), min(255, len(inside)), endpoint=False).astype(int))
    sizes = np.diff(np.append(starts, len(inside)))
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    level = np.add.reduceat(inside, starts) / np.maximum(filled, 1)
    rounded = np.where(inside > 0, np.repeat(level, sizes), 0.0) + 1e-9 * whole.sum()
    p, q = whole / whole.sum(), rounded / rounded.sum()
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())


_RULES: dict[str, Callable[[_Tensor], tuple[float, float]]] = {
    "minmax": _minmax,
    "moving_average": _moving_average,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
