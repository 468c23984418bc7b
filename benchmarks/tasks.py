"""The data that networks are judged on, each made once into an npz file.

Compression has Fashion-MNIST and spoken digits; scikit-learn's handwritten digits are on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.dataset import Dataset, load_dataset

Array = np.ndarray[Any, Any]
Parts = dict[str, Array]

_TRAIN, _VALIDATION, _CALIBRATION = 8_000, 1_000, 200
_DIGITS = 1_200  # in the training part of the demo
_RATE, _FRAME, _HOP, _FRAMES, _BANDS = 8_000, 512, 256, 32, 32


def task(name: str, shared: Path, work: Path) -> Dataset:
    """The data set of this name, made from the folder of shared data."""
    path = work / f"{name}.npz"
    if not path.exists():
        np.savez(path, **(TASKS | ANYWHERE)[name](shared / "sets"))
    return load_dataset(path)


def fashion(folder: Path, validation: int = _VALIDATION, whole: bool = False) -> Parts:
    """Fashion-MNIST, 28x28, in [0, 1]: 8,000 samples to train on, others to choose by, the official test part.

    With `whole` the test part has all that is left over, too: 60,000 less those that train and choose.
    """
    with np.load(folder / "fashion_mnist.npz") as found:
        x, y, x_test, y_test = (found[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    order, rest = np.split(np.random.default_rng(0).permutation(len(x)), [_TRAIN + validation])
    if whole:
        x_test, y_test = np.concatenate([x_test, x[rest]]), np.concatenate([y_test, y[rest]])
    return _split((x / 255.0)[..., None], y, order, (x_test / 255.0)[..., None], y_test)


def spoken(folder: Path, test: int = 5, validation: int = 5) -> Parts:
    """Spoken digits as log-mel images `[32 frames, 32 bands, 1]` of 1.06 s, of 50 recordings of each word and speaker.

    The first `test` of them are the test part (5: the official one), the next `validation` choose; each of the rest is
    there twice, once shifted in time by up to 0.1 s.
    """
    with np.load(folder / "fsdd.npz") as found:
        audio, length, y, index = (found[key] for key in ("audio", "length", "label", "index"))
    clips = np.split(audio.astype(np.float32) / 32768, np.cumsum(length)[:-1])
    rng = np.random.default_rng(0)
    x = np.stack([log_mel(clip) for clip in clips])
    shifted = np.stack([log_mel(clip, int(rng.integers(1, _RATE // 10))) for clip in clips])
    mean, scale = x[index >= test].mean(), x[index >= test].std()
    x, shifted = ((part - mean) / scale for part in (x, shifted))
    chooses = (index >= test) & (index < test + validation)
    learns = index >= test + validation
    calibration = rng.permutation(np.flatnonzero(learns))[:_CALIBRATION]
    return {
        "x_train": np.concatenate([x[learns], shifted[learns]]).astype(np.float32),
        "y_train": np.concatenate([y[learns], y[learns]]),
        "x_validation": x[chooses].astype(np.float32),
        "y_validation": y[chooses],
        "x_calibration": x[calibration].astype(np.float32),
        "x_test": x[index < test].astype(np.float32),
        "y_test": y[index < test],
    }


def digits(_: Path) -> Parts:
    """Scikit-learn's 1,797 handwritten digits, 8x8, in [0, 1]; the test part is that of the demo."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    images, labels = (x[order] / 16).reshape(-1, 8, 8, 1), y[order]
    test, train = slice(_DIGITS, None), np.arange(_DIGITS)
    return _split(images, labels, train, images[test], labels[test], _DIGITS - _DIGITS // 6)


def large_digits(folder: Path) -> Parts:
    """The same digits with each pixel four times in both directions, 32x32."""
    block = np.ones((1, 4, 4, 1), np.float32)
    return {name: np.kron(part, block) if part.ndim == 4 else part for name, part in digits(folder).items()}


def log_mel(clip: Array, start: int = 0) -> Array:
    """Logarithm of the energy in mel bands `[32, 32, 1]`; the clip begins after `start` samples of silence."""
    samples = np.zeros(_HOP * (_FRAMES - 1) + _FRAME, np.float32)
    kept = clip[: len(samples) - start]
    samples[start : start + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME))) ** 2
    return np.log(power @ _mel_bands() + 1e-6)[..., None]


def _mel_bands() -> Array:
    """Triangles `[bins, bands]`, equally wide on the mel scale 2595 log10(1 + f / 700), up to half the rate."""
    top = 2595 * np.log10(1 + _RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FRAME, 1 / _RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))


def _split(x: Array, y: Array, order: Array, x_test: Array, y_test: Array, training: int = _TRAIN) -> Parts:
    train, validation = order[:training], order[training:]
    x, x_test = x.astype(np.float32), x_test.astype(np.float32)
    return {
        "x_train": x[train],
        "y_train": y[train],
        "x_validation": x[validation],
        "y_validation": y[validation],
        "x_calibration": x[train[:_CALIBRATION]],
        "x_test": x_test,
        "y_test": y_test,
    }


TASKS: dict[str, Callable[[Path], Parts]] = {"fashion": fashion, "spoken": spoken}
ANYWHERE: dict[str, Callable[[Path], Parts]] = {"digits": digits, "large digits": large_digits}
