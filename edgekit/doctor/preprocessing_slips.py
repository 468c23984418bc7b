"""The usual slips of preprocessing, recognized by the straight line from training values to calibration values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgekit.data.spec import Preprocessing
from edgekit.doctor.sample_statistics import Samples

_TOLERANCE = 0.2


@dataclass(frozen=True)
class Slip:
    """A mistake that makes `scale * x + offset` of what an input should be."""

    scale: float
    offset: float
    what: str
    mend: str


def slip(ours: Samples, theirs: Samples, preprocessing: Preprocessing | None) -> Slip | None:
    """The slip that explains mean and deviation of the calibration samples best, if one does."""
    if not (ours.spread and theirs.spread):
        return None

    def distance(known: Slip) -> float:
        wide = abs(np.log(ours.spread / (known.scale * theirs.spread)))
        far = abs(ours.level - (known.scale * theirs.level + known.offset)) / ours.spread
        return float(max(wide, far))

    best = min((*_recorded(preprocessing), *_USUAL), key=distance)
    return best if distance(best) < _TOLERANCE else None


def _recorded(preprocessing: Preprocessing | None) -> Iterator[Slip]:
    """The recorded preprocessing (x - mean) * scale done twice, or not at all."""
    if preprocessing is None or not (preprocessing.mean or preprocessing.scale):
        return
    mean = float(np.mean(preprocessing.mean or (0.0,)))
    scale = float(np.mean(preprocessing.scale or (1.0,)))
    said = f"(x - {mean:g}) * {scale:g}"
    yield Slip(scale, -mean * scale, "the preprocessing was applied twice", f"apply {said} once")
    yield Slip(1 / scale, mean, "the preprocessing was not applied", f"apply {said}")


_USUAL = (
    Slip(1 / 255, 0, "they were divided by 255 once more", "divide by 255 once, or leave it to the model"),
    Slip(255, 0, "they were not divided by 255", "divide them by 255, as for training"),
    Slip(1 / 127.5, -1, "they were scaled to -1..1 once more", "scale them once: x / 127.5 - 1"),
    Slip(127.5, 127.5, "they are 0..255, not -1..1", "scale them: x / 127.5 - 1"),
    Slip(2, -1, "they are -1..1, not 0..1", "scale them to 0..1: x / 255"),
    Slip(0.5, 0.5, "they are 0..1, not -1..1", "scale them to -1..1: x / 127.5 - 1"),
    Slip(32768, 0, "they were not divided by 32768", "divide 16-bit audio by 32768, as for training"),
    Slip(1 / 32768, 0, "they were divided by 32768 once more", "divide 16-bit audio by 32768 once"),
)
