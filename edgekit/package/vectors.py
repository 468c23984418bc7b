"""Golden vectors for a self-test: made inputs, and what the interpreter on this machine computes from them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.bench.run import infer
from edgekit.errors import ModelError, RunError
from edgekit.package import micro_child
from edgekit.package.micro_arena import planned_arena
from edgekit.tflite.flatbuffer import read_bytes
from edgekit.tflite.inspect import ModelContents, TensorInfo
from edgekit.verify import quantum
from edgekit.versions import version

Array = npt.NDArray[Any]

_MOST_VECTORS = 4
_MOST_BYTES = 1 << 16
_ROOM_BYTES = 1 << 18
_INDEX_TYPES = {"int32", "int64", "bool"}


@dataclass(frozen=True)
class Tensor:
    """What one input takes, or one output gives: `[vectors, elements]`, and by how much a value may differ."""

    values: Array
    tolerance: float


@dataclass(frozen=True)
class Vectors:
    """Vectors in the order in which a file with states has to be given them after its start."""

    count: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    runtime: str


def make_vectors(model: bytes | Path, contents: ModelContents, seed: int = 0) -> Vectors:
    """Up to four vectors, fewer where they would take more than 64 KiB; quantized values come from all of their range.

    Floats are multiples of 1/256 in [0, 1); integers without a scale, which may be places in a table, are 0 or 1. The
    outputs are those of TensorFlow Lite Micro where it is installed, else of LiteRT without its delegate, whose kernels
    round otherwise: on a ResNet of 8 layers random inputs gave 28 quanta of difference. Raises RunError if the model
    cannot be run or gives no finite numbers, MissingDependency without a runtime.
    """
    size = sum(_elements(tensor) * _dtype(tensor).itemsize for tensor in (*contents.inputs, *contents.outputs))
    count = max(1, min(_MOST_VECTORS, _MOST_BYTES // max(size, 1)))
    bits = np.random.PCG64(seed)
    inputs = [_made(bits, tensor, count) for tensor in contents.inputs]
    given, runtime = (_in_micro if find_spec("tflite_micro") else _in_litert)(model, contents, inputs, count)
    outputs = [_given(array, tensor, count) for array, tensor in zip(given, contents.outputs, strict=True)]
    return Vectors(count, tuple(Tensor(array, 0.0) for array in inputs), tuple(outputs), runtime)


def _in_litert(
    model: bytes | Path, contents: ModelContents, inputs: list[Array], count: int
) -> tuple[Sequence[Array], str]:
    shaped = [array.reshape(_samples(tensor, count)) for array, tensor in zip(inputs, contents.inputs, strict=True)]
    done = infer(model, shaped, xnnpack=False)
    return done.outputs, f"{done.runtime.name} {done.runtime.version}"


def _in_micro(
    model: bytes | Path, contents: ModelContents, inputs: list[Array], count: int
) -> tuple[Sequence[Array], str]:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(read_bytes(model))
        (folder / "sizes").write_text(f"{len(contents.outputs)} {2 * planned_arena(contents).bytes_64 + _ROOM_BYTES}")
        for place, array in enumerate(inputs):
            np.save(folder / f"input{place}.npy", array)
        done = subprocess.run([sys.executable, "-m", micro_child.__name__, folder], capture_output=True, check=False)
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()
            raise RunError(f"TensorFlow Lite Micro did not run the vectors: {last[-1] if last else done.returncode}")
        given = [np.load(folder / f"output{place}.npy") for place in range(len(contents.outputs))]
    return given, f"tflite-micro {version('tflite-micro')}"


def _made(bits: np.random.PCG64, tensor: TensorInfo, count: int) -> Array:
    """`[count, elements]` from the bit generator itself, whose stream is the same in every version of numpy."""
    dtype, elements = _dtype(tensor), _elements(tensor)
    need = count * elements * dtype.itemsize
    raw = np.asarray(bits.random_raw(-(-need // 8)), "<u8").view(np.uint8)[:need]
    if dtype.kind == "f":
        values = (raw[: count * elements].astype(np.float32) / 256).astype(dtype)
    elif tensor.dtype in _INDEX_TYPES:
        values = (raw[: count * elements] & 1).astype(dtype)
    else:
        values = raw.view(dtype.newbyteorder("<")).astype(dtype)
    return values.reshape(count, elements)


def _samples(tensor: TensorInfo, count: int) -> tuple[int, ...]:
    """The runner splits axis 0 where the file's own batch is one, and takes an axis in front of all others."""
    shape = tuple(max(size, 1) for size in tensor.shape)
    return (count, *shape[1:]) if shape[:1] == (1,) else (count, *shape)


def _given(array: Array, tensor: TensorInfo, count: int) -> Tensor:
    values = array.reshape(count, -1)
    if values.shape[1] != _elements(tensor):
        raise RunError(
            f"output {tensor.name!r} has {values.shape[1]} elements, the file says {_elements(tensor)}",
            "convert with fixed shapes",
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise RunError(f"output {tensor.name!r} is not finite on made inputs", "train or convert the model again")
    floats = values.dtype.kind == "f"
    return Tensor(values, quantum(tensor, values) if floats else float(tensor.dtype not in _INDEX_TYPES))


def _elements(tensor: TensorInfo) -> int:
    return tensor.elements


def _dtype(tensor: TensorInfo) -> np.dtype[Any]:
    try:
        return np.dtype(tensor.dtype)
    except TypeError:
        raise ModelError(f"{tensor.name!r} is of type {tensor.dtype}", "use int8 inputs and outputs") from None
