"""The child of `calibrate`: it runs a float32 file on the samples from its standard input, and keeps statistics.

It needs numpy and the runtime alone, so that it starts in a fifth of a second. The statistics of a tensor take the same
memory however many samples there are: extremes, extremes smoothed over the samples, and a histogram whose bins double
their width when a value falls outside, neighbours being added (as PyTorch's and TensorRT's observers do). A bin is a
power of two wide and an edge lies at zero, so adding neighbours is exact: what comes out depends on neither the order
nor the batches.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 8192
"""Bins of a histogram, half of them below zero; bin k holds [k - BINS/2, k + 1 - BINS/2) widths."""

SMOOTHING = 0.95
"""What a sample leaves of the smoothed extremes before it, as in litert-quantizer's calibrator."""

_LEAST_EXPONENT = -60
_PROBES = 2


class Running:
    """The statistics of some tensors while samples come, all in arrays `[tensors, ...]`."""

    def __init__(self, tensors: int, histograms: bool) -> None:
        self.extremes = np.tile([np.inf, -np.inf], (tensors, 1))
        self.smoothed = np.zeros((tensors, 2))
        self.exponents = np.full(tensors, _LEAST_EXPONENT)
        self.counts = np.zeros((tensors, BINS if histograms else 0), np.int64)
        self.begun = np.zeros(tensors, bool)

    def add(self, batch: Iterator[tuple[int, Array]], samples: int) -> None:
        """Take over a batch: the place of a tensor, and its values as `[samples, values of each]`."""
        ends = np.zeros((len(self.begun), samples, 2), np.float32)
        written = np.zeros(len(self.begun), bool)
        for place, values in batch:
            values.min(axis=1, out=ends[place, : len(values), 0])
            values.max(axis=1, out=ends[place, : len(values), 1])
            ends[place, len(values) :] = ends[place, :1]
            written[place] = True
            if self.counts.size:
                self._count(place, values, ends[place])
            del values
        self._smooth(ends.astype(np.float64), written)

    def _smooth(self, ends: Array, written: Array) -> None:
        first = written & ~self.begun
        self.smoothed[first] = ends[first, 0]
        left = SMOOTHING ** np.arange(ends.shape[1], -1, -1)
        news = left[0] * self.smoothed + (1 - SMOOTHING) * np.einsum("s,tse->te", left[1:], ends)
        self.smoothed[written] = news[written]
        lows, highs = (
            np.minimum(self.extremes[:, 0], ends[..., 0].min(1)),
            np.maximum(self.extremes[:, 1], ends[..., 1].max(1)),
        )
        self.extremes[written] = np.stack([lows, highs], axis=1)[written]
        self.begun |= written

    def _count(self, place: int, values: Array, ends: Array) -> None:
        most = float(np.abs(ends).max())
        if not math.isfinite(most):
            return
        needed = math.frexp(most)[1]
        if needed > self.exponents[place]:
            self.counts[place] = widened(self.counts[place], needed - self.exponents[place])
            self.exponents[place] = needed
        bins = values * np.float32(BINS / 2 * 2.0 ** -int(self.exponents[place]))
        np.floor(bins, out=bins)
        bins += BINS // 2
        self.counts[place] += np.bincount(bins.astype(np.intp).ravel(), minlength=BINS)


def widened(counts: Array, doublings: int) -> Array:
    """A histogram with bins `2 ** doublings` times as wide."""
    factor = 2 ** min(doublings, int(math.log2(BINS)) - 1)
    fewer = counts.reshape(-1, factor).sum(axis=1)
    wide = np.zeros_like(counts)
    start = (BINS - len(fewer)) // 2
    wide[start : start + len(fewer)] = fewer
    return wide


class Runner:
    """An interpreter that shows the watched tensors of each run."""

    def __init__(self, path: Path, job: dict[str, Any], resized: bool) -> None:
        self.interpreter = _interpreter(path, job["reference"])
        self.watched, self.resized = job["watched"], resized
        details = self.interpreter.get_tensor_details()
        self.shapes = {one["index"]: tuple(one["shape"]) for one in details}
        self.inputs = self.interpreter.get_input_details()
        self.sized = 0

    def run(self, arrays: list[Array]) -> Iterator[tuple[int, Array]]:
        """The watched tensors after a run, by place, as `[samples, values of each]`, each only until the next one.

        Where samples cannot be told apart in a tensor, it is one sample.
        """
        self._resize(arrays)
        for detail, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array)
        self.interpreter.invoke()
        for place, index in enumerate(self.watched):
            try:
                values = self.interpreter.tensor(index)()
            except ValueError:  # never written: a branch not taken
                continue
            if values.size:
                yield place, self._by_sample(self.shapes[index], values)
            del values

    def _by_sample(self, own: tuple[int, ...], values: Array) -> Array:
        """The axis of the samples is the first whose size is another than in the file."""
        if not self.resized or values.shape == own:
            return values.reshape(1, -1)
        axis = next(axis for axis, size in enumerate(values.shape) if size != own[axis])
        return (np.moveaxis(values, axis, 0) if axis else values).reshape(self.sized, -1)

    def _resize(self, arrays: list[Array]) -> None:
        if self.sized == len(arrays[0]):
            return
        self.sized = len(arrays[0])
        if self.resized:
            for detail, array in zip(self.inputs, arrays, strict=True):
                self.interpreter.resize_tensor_input(detail["index"], array.shape)
        self.interpreter.allocate_tensors()


def _interpreter(path: Path, reference: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if not reference:
        return Interpreter(model_path=str(path), num_threads=2)
    return Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=2,
    )


def _samples(job: dict[str, Any]) -> Iterator[list[Array]]:
    """The samples, a batch at a time; where the file's own batch is fixed, the last one is repeated to fill it."""
    for start in range(0, job["samples"], job["batch"]):
        count = min(job["batch"], job["samples"] - start)
        arrays = [_read(count, shape, dtype) for shape, dtype in job["inputs"]]
        missing = 0 if job["resized"] else job["batch"] - count
        yield [_filled(array, missing) for array in arrays]


def _filled(array: Array, missing: int) -> Array:
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _read(count: int, shape: list[int], dtype: str) -> Array:
    stream: Any = sys.stdin.buffer
    array = np.empty((count, *shape), dtype)
    rest = array.reshape(-1).view(np.uint8)
    while rest.size:
        got = stream.readinto(rest.data)
        if not got:
            sys.exit("the samples ended early")
        rest = rest[got:]
    return array


def _observe(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    runner = Runner(folder / "model.tflite", job, job["resized"])
    found = Running(len(job["watched"]), job["histograms"])
    for number, arrays in enumerate(_samples(job)):
        if job["resized"] and not number:
            _refuse_unlike(runner, Runner(folder / "single.tflite", job, False), arrays)
        found.add(runner.run(arrays), len(arrays[0]))
    np.savez(
        folder / "found.npz",
        extremes=found.extremes,
        smoothed=found.smoothed,
        exponents=found.exponents,
        counts=found.counts,
    )


def _refuse_unlike(batched: Runner, single: Runner, arrays: list[Array]) -> None:
    """End the process where a batch gives other values than its samples one at a time."""
    few = [array[:_PROBES] for array in arrays]
    together = _ends(batched, few)
    apart = [_ends(single, [array[place : place + 1] for array in few]) for place in range(len(few[0]))]
    for place, (low, high) in together.items():
        lows, highs = zip(*(one[place] for one in apart), strict=True)
        width = max(map(abs, (*lows, *highs)))
        if not np.allclose([low, high], [min(lows), max(highs)], rtol=0, atol=1e-6 + 1e-3 * width, equal_nan=True):
            sys.exit(f"a batch gives other values than single samples (tensor {batched.watched[place]})")


def _ends(runner: Runner, arrays: list[Array]) -> dict[int, tuple[float, float]]:
    return {place: (float(values.min()), float(values.max())) for place, values in runner.run(arrays)}


if __name__ == "__main__":
    _observe(Path(sys.argv[1]))
