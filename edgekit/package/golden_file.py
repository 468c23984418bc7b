"""Golden vectors as a value and as a file: `.npz`, `.json`, or raw bytes in an archive, each exact."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.data.npz import read_arrays
from edgekit.errors import DataError, InputError, OutputError
from edgekit.new_file import write_new
from edgekit.package.archive import archive_bytes, archive_suffix, zip_bytes
from edgekit.tflite.inspect import TensorInfo
from edgekit.tflite.numbers import to_real

Array = npt.NDArray[Any]

# What a file that is none, or was edited, makes the readers of JSON, zip and arrays raise.
_DAMAGE = (
    *(DataError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError),
    msgspec.MsgspecError,
)


class GoldenTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output: `real = (stored - zero_point) * scale` if it has a scale.

    `shape` is that of one sample; `tolerance` is what another runtime may differ by, in real numbers (inputs: 0).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    tolerance: float


class GoldenHead(Struct, frozen=True, forbid_unknown_fields=True):
    """What the vectors are of and how they were made; `data` is what the user called the samples, else random ones.

    `xnnpack_compared` is False where XNNPACK could not run the file, so that tolerances are one quantum alone.
    """

    model_sha256: str
    runtime: str
    samples: int
    seed: int | None
    data: str | None
    inputs: tuple[GoldenTensor, ...]
    outputs: tuple[GoldenTensor, ...]
    xnnpack_compared: bool
    format_version: Literal[1] = 1


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    head: GoldenHead
    inputs: tuple[tuple[list[Any], ...], ...]
    outputs: tuple[tuple[list[Any], ...], ...]


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """Stored values, one `[samples, *shape]` array for each input and output, in the order of the file."""

    head: GoldenHead
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    def raw(self) -> dict[str, bytes]:
        """The bytes of each tensor of each sample, little-endian, row-major: `sample0/input0.bin` and so on."""
        sides = (("input", self.inputs), ("output", self.outputs))
        return {
            f"sample{sample}/{side}{place}.bin": _little(array[sample]).tobytes()
            for sample in range(self.head.samples)
            for side, arrays in sides
            for place, array in enumerate(arrays)
        }

    def to_json(self) -> bytes:
        """Head and values as JSON; the values of a tensor are one flat row-major list, in its dtype exactly."""
        flat = (
            tuple(tuple(row.ravel().tolist() for row in array) for array in arrays)
            for arrays in (self.inputs, self.outputs)
        )
        return msgspec.json.format(msgspec.json.encode(_Document(self.head, *flat)), indent=1) + b"\n"

    def to_npz(self) -> bytes:
        """An `.npz` with `head` (JSON), `input0`, ..., `output0`, ...; the same bytes every time."""
        arrays = {"head": np.array(msgspec.json.encode(self.head).decode())}
        arrays |= {f"input{place}": array for place, array in enumerate(self.inputs)}
        arrays |= {f"output{place}": array for place, array in enumerate(self.outputs)}
        return zip_bytes({f"{name}.npy": _npy(array) for name, array in arrays.items()})

    def to_archive(self, suffix: str) -> bytes:
        """A zip or tar of the raw bytes and `vectors.json`."""
        return archive_bytes(suffix, {**self.raw(), "vectors.json": self.to_json()})

    def save(self, path: Path) -> None:
        """Write `.json`, `.npz`, or an archive of raw bytes, by the suffix.

        Raises OutputError for another one, or a place that cannot be written.
        """
        suffix = path.suffix.lower()
        writers: dict[str, Callable[[], bytes]] = {".json": self.to_json, ".npz": self.to_npz}
        if archived := archive_suffix(path):
            writers[suffix] = lambda: self.to_archive(archived)
        if suffix not in writers:
            raise OutputError(f"{path}: no format of golden vectors", "end the name in .json, .npz, .zip or .tar.gz")
        write_new(path, writers[suffix](), overwrite=True)

    def worst(self, outputs: Sequence[Array]) -> tuple[float, ...]:
        """How far another runtime's stored outputs are off, by output, in tolerances: at most 1 is as good as equal.

        Raises InputError for outputs of other shapes.
        """
        if [array.shape for array in outputs] != [array.shape for array in self.outputs]:
            raise InputError(
                f"outputs of the shapes {[array.shape for array in outputs]}, the golden ones have "
                f"{[array.shape for array in self.outputs]}",
                "run the same samples through the same file",
            )
        return tuple(map(_distance, outputs, self.outputs, self.head.outputs))


def load_vectors(path: Path) -> GoldenVectors:
    """Read what `save` wrote as `.json` or `.npz`. Raises InputError for any other file."""
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}", "give a file that can be read") from None
    return read_vectors(data, str(path))


def read_vectors(data: bytes, name: str) -> GoldenVectors:
    """The golden vectors in the bytes of a `.json` or `.npz`. Raises InputError, with the name, for others."""
    try:
        return _from_npz(data, name) if data.startswith(b"PK") else _from_json(data)
    except _DAMAGE as cause:
        reason = cause.problem if isinstance(cause, DataError) else cause
        raise InputError(f"{name}: no golden vectors ({reason})", "give a .json or .npz of `edgekit vectors`") from None


def apart(one: Array, other: Array, tensor: TensorInfo) -> float:
    """Largest difference in real numbers."""
    return float(np.abs(to_real(one, tensor).astype(np.float64) - to_real(other, tensor)).max(initial=0))


def _distance(found: Array, golden: Array, tensor: GoldenTensor) -> float:
    """Largest difference over the tolerance; infinite for NaN, or where none is allowed and there is one."""
    info = TensorInfo(tensor.name, tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point)
    off = apart(found, golden, info)
    if np.isnan(off):
        return float("inf")
    return off / tensor.tolerance if tensor.tolerance else (float("inf") if off else 0.0)


def _little(array: Array) -> Array:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
    return stream.getvalue()


def _from_json(data: bytes) -> GoldenVectors:
    document = msgspec.json.decode(data, type=_Document)
    sides = ((document.inputs, document.head.inputs), (document.outputs, document.head.outputs))
    inputs, outputs = (
        tuple(
            np.array(rows, tensor.dtype).reshape(document.head.samples, *tensor.shape)
            for rows, tensor in zip(values, tensors, strict=True)
        )
        for values, tensors in sides
    )
    return GoldenVectors(document.head, inputs, outputs)


def _from_npz(data: bytes, name: str) -> GoldenVectors:
    arrays = read_arrays(Path(name), io.BytesIO(data))
    head = msgspec.json.decode(str(arrays["head"]), type=GoldenHead)
    inputs = tuple(arrays[f"input{place}"] for place in range(len(head.inputs)))
    outputs = tuple(arrays[f"output{place}"] for place in range(len(head.outputs)))
    for array, tensor in zip((*inputs, *outputs), (*head.inputs, *head.outputs), strict=True):
        if (array.dtype.name, array.shape) != (tensor.dtype, (head.samples, *tensor.shape)):
            raise ValueError(f"{tensor.name!r} is {array.dtype.name} of shape {array.shape}, unlike the head says")
    return GoldenVectors(head, inputs, outputs)
