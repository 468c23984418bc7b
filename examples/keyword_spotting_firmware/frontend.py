"""The front end: from 1 s of speech to the 62 x 24 int8 numbers that the model takes; in integers, as firmware/ has it.

Every step is whole-number arithmetic that C does alike, so what the model was trained on is what the device computes,
to the last bit. `python frontend.py FOLDER` writes the tables of both as C headers: no number is written twice.

    window of 256 samples, every 128    Hann, Q15
    -> spectrum                         radix-2 FFT; products rounded back from Q15, sums exact in 32 bits
    -> 24 energies                      triangles evenly spaced in mel (O'Shaughnessy 1987), 125 Hz to 3.9 kHz
    -> logarithm                        12 steps an octave: 1 step is 0.25 dB
    -> features                         steps below the loudest of the clip, cut off at 64 dB: -128 to 127
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RATE, WINDOW, HOP, FRAMES, BANDS = 8000, 256, 128, 62, 24
CLIP = HOP * (FRAMES + 1)
"""Samples of a clip: 1.008 s."""
STEPS = 12
"""Of the logarithm, in an octave of energy."""
SPARE = 4
"""Bits that samples get behind the point: the spectrum of 16 bits and these fits 32, quiet speech keeps its shape."""
_ONE = 1 << 15
_BITS = WINDOW.bit_length() - 1


def _q15(values: Array) -> Array:
    return np.minimum(np.rint(values * _ONE), _ONE - 1).astype(np.int64)


def _mel(hertz: Array | float) -> Any:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _triangles(low: float = 125, high: float = 3900) -> Array:
    """Weights `[bands, bins]`, Q8: each band rises from the middle of the one before, and falls to that of the next."""
    edges = np.linspace(_mel(low), _mel(high), BANDS + 2)
    bins = _mel(np.arange(WINDOW // 2) * RATE / WINDOW)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return np.rint(256 * np.clip(np.minimum(rising, falling), 0, None)).astype(np.int64)


HANN = _q15(np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2)
COSINE = _q15(np.cos(2 * np.pi * np.arange(WINDOW // 2) / WINDOW))
SINE = _q15(np.sin(2 * np.pi * np.arange(WINDOW // 2) / WINDOW))
ORDER = np.array([int(f"{place:0{_BITS}b}"[::-1], 2) for place in range(WINDOW)])
TRIANGLES = _triangles()
LOG2 = np.rint(STEPS * np.log2(np.arange(128, 256) / 128)).astype(np.int64)


def energies(clip: Array) -> Array:
    """Logarithms of the energy of each band, `[frames, bands]`, of int16 samples `[samples]`; 0 where there is none."""
    windows = np.lib.stride_tricks.sliding_window_view(clip.astype(np.int64), WINDOW)[::HOP]
    real, imaginary = spectrum(_rounded(windows * HANN, 15 - SPARE).T)
    power = real[: WINDOW // 2] ** 2 + imaginary[: WINDOW // 2] ** 2
    return logarithm(TRIANGLES @ power).T


def features(levels: Array) -> Array:
    """What the model takes, int8 `[frames, bands]`: the loudest is 127, and what is 64 dB or more below it -128."""
    return np.maximum(levels - levels.max() + 127, -128).astype(np.int8)


def spectrum(x: Array) -> tuple[Array, Array]:
    """Real and imaginary part of the Fourier transform of integers `[256, frames]` (Cooley and Tukey 1965)."""
    real, imaginary = x[ORDER], np.zeros(x.shape, np.int64)
    half = 1
    while half < WINDOW:
        turn = np.arange(half) * (WINDOW // 2 // half)
        cosine, sine = COSINE[turn, None], SINE[turn, None]
        (a, b), (c, d) = (part.reshape(-1, 2, half, x.shape[1]).swapaxes(0, 1) for part in (real, imaginary))
        e, f = _rounded(b * cosine + d * sine), _rounded(d * cosine - b * sine)
        b[:], d[:] = a - e, c - f
        a += e
        c += f
        half *= 2
    return real, imaginary


def logarithm(energy: Array) -> Array:
    """12 log2(energy), from the place of the highest bit and the seven below it; 0 for 0."""
    energy = np.maximum(energy, 1)
    octave = np.frexp(energy & ~(energy >> 1))[1] - 1  # without the second bit no rounding reaches the next power
    mantissa = np.where(octave > 7, energy >> np.maximum(octave - 7, 0), energy << np.maximum(7 - octave, 0))
    return octave * STEPS + LOG2[mantissa - 128]


def _rounded(product: Array, bits: int = 15) -> Array:
    return (product + (1 << bits - 1)) >> bits


def sizes() -> str:
    """The sizes as a C header."""
    named = {"WINDOW": WINDOW, "HOP": HOP, "FRAMES": FRAMES, "BANDS": BANDS, "STEPS": STEPS, "SPARE": SPARE}
    return "".join(f"#define FRONTEND_{name} {value}\n" for name, value in named.items())


def tables() -> str:
    """The tables as C; of a triangle only the bins above 0."""
    above = TRIANGLES > 0
    named = [
        *(("int16_t", "hann", HANN), ("int16_t", "cosine", COSINE), ("int16_t", "sine", SINE)),
        *(("uint8_t", "order", ORDER), ("uint8_t", "log2_steps", LOG2)),
        *(("uint8_t", "band_first", above.argmax(axis=1)), ("uint8_t", "band_bins", above.sum(axis=1))),
        ("uint16_t", "band_weights", TRIANGLES[above]),
    ]
    return "".join(
        f"static const {kind} {name}[{len(values)}] = {{{', '.join(map(str, values.tolist()))}}};\n"
        for kind, name, values in named
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frontend_sizes.h").write_text("/* Made by frontend.py. */\n" + sizes())
    (folder / "frontend_tables.h").write_text("/* Made by frontend.py. */\n#include <stdint.h>\n\n" + tables())
