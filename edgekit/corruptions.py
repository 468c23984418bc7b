"""Corruptions of raw samples: what a worse camera, microphone or sensor makes of them, in three severities.

Images: Gaussian noise, Gaussian blur and contrast with the severities 1, 3 and 5 of Hendrycks and Dietterich
(arXiv:1903.12261; their CIFAR-10-C for images of at most 64 pixels a side, ImageNet-C for larger ones), and a shift by
4, 8 and 16 % of the side (at least 1, 2 and 3 pixels), edges repeated. Values are taken between the least and the
greatest of the part. Series: noise at 20, 10 and 0 dB below the signal, a shift by 2, 5 and 10 % of the time, a scale
up or down. Tables: noise by the deviation of each column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Part
from edgekit.errors import DataError

Array = npt.NDArray[Any]
Kind = Literal["image", "series", "table"]
Change = Callable[[Array, Any, np.random.Generator], Array]

_CHUNK_BYTES = 64 << 20
_RANKS: dict[Kind, tuple[int, ...]] = {"image": (3, 4), "series": (2, 3, 4), "table": (2,)}
_SMALL_SIDE, _LEAST_SIDE, _LEAST_SERIES = 64, 8, 64


@dataclass(frozen=True)
class Corruption:
    """One corruption in one severity (1 to 3); `amount` is its parameter, in words `said`.

    `change` takes samples `[samples, ...]`, channels last, the amount (of tables: for each column, times its deviation)
    and a source of chance; images are in 0..1.
    """

    kind: Kind
    name: str
    severity: int
    amount: float
    said: str
    change: Change


def kind_of(part: Part) -> Kind:
    """What the first float input of a part is, by the shape of its raw samples.

    Rank 4 (with the samples) is an image; rank 3 an image where it is a square of at least 8, else a series; rank 2 a
    series of at least 64 values, else a table. Raises DataError for other ranks and for parts without a float input.
    """
    x = part.inputs[_float_inputs(part)[0]]
    if x.ndim == 3:
        return "image" if x.shape[1] == x.shape[2] >= _LEAST_SIDE else "series"
    if x.ndim == 2:
        return "series" if x.shape[1] >= _LEAST_SERIES else "table"
    if x.ndim == 4:
        return "image"
    raise DataError(f"samples of shape {x.shape[1:]} are no image, series or table", "evaluate them as they are")


def corruptions(part: Part, kind: Kind) -> tuple[Corruption, ...]:
    """The corruptions for the inputs of a part. Raises DataError where no float input can be of that kind."""
    first = _corruptible(part, kind)[0]
    side = min(_channels_last(part.inputs[first], part)[0].shape[: 2 if kind == "image" else 1])
    table = _TABLES[kind] if kind != "image" else _LARGE if side > _SMALL_SIDE else _SMALL
    return tuple(
        Corruption(kind, name, severity, found, said.format(found), change)
        for name, (change, amounts, said) in table.items()
        for severity, amount in enumerate(amounts, 1)
        for found in [max(severity, round(amount * side)) if name == "shift" else amount]
    )


def corrupted(part: Part, corruption: Corruption, seed: int = 0) -> Part:
    """The part with its raw inputs corrupted, in their own type; the same seed gives the same values."""
    inputs = list(part.inputs)
    for index in _corruptible(part, corruption.kind):
        random = np.random.default_rng([seed, index, corruption.severity, *corruption.name.encode()])
        inputs[index] = _corrupted(inputs[index], part, corruption, random)
    return replace(part, inputs=tuple(inputs))


def _float_inputs(part: Part) -> list[int]:
    types = part.input_types or ("float32",) * len(part.inputs)
    if found := [index for index, kind in enumerate(types) if kind == "float32"]:
        return found
    raise DataError("all inputs are whole numbers (identifiers), which noise does not happen to", "evaluate as it is")


def _corruptible(part: Part, kind: Kind) -> list[int]:
    if found := [index for index in _float_inputs(part) if part.inputs[index].ndim in _RANKS[kind]]:
        return found
    shapes = ", ".join(str(x.shape[1:]) for x in part.inputs)
    raise DataError(f"samples of shape {shapes} cannot be of kind {kind!r}", "choose another of image, series, table")


def _channels_last(x: Array, part: Part) -> Array:
    """A view of raw samples as the model gets them."""
    return np.moveaxis(x, 1, -1) if part.preprocessing.layout == "channels_first" and x.ndim > 2 else x


def _corrupted(x: Array, part: Part, corruption: Corruption, random: np.random.Generator) -> Array:
    result = np.empty_like(x)
    source, out = _channels_last(x, part), _channels_last(result, part)
    apply = _stretched(source, corruption) if corruption.kind == "image" else _plain(source, corruption)
    rows = max(1, _CHUNK_BYTES // max(1, 4 * x[:1].size))
    for start in range(0, len(x), rows):
        chunk = slice(start, start + rows)
        out[chunk] = _in_type(apply(source[chunk].astype(np.float32), random), x.dtype)
    return result


def _in_type(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind not in "iu":
        return values.astype(dtype)
    ends = np.iinfo(dtype)
    return np.clip(np.rint(values.astype(np.float64)), ends.min, ends.max).astype(dtype)


def _stretched(x: Array, corruption: Corruption) -> Callable[[Array, np.random.Generator], Array]:
    """The change of images whose least and greatest value become 0 and 1."""
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise DataError(f"the images go from {low:g} to {high:g}", "look for NaN, or for images that are all alike")

    def apply(values: Array, random: np.random.Generator) -> Array:
        unit = (values - low) / (high - low)
        whole = unit[..., None] if unit.ndim == 3 else unit
        done = np.clip(corruption.change(whole, corruption.amount, random), 0, 1)
        return np.asarray(done.reshape(unit.shape) * (high - low) + low)

    return apply


def _plain(x: Array, corruption: Corruption) -> Callable[[Array, np.random.Generator], Array]:
    amount: Any = corruption.amount
    if corruption.kind == "table":
        amount = amount * x.std(axis=0, dtype=np.float64).astype(np.float32)
    return lambda values, random: corruption.change(values, amount, random)


def _noise(x: Array, amount: Any, random: np.random.Generator) -> Array:
    return np.asarray(x + amount * random.standard_normal(x.shape, np.float32))


def _noise_beside_signal(x: Array, decibels: float, random: np.random.Generator) -> Array:
    """Noise so far below the deviation of each sample and channel over time."""
    return _noise(x, 10 ** (-decibels / 20) * x.std(axis=1, keepdims=True), random)


def _blur(x: Array, sigma: float, random: np.random.Generator) -> Array:
    reach = math.ceil(4 * sigma)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
    for axis in (1, 2):
        x = sum(w * _moved(x, int(o), axis) for w, o in zip(weights / weights.sum(), offsets, strict=True))
    return x


def _contrast(x: Array, factor: float, random: np.random.Generator) -> Array:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return np.asarray((x - mean) * factor + mean)


def _shift(x: Array, pixels: int, random: np.random.Generator) -> Array:
    """Each image by so many pixels, up, down, left or right."""
    return _each_way(x, pixels, random, ((1, -1), (1, 1), (2, -1), (2, 1)))


def _time_shift(x: Array, steps: int, random: np.random.Generator) -> Array:
    """Each series by so many steps, earlier or later."""
    return _each_way(x, steps, random, ((1, -1), (1, 1)))


def _each_way(x: Array, steps: int, random: np.random.Generator, ways: Sequence[tuple[int, int]]) -> Array:
    chosen, result = np.floor(random.random(len(x)) * len(ways)), np.empty_like(x)
    for number, (axis, sign) in enumerate(ways):
        rows = chosen == number
        result[rows] = _moved(x[rows], sign * steps, axis)
    return result


def _moved(x: Array, steps: int, axis: int) -> Array:
    """Samples moved along an axis, their edge repeated."""
    size = x.shape[axis]
    return np.take(x, np.clip(np.arange(size) - steps, 0, size - 1), axis)


def _scale(x: Array, factor: float, random: np.random.Generator) -> Array:
    """Each sample times or divided by the factor."""
    power = np.where(random.random(len(x)) < 0.5, -1, 1).astype(np.float32)
    return np.asarray(x * (factor**power).reshape(-1, *[1] * (x.ndim - 1)))


_Table = dict[str, tuple[Change, tuple[float, float, float], str]]
_SHIFT: tuple[Change, tuple[float, float, float], str] = (_shift, (0.04, 0.08, 0.16), "{} px")
_SMALL: _Table = {
    "noise": (_noise, (0.04, 0.08, 0.10), "deviation {:g} of the range"),
    "blur": (_blur, (0.4, 0.7, 1.0), "sigma {:g} px"),
    "contrast": (_contrast, (0.75, 0.4, 0.15), "x {:g}"),
    "shift": _SHIFT,
}
_LARGE: _Table = {
    "noise": (_noise, (0.08, 0.18, 0.38), "deviation {:g} of the range"),
    "blur": (_blur, (1.0, 3.0, 6.0), "sigma {:g} px"),
    "contrast": (_contrast, (0.4, 0.2, 0.05), "x {:g}"),
    "shift": _SHIFT,
}
_TABLES: dict[Kind, _Table] = {
    "series": {
        "noise": (_noise_beside_signal, (20, 10, 0), "{:g} dB below the signal"),
        "shift": (_time_shift, (0.02, 0.05, 0.10), "{} steps"),
        "scale": (_scale, (1.25, 1.5, 2.0), "x or / {:g}"),
    },
    "table": {"noise": (_noise, (0.05, 0.1, 0.2), "{:g} of the deviation")},
}
