"""Golden vectors: a few inputs of a file and what the real interpreter makes of them, to check a package against.

The interpreter runs in a process of its own, without XNNPACK, whose kernels differ from one CPU to another. Runtimes
may still differ by a quantum, or by a ten-thousandth of the range of a float output: `tolerance` says by how much.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.bench.plan import Plan
from edgekit.bench.run import infer
from edgekit.device.protocol import Device
from edgekit.errors import InputError, ModelError, OutputError
from edgekit.package.archive import archive_bytes, archive_suffix, zip_bytes
from edgekit.real_inputs import RealInputs
from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents
from edgekit.tflite.numbers import to_real
from edgekit.verify import quantum

Array = npt.NDArray[Any]

_MADE_UP = {
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
# What a file that is none, or was edited, makes the readers of JSON, zip and arrays raise.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, OverflowError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError)


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
    """What the vectors are of and how they were made; `data` is what the user called the samples, else random ones."""

    model_sha256: str
    runtime: str
    samples: int
    seed: int | None
    data: str | None
    inputs: tuple[GoldenTensor, ...]
    outputs: tuple[GoldenTensor, ...]
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
        """Write `.json`, `.npz`, or an archive of raw bytes, by the suffix. Raises OutputError for another one."""
        suffix = path.suffix.lower()
        writers: dict[str, Callable[[], bytes]] = {".json": self.to_json, ".npz": self.to_npz}
        if archived := archive_suffix(path):
            writers[suffix] = lambda: self.to_archive(archived)
        if suffix not in writers:
            raise OutputError(f"{path}: no format of golden vectors", "end the name in .json, .npz, .zip or .tar.gz")
        path.write_bytes(writers[suffix]())

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


class VectorCheck(Struct, frozen=True):
    """Golden vectors beside what a runtime made of their inputs; `worst` is by output, in tolerances.

    `same_file` is False where the vectors are of a file with other bytes.
    """

    runtime: str
    device: str
    samples: int
    outputs: tuple[str, ...]
    worst: tuple[float, ...]
    same_file: bool

    @property
    def passed(self) -> bool:
        """True if no output is off by more than its tolerance."""
        return max(self.worst, default=0.0) <= 1


def check_vectors(
    model: bytes, vectors: GoldenVectors, plan: Plan | None = None, device: Device | None = None
) -> VectorCheck:
    """Run the inputs of golden vectors through a file, on an open device or here. Raises what `infer` raises."""
    done = infer(model, vectors.inputs, device=device, **(plan or Plan()).running)
    return VectorCheck(
        runtime=f"{done.runtime.name} {done.runtime.version}",
        device=device.name if device is not None else "local",
        samples=vectors.head.samples,
        outputs=tuple(tensor.name for tensor in vectors.head.outputs),
        worst=vectors.worst(done.outputs),
        same_file=hashlib.sha256(model).hexdigest() == vectors.head.model_sha256,
    )


def load_vectors(path: Path) -> GoldenVectors:
    """Read what `save` wrote as `.json` or `.npz`. Raises InputError for any other file."""
    try:
        data = path.read_bytes()
        return _from_npz(data) if data.startswith(b"PK") else _from_json(data)
    except _DAMAGE as cause:
        raise InputError(f"{path}: no golden vectors ({cause})", "give a .json or .npz of `edgekit vectors`") from None


def golden_vectors(model: bytes, count: int = 3, seed: int = 0, data: RealInputs | None = None) -> GoldenVectors:
    """Run `count` samples through a file: the first ones of `data`, or else random ones.

    Random are the whole range of a quantized input, [-1, 1) of a float one, 0 or 1 of any other; the same seed gives
    the same ones (numpy's RandomState, whose stream is frozen). A stateful model runs the samples in their order.
    Raises InputError for inputs that cannot be made up, ModelError for an output that is not finite or not real, and
    what `infer` raises.
    """
    if count < 1:
        raise InputError(f"{count} golden vectors", "ask for at least one")
    contents = read_contents(model)
    inputs = _random(contents, count, seed) if data is None else tuple(array[:count] for array in data.arrays)
    done = infer(model, inputs, xnnpack=False)
    outputs = tuple(map(np.asarray, done.outputs))
    for array, tensor in zip(outputs, contents.outputs, strict=True):
        _refuse_unreal(array, tensor)
    head = GoldenHead(
        model_sha256=hashlib.sha256(model).hexdigest(),
        runtime=f"{done.runtime.name} {done.runtime.version}",
        samples=len(inputs[0]) if inputs else 1,
        seed=seed if data is None else None,
        data=data.data if data is not None else None,
        inputs=tuple(_tensor(t, array, 0.0) for t, array in zip(contents.inputs, inputs, strict=True)),
        outputs=tuple(
            _tensor(t, array, _tolerance(t, array)) for t, array in zip(contents.outputs, outputs, strict=True)
        ),
    )
    return GoldenVectors(head, inputs, outputs)


def _random(contents: ModelContents, count: int, seed: int) -> tuple[Array, ...]:
    state = np.random.RandomState(seed)
    return tuple(_random_input(tensor, count, state) for tensor in contents.inputs)


def _random_input(tensor: TensorInfo, count: int, state: np.random.RandomState) -> Array:
    shape = tensor.shape[1:] if tensor.shape[:1] in ((1,), (-1,)) else tensor.shape
    if tensor.dtype not in _MADE_UP or -1 in shape:
        raise InputError(
            f"no numbers can be made up for the input {tensor.name!r}, {tensor.dtype}{list(tensor.shape)}",
            "give samples with --data, or a file with fixed sizes",
        )
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return state.uniform(-1, 1, (count, *shape)).astype(dtype)
    limits = np.iinfo(dtype) if tensor.scale is not None else None
    low, high = (limits.min, int(limits.max) + 1) if limits else (0, 2)
    return state.randint(low, high, (count, *shape), np.int64).astype(dtype)


def _refuse_unreal(array: Array, tensor: TensorInfo) -> None:
    """Numbers that JSON has no words for, and that nothing can be compared with."""
    if array.dtype.kind == "c":
        raise ModelError(f"the output {tensor.name!r} is complex", "split it into two real outputs")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(
            f"the output {tensor.name!r} is not finite for these samples", "give samples of your own with --data"
        )


def _tensor(tensor: TensorInfo, array: Array, tolerance: float) -> GoldenTensor:
    return GoldenTensor(tensor.name, array.dtype.name, array.shape[1:], tensor.scale, tensor.zero_point, tolerance)


def _tolerance(tensor: TensorInfo, array: Array) -> float:
    return quantum(tensor, array) if array.dtype.kind == "f" or tensor.scale else 0.0


def _distance(found: Array, golden: Array, tensor: GoldenTensor) -> float:
    """Largest difference over the tolerance; infinite where none is allowed and there is one."""
    info = TensorInfo(tensor.name, tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point)
    real = [to_real(array, info).astype(np.float64) for array in (found, golden)]
    apart = float(np.abs(real[0] - real[1]).max(initial=0))
    return apart / tensor.tolerance if tensor.tolerance else (float("inf") if apart else 0.0)


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


def _from_npz(data: bytes) -> GoldenVectors:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        head = msgspec.json.decode(str(arrays["head"]), type=GoldenHead)
        inputs = tuple(arrays[f"input{place}"] for place in range(len(head.inputs)))
        outputs = tuple(arrays[f"output{place}"] for place in range(len(head.outputs)))
    for array, tensor in zip((*inputs, *outputs), (*head.inputs, *head.outputs), strict=True):
        if (array.dtype.name, array.shape) != (tensor.dtype, (head.samples, *tensor.shape)):
            raise ValueError(f"{tensor.name!r} is {array.dtype.name} of shape {array.shape}, unlike the head says")
    return GoldenVectors(head, inputs, outputs)
