"""Samples of a user's data as a deployed file takes them: prepared, and in the numbers that it stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.evaluate import open_file
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import Array, to_stored

_MOST_SAMPLES = 64


@dataclass(frozen=True)
class RealInputs:
    """One `[samples, ...]` array for each input of a file, of its type; `data` is what the user called them."""

    data: str
    arrays: tuple[Array, ...]


def real_inputs(
    model: Path,
    data: str,
    options: Mapping[str, object] | None = None,
    count: int = _MOST_SAMPLES,
    trust: bool = False,
) -> RealInputs:
    """At most `count` samples of the test part of `data`, spread over its classes, for the `.tflite` file `model`.

    The preprocessing that an artifact records is applied, unless `options` say otherwise; `trust` lets a `data.toml`
    name Python that is run. Raises ModelError, DataError.
    """
    file, dataset = open_file(model, data, options, trust)
    ready = dataset.part("test").take(count).array()
    tensors = read_contents(file, str(model)).inputs
    return RealInputs(data, tuple(to_stored(array, tensor) for array, tensor in zip(ready, tensors, strict=True)))
