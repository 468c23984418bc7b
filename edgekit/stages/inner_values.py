"""The inner tensors of a TFLite file for some samples, as the reference kernels compute them.

A child process runs the file without delegates, which would not show them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, RunError
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents

Array = npt.NDArray[Any]


def inner_values(model: bytes, samples: Sequence[Array]) -> list[dict[int, Array]]:
    """The stored values of every tensor that was written, by index, for each run: the shapes are those of the file.

    `samples` has one array for each input, in the type of the file; a run takes as many as the file's batch.
    Raises DataError for fewer samples than that, RunError if the file cannot be run.
    """
    batch = read_graph(model).batch
    if len(samples[0]) < batch:
        raise DataError(
            f"{len(samples[0])} samples, and the file takes {batch} at once",
            f"give {batch} samples at least, or a file made with a smaller batch",
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        here = Path(folder)
        (here / "model.tflite").write_bytes(model)
        for index, array in enumerate(samples):
            np.save(here / f"input{index}.npy", array)
        words = [sys.executable, "-m", __spec__.name, folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(
                f"the file could not be run to look inside: {reason(done.returncode, done.stderr)}",
                "try `edgekit benchmark` on it, with and without --no-xnnpack, and `edgekit inspect`",
            )
        return [_loaded(here / f"run{number}.npz") for number in range(len(list(here.glob("run*.npz"))))]


def reason(code: int, said: str) -> str:
    """The last line that a child said, or what it died of."""
    if code < 0:
        return f"it crashed the interpreter ({signal.Signals(-code).name})"
    return (said.strip().splitlines() or [f"exit code {code}"])[-1]


def _loaded(path: Path) -> dict[int, Array]:
    with np.load(path) as stored:
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
    inputs = interpreter.get_input_details()
    batch = int(inputs[0]["shape"][0]) if len(inputs[0]["shape"]) else 1
    tensors = read_contents(folder / "model.tflite").tensors
    constants = {index for index, tensor in enumerate(tensors) if tensor.constant_bytes}
    for number, start in enumerate(range(0, len(samples[0]) - batch + 1, batch)):
        for detail, array in zip(inputs, samples, strict=True):
            interpreter.set_tensor(detail["index"], array[start : start + batch])
        interpreter.invoke()
        np.savez(folder / f"run{number}.npz", **_tensors(interpreter, constants))  # type: ignore[arg-type]


def _tensors(interpreter: Any, constants: set[int]) -> dict[str, Array]:
    found = {}
    for detail in interpreter.get_tensor_details():
        if detail["index"] in constants:
            continue
        try:
            found[str(detail["index"])] = interpreter.get_tensor(detail["index"])
        except ValueError:  # never written
            continue
    return found


if __name__ == "__main__":
    _observe(Path(sys.argv[1]))
