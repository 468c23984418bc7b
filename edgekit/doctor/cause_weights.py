"""Causes in the weights: whole channels, or all but a few weights of a channel, with too few levels."""

from __future__ import annotations

import numpy as np

from edgekit.doctor.equalizable import CHANNEL_AXIS, INPUT_AXIS
from edgekit.doctor.evidence import DFQ, FEW_LEVELS, IN_FLOAT, SURVEY, UNLIKE, linked, warn
from edgekit.doctor.layer_error import Array, Look, Observed, by_channel
from edgekit.finding import Finding


def coarse_weights(look: Look, one: Observed) -> Finding | None:
    """Kernels in which whole channels, or all but a few weights of a channel, have too few levels."""
    kernel = look.pairing.kernel(one.pair)
    if kernel is None or not kernel[1].scales or (one.noise < 2 * one.grid_noise and len(kernel[1].scales) > 1):
        return None
    stored, axis = kernel[1].values(), CHANNEL_AXIS[one.pair[1].name]
    assert stored is not None  # pairing.kernel gives only constants
    rows = np.abs(np.moveaxis(stored - kernel[1].zeros, axis, 0).reshape(stored.shape[axis], -1))
    noise = _by_kernel_channel(one, len(rows))
    starved = rows.max(1) < FEW_LEVELS
    if len(kernel[1].scales) == 1 and noise[starved].sum() >= noise.sum() / 2:
        return _starved(look, one, rows.max(1))
    bulk = -np.sort(-rows, axis=1)[:, _outliers(rows.shape[1], reading_one(one.pair[1].name, stored.shape))]
    alone = (bulk < FEW_LEVELS) & (rows.max(1) >= FEW_LEVELS)
    return _outlier_weights(one, rows, alone, noise) if noise[alone].sum() >= noise.sum() / 2 else None


def _outliers(weights: int, reading_one: int) -> int:
    """How many weights of a channel may be outliers: one in twenty, or those that read one input channel."""
    return min(weights - 1, max(reading_one, weights // 20))


def reading_one(operator: str, shape: tuple[int, ...]) -> int:
    """How many weights of an output channel read one input channel; of depthwise kernels all do, so one."""
    axes = CHANNEL_AXIS[operator], INPUT_AXIS[operator]
    return 1 if axes[0] == axes[1] else int(np.prod(shape)) // (shape[axes[0]] * shape[axes[1]])


def _by_kernel_channel(one: Observed, channels: int) -> Array:
    """Noise to signal of each output channel, zero where there is no signal."""
    truth, off = by_channel(one.real), by_channel(one.real - one.alone)
    signal = np.square(truth).sum(0)
    ratio = np.where(signal > 0, np.square(off).sum(0) / np.where(signal > 0, signal, 1), 0)
    return np.minimum(ratio, 1.0) if len(ratio) == channels else np.zeros(channels)


def _starved(look: Look, one: Observed, most: Array) -> Finding:
    """Per-tensor weights with channels far apart: one channel is to blame, or a neighbour can help, or neither."""
    few = int((most < FEW_LEVELS).sum())
    seen = f"{few} of {len(most)} channels fill less than {FEW_LEVELS} of 127 levels of the one scale of the tensor"
    wide = np.sort(most)[::-1]
    beyond = max(1, len(wide) // 20)
    if len(wide) > beyond and wide[0] >= UNLIKE * max(1, wide[beyond]):
        alone = np.flatnonzero(most > wide[beyond])
        which = f"channel {alone[0]} is" if len(alone) == 1 else f"channels {', '.join(map(str, alone))} are up to"
        return warn(
            "outlier-weight-channel",
            one,
            f"{seen}, because {which} {wide[0] / max(1, wide[beyond]):.0f} times wider than the rest",
            "use per-channel weights, or equalize the layers",
            DFQ,
        )
    if linked(look, one):
        return warn(
            "scale-disparity",
            one,
            f"{seen}, as folding a normalization leaves them; the next layer can take the scales",
            "equalize the layers (exact in float), or use per-channel weights",
            DFQ,
        )
    return warn(
        "per-tensor-weights",
        one,
        f"{seen}, and no neighbour can take the scales",
        "use per-channel weights: `-r int8:per-channel,dense-per-channel`, or the part of it that the target permits",
        SURVEY,
    )


def _outlier_weights(one: Observed, rows: Array, alone: Array, noise: Array) -> Finding:
    worst = int(np.where(alone, noise, -1).argmax())
    few = int((rows[worst] >= FEW_LEVELS).sum())
    return warn(
        "outlier-weights",
        one,
        f"in {int(alone.sum())} of {len(rows)} channels a few weights set the scale: in channel {worst} {few} of "
        f"{rows.shape[1]} weights fill more than {FEW_LEVELS} of 127 levels, and {noise[worst]:.0%} of it is noise",
        f"find what made these weights (an input that is always zero?), clip or prune them, or {IN_FLOAT}",
        "arXiv:2004.10568, section 3",
    )
