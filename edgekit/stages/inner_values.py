"""The inner tensors of a TFLite file for some samples, as the reference kernels compute them.

A child process runs the file without delegates, which would not show them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import RunError

Array = npt.NDArray[Any]


def inner_values(model: bytes, samples: Sequence[Array]) -> dict[int, Array]:
    """The stored values of every tensor that was written, by index: `[samples, ...]`, as many as fit into one run.

    `samples` has one array for each input, in the type of the file; the file runs one sample at a time, so tensors
    whose first axis is not one of size one are stacked along a new one. Raises RunError if the file cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        here = Path(folder)
        (here / "model.tflite").write_bytes(model)
        for index, array in enumerate(samples):
            np.save(here / f"input{index}.npy", array)
        words = [sys.executable, "-m", __spec__.name, folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            detail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise RunError(f"the file could not be run to look inside: {detail[0]}", "try `edgekit benchmark` on it")
        with np.load(here / "values.npz") as stored:
            return {int(name): stored[name] for name in stored.files}


def _observe(folder: Path) -> None:
    """The child: run one sample after the other, keep every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    samples = [np.load(folder / f"input{index}.npy") for index in range(len(list(folder.glob("input*.npy"))))]
    interpreter = Interpreter(
        model_path=str(folder / "model.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    inputs, found = interpreter.get_input_details(), dict[int, list[Array]]()
    batch = int(inputs[0]["shape"][0]) if len(inputs[0]["shape"]) else 1
    for start in range(0, len(samples[0]) - batch + 1, batch):
        for detail, array in zip(inputs, samples, strict=True):
            interpreter.set_tensor(detail["index"], array[start : start + batch])
        interpreter.invoke()
        for detail in interpreter.get_tensor_details():
            try:
                found.setdefault(detail["index"], []).append(interpreter.get_tensor(detail["index"]))
            except ValueError:  # never written
                continue
    np.savez(folder / "values.npz", **{str(index): _joined(arrays) for index, arrays in found.items()})  # type: ignore[arg-type]


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate(arrays) if arrays[0].ndim else np.stack(arrays)


if __name__ == "__main__":
    _observe(Path(sys.argv[1]))
