"""Bytes that go into a model which was trained on scaled ones: said before anybody wonders where the accuracy went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import Preprocessing
from edgekit.doctor.layer_error import Array
from edgekit.metrics import mean_value

Predict = Callable[[Sequence[Array]], Sequence[Array]]

_READINGS = {
    "scale = [0.003921569]": lambda x: x / 255,
    "mean = [127.5], scale = [0.007843137]": lambda x: x / 127.5 - 1,
}
_MOST, _FEWEST_ERRORS = 128, 6


def unprepared(data: Dataset, predict: Predict) -> str:
    """What to say where images of bytes go in as they are, and the float model is right far oftener on scaled ones.

    Judged on the first 128 validation samples: scaling has to take away half of the errors, and at least six on
    balance (by chance, that is as likely as six heads in a row). Empty where there is nothing to say.
    """
    part = data.validation.take(_MOST) if data.validation else None
    if part is None or part.labels is None or data.metric != "accuracy" or not _bytes_as_they_are(part):
        return ""
    errors = _errors(data, part, predict, lambda x: x)
    if errors < _FEWEST_ERRORS:
        return ""
    left, setting = min((_errors(data, part, predict, read), setting) for setting, read in _READINGS.items())
    if errors - left < max(_FEWEST_ERRORS, errors / 2):
        return ""
    return (
        f"the float model errs on {errors} of {len(part)} validation samples as they are (0 to 255), and on {left} "
        f"with {setting} under [preprocessing] in data.toml: give it so if it was trained so"
    )


def _bytes_as_they_are(part: Part) -> bool:
    """One image input of values up to 255, with no preprocessing of the data."""
    settings = part.preprocessing
    if len(part.inputs) != 1 or settings.mean or settings.scale:
        return False
    values = part.array()[0]
    return values.ndim == 4 and values.dtype.kind == "f" and bool(values.min() >= 0) and bool(100 < values.max() <= 255)


def _errors(data: Dataset, part: Part, predict: Predict, read: Callable[[Array], Array]) -> int:
    inputs = (read(part.array()[0]).astype(np.float32),)
    other = replace(part, inputs=inputs, preprocessing=Preprocessing())
    judged = data.judged(other, tuple(predict(inputs)))
    assert judged is not None  # the part has labels
    return round((1 - mean_value("accuracy", *judged)) * len(part))
