"""Calibrate: the range (min, max) of every activation, from one batched pass over the float32 TFLite file.

Both quantizer engines take these ranges, so a model is calibrated once however many variants are made. The pass runs
in a child process, without delegates (a delegate would not show its inner tensors).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DataError, RunError
from edgekit.stages.trained_ranges import noted_ranges
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.inspect import read_contents

Ranges = dict[str, tuple[float, float]]

_BATCH = 16


def calibrate(model: bytes, samples: Sequence[np.ndarray[Any, Any]]) -> Ranges:
    """Range of every float activation of `model`, by tensor name, over `samples`.

    `samples` holds one array `[samples, ...]` for each input, preprocessed as the model expects. Zero is always inside
    a range, as the integer schemes demand (arXiv:1712.05877, section 2.1). Ranges that training left in the file stand
    as they are.

    Raises DataError without samples or if a range is not finite, RunError if the model cannot be run.
    """
    if not samples or len(samples[0]) == 0:
        raise DataError("no calibration data", "full int8 needs samples: give data with at least a few of each kind")
    constants = {tensor.name for tensor in read_contents(model).tensors if tensor.constant_bytes}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        found = _in_child(Path(folder), model, samples)
    ranges = {name: pair for name, pair in found.items() if name not in constants}
    unsound = [name for name, pair in ranges.items() if not np.isfinite(pair).all()]
    if unsound:
        raise DataError(
            f"calibration gives an infinite or undefined range for {unsound[0]!r} ({len(unsound)} tensors)",
            "look for NaN or huge values in the calibration data or the weights",
        )
    found = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ranges.items()}
    return found | {name: pair for name, pair in noted_ranges(model).items() if name in found}


def _in_child(folder: Path, model: bytes, samples: Sequence[np.ndarray[Any, Any]]) -> Ranges:
    (folder / "model.tflite").write_bytes(model)
    (folder / "twin.tflite").write_bytes(batched_twin(model))
    for index, array in enumerate(samples):
        np.save(folder / f"input{index}.npy", array)
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        detail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RunError(
            f"the model could not be run for calibration: {detail[0]}",
            "run `edgekit benchmark` on the float32 file to see whether it runs at all",
        )
    found: Ranges = json.loads((folder / "ranges.json").read_text())
    return found


def _observe(folder: Path) -> None:
    """The child: run all samples, keep a running minimum and maximum of each tensor."""
    count = len(list(folder.glob("input*.npy")))
    samples = [np.load(folder / f"input{index}.npy", mmap_mode="r") for index in range(count)]
    try:
        interpreter, batch = _prepared(folder / "twin.tflite", samples, _BATCH), _BATCH
    except (RuntimeError, ValueError):  # a constant besides RESHAPE holds the batch: one sample at a time
        interpreter, batch = _prepared(folder / "model.tflite", samples, 0), 1
    details = interpreter.get_input_details()
    batch = int(details[0]["shape"][0]) if batch == 1 else batch
    watched = [d for d in interpreter.get_tensor_details() if d["dtype"] == np.float32 and d["name"]]
    ranges: dict[str, list[float]] = {}
    for start in range(0, len(samples[0]), batch):
        for detail, array in zip(details, samples, strict=True):
            interpreter.set_tensor(detail["index"], _padded(array[start : start + batch], batch, detail["dtype"]))
        interpreter.invoke()
        for detail in watched:
            _widen(ranges, interpreter, detail)
    (folder / "ranges.json").write_text(json.dumps(ranges))


def _prepared(path: Path, samples: list[np.ndarray[Any, Any]], batch: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=2,
    )
    if batch:
        for detail, array in zip(interpreter.get_input_details(), samples, strict=True):
            interpreter.resize_tensor_input(detail["index"], [batch, *array.shape[1:]])
    interpreter.allocate_tensors()
    if batch:
        interpreter.invoke()
    return interpreter


def _padded(array: np.ndarray[Any, Any], batch: int, dtype: Any) -> np.ndarray[Any, Any]:
    """The last batch is filled up with its own last sample, which changes no range."""
    missing = batch - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]).astype(dtype, copy=False)


def _widen(ranges: dict[str, list[float]], interpreter: Any, detail: dict[str, Any]) -> None:
    try:
        values = interpreter.get_tensor(detail["index"])
    except ValueError:  # never written: a weight that was packed away, or a branch not taken
        return
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    known = ranges.setdefault(detail["name"], [low, high])
    known[0], known[1] = min(known[0], low), max(known[1], high)


if __name__ == "__main__":
    _observe(Path(sys.argv[1]))
