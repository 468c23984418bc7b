"""Run samples through a file in TensorFlow Lite Micro, in a process of its own, which a failed check there ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import RunError
from edgekit.package import micro_child
from edgekit.package.micro_arena import planned_arena
from edgekit.tflite.inspect import ModelContents
from edgekit.versions import version

Array = npt.NDArray[Any]

_ROOM_BYTES = 1 << 18
_SECONDS = 300.0


def micro_there() -> bool:
    """Whether tflite-micro is installed."""
    return find_spec("tflite_micro") is not None


def run_micro(
    model: bytes, contents: ModelContents, inputs: Sequence[Array], *, seconds: float = _SECONDS
) -> tuple[tuple[Array, ...], str]:
    """Outputs `[samples, ...]` for inputs `[samples, ...]` of the file's types, and the runtime's name.

    Raises RunError if TensorFlow Lite Micro refuses the file, or takes longer than `seconds`.
    """
    samples = len(inputs[0])
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        (folder / "sizes").write_text(f"{len(contents.outputs)} {2 * planned_arena(contents).bytes_64 + _ROOM_BYTES}")
        for place, array in enumerate(inputs):
            np.save(folder / f"input{place}.npy", array.reshape(samples, -1))
        done = _child(folder, seconds)
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()
            raise RunError(
                f"TensorFlow Lite Micro did not run the vectors: {last[-1] if last else done.returncode}",
                "`edgekit check -t` with the target names the operators that it does not have",
            )
        given = [np.load(folder / f"output{place}.npy") for place in range(len(contents.outputs))]
    shapes = (tensor.shape[1:] if tensor.shape[:1] in ((1,), (-1,)) else tensor.shape for tensor in contents.outputs)
    shaped = tuple(array.reshape(samples, *shape) for array, shape in zip(given, shapes, strict=True))
    return shaped, f"tflite-micro {version('tflite-micro')}"


def _child(folder: Path, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """The child, which is killed when the time is over."""
    words = [sys.executable, "-m", micro_child.__name__, str(folder)]
    told = {**os.environ, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            words, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=seconds, env=told
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"TensorFlow Lite Micro ran the vectors for {seconds:g} s without an end",
            "make sure that the model has no loop without an end; or take a smaller one",
        ) from None
