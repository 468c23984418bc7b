"""What the network takes of a window: the power of 64 bands, in units of 20 dB. It runs on the Pi as in training."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RATE, WINDOW, BANDS = 12_000, 4096, 64
"""Samples a second, and of a window: a third of a second, some nine turns of the shaft; and bands of its spectrum."""


def bands(windows: Array) -> Array:
    """Float32 `[windows, 64]` of acceleration in g `[windows, 4096]`: bands of equal width up to half the rate."""
    hann = np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows * hann)[:, 1:]) ** 2 / np.sum(hann**2)
    mean = power.reshape(len(windows), BANDS, -1).mean(axis=2)
    return (np.log10(mean + 1e-9) / 2).astype(np.float32)
