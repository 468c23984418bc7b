"""The Free Spoken Digit Dataset: 3,000 recordings of ten words by six people, 8 kHz, 16 bits (CC BY-SA 4.0).

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

has them in `recordings/` as `WORD_SPEAKER_TAKE.wav`. Takes 0 to 4 are its test part. An `.npz` may hold the same:
`audio` (int16, one after the other), `length`, `label`, and `index`, the take.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from frontend import CLIP, RATE

Array = np.ndarray[Any, Any]
TEST_TAKES = 5
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Recording(NamedTuple):
    """One spoken word: int16 `[samples]`."""

    samples: Array
    word: int
    take: int


def recordings(place: Path, takes: int) -> list[Recording]:
    """Those of the first `takes` takes, of a folder of WAV files or an `.npz`, in a fixed order."""
    found = _of_npz(place) if place.suffix == ".npz" else _of_folder(place)
    chosen = [one for one in found if one.take < takes]
    if not chosen:
        where = "git clone https://github.com/Jakobovski/free-spoken-digit-dataset"
        raise SystemExit(f"{place}: no recordings\n  mend: {where}, and give the folder recordings/ in it")
    return chosen


def clip(samples: Array, shift: int = 0) -> Array:
    """1.008 s from a recording, with silence around; `shift` samples later."""
    padded = np.concatenate([np.zeros(shift, np.int16), samples[: CLIP - shift]])
    return np.pad(padded, (0, CLIP - len(padded)))


def _of_folder(folder: Path) -> Iterator[Recording]:
    for path in sorted(folder.glob("*_*_*.wav")):
        word, _, take = path.stem.split("_")
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (RATE, 2, 1):
                raise SystemExit(f"{path}: not 8 kHz, 16 bits, one channel")
            yield Recording(np.frombuffer(file.readframes(file.getnframes()), "<i2"), int(word), int(take))


def _of_npz(path: Path) -> Iterator[Recording]:
    with np.load(path) as arrays:
        parts = np.split(arrays["audio"], np.cumsum(arrays["length"])[:-1])
        for samples, word, take in zip(parts, arrays["label"], arrays["index"], strict=True):
            yield Recording(samples, int(word), int(take))
