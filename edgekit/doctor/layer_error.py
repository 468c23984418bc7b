"""Layer error: what each operator of an int8 file adds to the error, and how much has come together behind it.

Signal to quantization noise ratio, SQNR = 10 log10(sum x^2 / sum (x - q)^2) in dB. *Accumulated*: the file as it runs.
*Isolated*: each operator alone, given the float values rounded to the grids of its inputs; the kernels are the
runtime's own (`with_operators_apart`). *Grid*: the float values of a tensor, only rounded to its grid.

A plain SQNR is that of the loudest channels. A channel of small values that is lost shows in the *channel* SQNR, where
each channel counts the same: -10 log10 of the mean over channels of min(1, noise / signal).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.doctor.pairing import Pairing, paired
from edgekit.errors import DataError
from edgekit.stages.inner_values import inner_values
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_stored
from edgekit.tflite.taps import with_operators_apart

Array = npt.NDArray[Any]

LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_FLOOR = 1e-12
_MOST_VALUES = 8_000_000
_ALIKE, _OWN_SCALE = 0.99, 0.1


class LayerError(Struct, frozen=True):
    """One operator of the int8 file, and its tensor against the float one. Ratios are in dB, None without noise.

    `saturation` is the share of integers at the two ends of the grid where the float value is beyond; `bias` is the
    share of the isolated noise that is the mean error of each channel; `lost` the share of channels with more than a
    tenth of noise in them, isolated. `gain` is how much larger the tensor is than in float, where a rewrite or an
    equalization has scaled it on purpose (or a scale is wrong); all else is said of the tensor divided by it.
    """

    index: int
    operator: str
    tensor: str
    accumulated_db: float | None
    isolated_db: float | None
    channel_db: float | None
    grid_channel_db: float | None
    cosine: float
    saturation: float
    bias: float
    lost: float
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class Observed:
    """The values behind a `LayerError`, `[samples, ...]`: float, of the file, of the operator alone, on the grid."""

    error: LayerError
    pair: tuple[Operator, Operator] = field(repr=False)
    tensor: Tensor = field(repr=False)
    real: Array = field(repr=False)
    running: Array = field(repr=False)
    alone: Array = field(repr=False)
    snapped: Array = field(repr=False)

    @property
    def noise(self) -> float:
        """The mean over channels of noise to signal of the operator alone, at most 1."""
        return float(channel_noise(self.real, self.alone).mean())

    @property
    def grid_noise(self) -> float:
        """The same of the float values on the grid of the tensor."""
        return float(channel_noise(self.real, self.snapped).mean())


@dataclass(frozen=True, eq=False)
class Look:
    """Both files on the same samples: how they pair, each operator in order, float and stored values of the inputs."""

    pairing: Pairing
    inputs: tuple[Observed, ...]
    layers: tuple[Observed, ...]

    @property
    def ranked(self) -> tuple[LayerError, ...]:
        """The operators, the one that adds most first."""
        return tuple(one.error for one in sorted(self.layers, key=lambda one: -one.noise))


def look_inside(quantized: bytes, source: bytes, samples: Sequence[Array]) -> Look:
    """Run both files on real-valued `samples` (one `[samples, ...]` array for each input) and compare each tensor.

    Of a large network fewer samples are taken, the first ones, so that memory stays within half a gigabyte or so.
    Raises ModelError where the files are not one network, DataError where the samples do not fit, RunError if the
    process that runs a file dies.
    """
    pairing = paired(quantized, source)
    _refuse_samples(pairing, samples)
    samples = [array[: _affordable(pairing)] for array in samples]
    real = _stacked(inner_values(source, list(samples)))
    stored = [to_stored(x, tensor) for x, tensor in zip(samples, read_contents(quantized).inputs, strict=True)]
    running = _stacked(inner_values(quantized, stored))
    fed = _feedable(pairing, real, running)
    inputs = [_fed(pairing.int8.tensors[index], real[pairing.meaning[index]], running[index]) for index in fed]
    alone = _stacked(inner_values(with_operators_apart(quantized, fed), [*stored, *inputs]))
    found = [
        _observed(pairing, pair, index, real, running, alone)
        for pair in pairing.operators
        for index in pair[1].outputs
        if index in pairing.meaning and pairing.int8.tensors[index].dtype in (*LEVELS, "float32")
        if pairing.meaning[index] in real and index in running and index in alone
        if real[pairing.meaning[index]].dtype.kind == "f"
        if 0 < real[pairing.meaning[index]].size == running[index].size
    ]
    return Look(pairing, tuple(_inputs(pairing, real)), tuple(found))


def _inputs(pairing: Pairing, real: dict[int, Array]) -> Iterator[Observed]:
    """What rounding the inputs costs, as if an operator had written them."""
    for index in pairing.int8.inputs:
        tensor, truth = pairing.int8.tensors[index], real[pairing.meaning[index]]
        if truth.dtype.kind == "f" and truth.size:
            stored = _on_grid(truth, tensor)
            nothing = Operator(-1, "INPUT", 1, False, (), (index,), {})
            yield _observed(pairing, (nothing, nothing), index, real, {index: stored}, {index: stored})


def _refuse_samples(pairing: Pairing, samples: Sequence[Array]) -> None:
    tensors = [pairing.float.tensors[index] for index in pairing.float.inputs]
    if len(samples) != len(tensors):
        raise DataError(f"the data has {len(samples)} inputs, the model {len(tensors)}", "give one array for each")
    for array, tensor in zip(samples, tensors, strict=True):
        if array.shape[1:] != tensor.shape[1:]:
            raise DataError(
                f"the samples have the shape {array.shape[1:]}, input {tensor.name!r} takes {tensor.shape[1:]}",
                "give the data that the model was trained on",
            )
        if not len(array):
            raise DataError("no samples to look at", "give data with at least one sample")
        if not np.isfinite(array).all():
            raise DataError(f"the samples of {tensor.name!r} have NaN or infinity", "clean the data")


def _affordable(pairing: Pairing) -> int:
    """For how many samples the values between operators can be held; at least one batch."""
    written = {index for op in pairing.float.operators for index in op.outputs if index >= 0}
    values = sum(prod(pairing.float.tensors[index].shape) for index in written)
    return max(1, _MOST_VALUES // max(values, 1)) * pairing.float.batch


def _stacked(runs: Sequence[dict[int, Array]]) -> dict[int, Array]:
    """The values of all runs together, those of a run without an axis of samples below one."""
    return {
        index: np.concatenate([run[index] if run[index].ndim else run[index][None] for run in runs])
        for index in runs[0]
        if all(index in run and run[index].shape == runs[0][index].shape for run in runs)
    }


def _feedable(pairing: Pairing, real: dict[int, Array], running: dict[int, Array]) -> list[int]:
    """The tensors of the int8 file that are computed, are read, and whose float values are known, sample by sample."""
    tensors, ends = pairing.int8.tensors, pairing.int8.inputs
    written = {index for op in pairing.int8.operators for index in op.outputs}
    read = {index for op in pairing.int8.operators for index in op.inputs}
    batch = tensors[ends[0]].shape[:1]
    return [
        index
        for index in sorted(written & read - {*ends})
        if index in pairing.meaning
        and pairing.meaning[index] in real
        and index in running
        and real[pairing.meaning[index]].dtype.kind == "f"
        and tensors[index].dtype in (*LEVELS, "float32")
        and tensors[index].shape[:1] == batch
        and real[pairing.meaning[index]].shape[1:] == tensors[index].shape[1:]
    ]


def _fed(tensor: Tensor, truth: Array, stored: Array) -> Array:
    """The float values as the operators expect them: on the grid, and with the factor that the file gave the tensor."""
    return _on_grid(truth * np.asarray(_gain(truth, _real(stored, tensor)), truth.dtype), tensor)


def _on_grid(values: Array, tensor: Tensor) -> Array:
    if not tensor.scales:
        return values
    low, high = LEVELS[tensor.dtype]
    whole = np.round(values.astype(np.float64) / tensor.scales[0]) + tensor.zero_points[0]
    return np.clip(whole, low, high).astype(tensor.dtype)


def _real(stored: Array, tensor: Tensor) -> Array:
    if not tensor.scales:
        return stored.astype(np.float64)
    return (stored.astype(np.float64) - tensor.zero_points[0]) * tensor.scales[0]


def _observed(
    pairing: Pairing,
    pair: tuple[Operator, Operator],
    index: int,
    real: dict[int, Array],
    running: dict[int, Array],
    alone: dict[int, Array],
) -> Observed:
    tensor, truth = pairing.int8.tensors[index], real[pairing.meaning[index]].astype(np.float64)
    ran, apart = (_real(found[index], tensor).reshape(truth.shape) for found in (running, alone))
    gain = _gain(truth, ran)
    ran, apart = ran / gain, apart / gain
    snapped = _real(_on_grid(truth * gain, tensor), tensor) / gain
    noise = channel_noise(truth, apart)
    error = LayerError(
        pair[1].index,
        pair[1].name,
        tensor.name,
        sqnr_db(truth, ran),
        sqnr_db(truth, apart),
        _db(float(noise.mean())),
        _db(float(channel_noise(truth, snapped).mean())),
        _cosine(truth, ran),
        clipped(truth * gain, tensor),
        _bias_share(truth, apart),
        float((noise > 0.1).mean()),
        round(gain, 4),
    )
    return Observed(error, pair, tensor, truth, ran, apart, snapped)


def _gain(truth: Array, found: Array) -> float:
    """The factor between two arrays that are alike but for one; 1 where they are not, or it is within a tenth of 1."""
    if _cosine(truth, found) < _ALIKE:
        return 1.0
    gain = float((truth * found.reshape(truth.shape)).sum() / max(np.square(truth, dtype=np.float64).sum(), _FLOOR))
    return gain if abs(gain - 1) > _OWN_SCALE else 1.0


def sqnr_db(truth: Array, found: Array) -> float | None:
    """The SQNR of all values together; None where there is no noise."""
    return _db(float(np.square(truth - found).sum() / max(np.square(truth).sum(), _FLOOR)))


def channel_noise(truth: Array, found: Array) -> Array:
    """Noise to signal of each channel (the last axis), at most 1; that of a channel without signal is left out."""
    rows, noise = by_channel(truth), by_channel(truth - found)
    signal = np.square(rows).sum(0)
    heard = signal > _FLOOR
    if not heard.any():
        return np.zeros(1)
    return np.asarray(np.minimum(np.square(noise).sum(0)[heard] / signal[heard], 1.0))


def by_channel(values: Array) -> Array:
    """`[everything else, channels]`."""
    return values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)


def clipped(truth: Array, tensor: Tensor) -> float:
    """The share of float values that lie more than half a quantum beyond the ends of a grid."""
    if not tensor.scales:
        return 0.0
    low, high = ends_of(tensor)
    half = tensor.scales[0] / 2
    return float(((truth < low - half) | (truth > high + half)).mean())


def ends_of(tensor: Tensor) -> tuple[float, float]:
    """The least and the greatest value that a quantized activation can hold."""
    low, high = ((level - tensor.zero_points[0]) * tensor.scales[0] for level in LEVELS[tensor.dtype])
    return low, high


def _db(ratio: float) -> float | None:
    return None if ratio <= _FLOOR else round(-10 * float(np.log10(ratio)), 2)


def _cosine(truth: Array, found: Array) -> float:
    truth, found = truth.astype(np.float64), found.astype(np.float64).reshape(truth.shape)
    norms = float(np.linalg.norm(truth) * np.linalg.norm(found))
    return float((truth * found).sum() / norms) if norms > _FLOOR else float(np.allclose(truth, found))


def _bias_share(truth: Array, found: Array) -> float:
    off = by_channel(found - truth)
    total = float(np.square(off).mean())
    return float(np.square(off.mean(0)).mean() / total) if total > _FLOOR else 0.0
