"""Observed: what every activation of a float32 file was, over some samples; kept in a file, and used again."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, ModelError
from edgekit.new_file import write_new

Array = npt.NDArray[Any]
Ranges = dict[str, tuple[float, float]]

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Observed:
    """Statistics of every activation, in the order of `names`.

    `extremes` and `smoothed` are `[tensors, 2]`: least and greatest value, and those of each sample smoothed over the
    samples. `counts` is `[tensors, bins]`, or `[tensors, 0]` where no histograms were asked for; half of the bins are
    below zero, and together they reach from -2 ** exponent to 2 ** exponent. `given` are ranges that training left in
    the file. `slow` says why the samples did not run in batches with XNNPACK; empty where they did.
    """

    model_sha256: str
    samples: int
    names: tuple[str, ...] = field(repr=False)
    extremes: Array = field(repr=False)
    smoothed: Array = field(repr=False)
    exponents: Array = field(repr=False)
    counts: Array = field(repr=False)
    given: Ranges = field(default_factory=dict, repr=False)
    slow: str = ""

    def save(self, path: Path) -> None:
        """Write it as a file, usually `*.calibration`. Raises OutputError where it cannot be written."""
        write_new(path, self.to_bytes(), overwrite=True)

    def to_bytes(self) -> bytes:
        """It as numpy's `.npz`; the same statistics give the same bytes."""
        head = {
            "format_version": FORMAT_VERSION,
            "model_sha256": self.model_sha256,
            "samples": self.samples,
            "names": self.names,
            "given": self.given,
            "slow": self.slow,
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        file = io.BytesIO()
        np.savez_compressed(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
        return file.getvalue()


_ARRAYS = ("extremes", "smoothed", "exponents", "counts")


def load_observed(path: Path, model: bytes) -> Observed:
    """The statistics that were saved for this very float32 file.

    Raises DataError where the file cannot be read or is of another format, ModelError where it is of another model.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        mend = "make one with `observe(model, samples).save(path)`"
        raise DataError(f"calibration file {path}: {cause.strerror}", mend) from None
    return observed_from(data, model, str(path))


def observed_from(data: bytes, model: bytes, label: str = "calibration") -> Observed:
    """The statistics that `to_bytes` gave. Raises what `load_observed` raises."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            version = head.pop("format_version")
            found = _from_parts(head, {name: stored[name] for name in _ARRAYS}) if version == FORMAT_VERSION else None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as cause:
        raise DataError(f"{label} is no calibration file: {cause}", "calibrate again") from None
    if found is None:
        raise DataError(f"{label} has format version {version}, this edgekit reads {FORMAT_VERSION}", "calibrate again")
    if found.model_sha256 != hashlib.sha256(model).hexdigest():
        raise ModelError(f"{label} is the calibration of another float32 file", "calibrate this model again")
    return found


def _from_parts(head: dict[str, Any], arrays: dict[str, Array]) -> Observed:
    """Raises what comes of parts that are missing or do not fit together."""
    given = {name: (float(low), float(high)) for name, (low, high) in head["given"].items()}
    found = Observed(**{**head, **arrays, "names": tuple(head["names"]), "given": given})
    rows = len(found.names)
    shapes = (found.extremes.shape, found.smoothed.shape, found.exponents.shape, found.counts.shape[:-1])
    if shapes != ((rows, 2), (rows, 2), (rows,), (rows,)):
        raise ValueError(f"statistics of the shapes {shapes} for {rows} tensors")
    return found
