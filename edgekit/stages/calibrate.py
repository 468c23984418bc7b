"""Calibrate: statistics of every activation from one batched pass over the float32 TFLite file, and ranges of them.

Both quantizer engines take these ranges, so a model is calibrated once however many variants are made. The pass runs
in a child process (`observing`), with XNNPACK: a copy of the file has every inner tensor as an output, so the delegate
shows them, and runs in batches. What cannot run so runs sample by sample, and at last with the reference kernels.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DataError, RunError
from edgekit.stages import observing
from edgekit.stages.calibration_methods import needs_histograms, ranges
from edgekit.stages.inner_values import reason
from edgekit.stages.observed import Observed, Ranges, load_observed
from edgekit.stages.trained_ranges import noted_ranges
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.taps import with_inner_outputs

__all__ = ["Observed", "Ranges", "calibrate", "load_observed", "observe", "ranges"]

Array = np.ndarray[Any, Any]

_BATCH_BYTES, _LARGEST_BATCH = 32 << 20, 64
"""Of all watched tensors together: with 8 MiB, half of the time went into asking for small tensors one by one."""


def calibrate(model: bytes, samples: Sequence[Array], method: str = "minmax", bits: int = 8) -> Ranges:
    """Range of every float activation of `model`, by tensor name, over `samples`, by a method of `ranges`.

    `samples` holds one array `[samples, ...]` for each input, preprocessed as the model expects.

    Raises what `observe` and `ranges` raise.
    """
    return ranges(observe(model, samples, histograms=needs_histograms(method)), method, bits)


def observe(model: bytes, samples: Sequence[Array], *, histograms: bool = True) -> Observed:
    """Statistics of every float activation of `model` over `samples`, in one pass and bounded memory.

    `samples` holds one array `[samples, ...]` for each input, preprocessed as the model expects. Without `histograms`
    it takes about half the time and serves the methods `minmax` and `moving_average`.

    Raises DataError without samples or where they do not fit the inputs, RunError if the model cannot be run.
    """
    if not samples or len(samples[0]) == 0:
        raise DataError("no calibration data", "full int8 needs samples: give data with at least a few of each kind")
    contents = read_contents(model)
    _refuse_unfit(contents, samples)
    reasons: list[RunError] = []
    for way in _ways(model, contents):
        try:
            found = _in_child(way, contents, samples, histograms)
        except RunError as cause:
            reasons.append(cause)
            continue
        names = [contents.tensors[index].name for index in way.watched]
        slow = f"{way.name}, because {reasons[0].problem}" if reasons else ""
        return _observed(model, len(samples[0]), names, found, slow)
    raise reasons[-1]


def _observed(model: bytes, samples: int, names: Sequence[str], found: dict[str, Array], slow: str) -> Observed:
    written = ~(found["extremes"] == [np.inf, -np.inf]).all(axis=1)
    return Observed(
        hashlib.sha256(model).hexdigest(),
        samples,
        tuple(name for name, seen in zip(names, written, strict=True) if seen),
        **{name: array[written] for name, array in found.items()},
        given=noted_ranges(model),
        slow=slow,
    )


@dataclass(frozen=True)
class _Way:
    """How the samples go through a file: the bytes to run, and those that a batch is compared with."""

    name: str
    model: bytes
    watched: tuple[int, ...]
    batch: int
    single: bytes = b""
    reference: bool = False


def _ways(model: bytes, contents: ModelContents) -> list[_Way]:
    """The ways to run a file, the fastest first."""
    own = contents.inputs[0].shape[:1] if contents.inputs else ()
    fixed = max(own[0], 1) if own else 1
    written = [index for op in contents.operators if op.subgraph == 0 for index in op.outputs if index >= 0]
    watched = tuple(
        index
        for index in dict.fromkeys((*contents.input_indices, *written))
        if contents.tensors[index].dtype == "float32" and contents.tensors[index].name
    )
    tapped = with_inner_outputs(model)
    ways = [
        _Way("ran sample by sample", tapped, watched, fixed),
        _Way("ran with the reference kernels", model, watched, fixed, reference=True),
    ]
    if all(tensor.shape[:1] in ((1,), (-1,)) for tensor in contents.inputs):
        bytes_a_sample = sum(4 * contents.tensors[index].elements for index in watched)
        batch = min(max(_BATCH_BYTES // max(bytes_a_sample, 1), 2), _LARGEST_BATCH)
        ways.insert(0, _Way("ran in batches", batched_twin(tapped), watched, batch, single=tapped))
    return ways


def _refuse_unfit(contents: ModelContents, samples: Sequence[Array]) -> None:
    if len(samples) != len(contents.inputs):
        raise DataError(
            f"the calibration data has {len(samples)} inputs, the model {len(contents.inputs)}",
            f"give one array for each of: {', '.join(tensor.name for tensor in contents.inputs)}",
        )
    for array, tensor in zip(samples, contents.inputs, strict=True):
        found, wanted = array.shape[1:], tensor.shape[1:]
        if len(found) != len(wanted) or any(b not in (-1, a) for a, b in zip(found, wanted, strict=True)):
            raise DataError(
                f"calibration samples of shape {found} for the input {tensor.name!r} of shape {wanted}",
                "give the data in the shape that the model takes",
            )
        if len(array) != len(samples[0]):
            raise DataError(
                f"{len(array)} calibration samples for {tensor.name!r}, {len(samples[0])} for the first input",
                "give as many samples to each input",
            )


def _in_child(way: _Way, contents: ModelContents, samples: Sequence[Array], histograms: bool) -> dict[str, Array]:
    inputs = [(array.shape[1:], tensor.dtype) for array, tensor in zip(samples, contents.inputs, strict=True)]
    job = {
        "samples": len(samples[0]),
        "batch": way.batch,
        "resized": bool(way.single),
        "reference": way.reference,
        "histograms": histograms,
        "watched": way.watched,
        "inputs": inputs,
    }
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(way.model)
        (folder / "single.tflite").write_bytes(way.single)
        (folder / "job.json").write_text(json.dumps(job))
        _run_child(folder, way.batch, samples, [dtype for _, dtype in inputs])
        with np.load(folder / "found.npz") as stored:
            return dict(stored)


def _run_child(folder: Path, batch: int, samples: Sequence[Array], dtypes: Sequence[str]) -> None:
    """Run the child on all samples, batch after batch. Raises RunError where it does not end well.

    The samples are in a file, not in a pipe: on a busy machine each turn of two processes is a wait.
    """
    with (folder / "samples").open("wb") as file:
        for start in range(0, len(samples[0]), batch):
            for array, dtype in zip(samples, dtypes, strict=True):
                file.write(np.ascontiguousarray(array[start : start + batch], dtype).data)
    words = [sys.executable, "-m", observing.__name__, str(folder)]
    with (folder / "samples").open("rb") as file, (folder / "said").open("w") as said:
        process = subprocess.run(words, stdin=file, stdout=said, stderr=said, check=False)
    if process.returncode:
        why = reason(process.returncode, (folder / "said").read_text(errors="replace"))
        raise RunError(
            f"the model could not be run for calibration: {why}",
            "run `edgekit benchmark` on the float32 file to see whether it runs at all",
        )
