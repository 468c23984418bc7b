"""Golden vectors: a few inputs of a file and what the real interpreter makes of them, to check a package against.

The interpreter runs in a process of its own, without XNNPACK, whose kernels differ from one CPU to another. Kernels
that are all right round differently, and later layers enlarge that. So a tolerance is one quantum (a ten-thousandth of
the range where nothing is quantized) and what the same runtime's XNNPACK kernels differ by on the same samples.

Firmware is held against TensorFlow Lite Micro itself, to one quantum: a ResNet of 8 layers was 28 quanta off LiteRT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from edgekit.bench.plan import Plan
from edgekit.bench.run import infer
from edgekit.device.protocol import Device
from edgekit.errors import InputError, ModelError, RunError
from edgekit.package.golden_file import Array, GoldenHead, GoldenTensor, GoldenVectors, apart
from edgekit.package.micro_run import run_micro
from edgekit.real_inputs import RealInputs
from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents
from edgekit.verify import quantum

_OWN_SAMPLES = "give your own: edgekit vectors MODEL --data D -o v.npz, which edgekit package takes with --vectors"
_MADE_UP = {
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


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


def golden_vectors(
    model: bytes,
    count: int = 3,
    seed: int = 0,
    data: RealInputs | None = None,
    kernels: Literal["litert", "tflite-micro"] = "litert",
) -> GoldenVectors:
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
    outputs, runtime = run_micro(model, contents, inputs) if kernels == "tflite-micro" else _run(model, inputs)
    for array, tensor in zip(outputs, contents.outputs, strict=True):
        _refuse_unreal(array, tensor)
    apart_by = None if kernels == "tflite-micro" else _kernels_apart(model, inputs, outputs, contents)
    tolerances = [
        _quantum(contents, place, array) + (apart_by[place] if apart_by else 0.0) for place, array in enumerate(outputs)
    ]
    head = GoldenHead(
        model_sha256=hashlib.sha256(model).hexdigest(),
        runtime=runtime,
        samples=len(inputs[0]) if inputs else 1,
        seed=seed if data is None else None,
        data=data.data if data is not None else None,
        inputs=tuple(_tensor(t, array, 0.0) for t, array in zip(contents.inputs, inputs, strict=True)),
        outputs=tuple(map(_tensor, contents.outputs, outputs, tolerances)),
        xnnpack_compared=apart_by is not None,
    )
    return GoldenVectors(head, inputs, outputs)


def _run(model: bytes, inputs: Sequence[Array]) -> tuple[tuple[Array, ...], str]:
    done = infer(model, inputs, xnnpack=False)
    return tuple(map(np.asarray, done.outputs)), f"{done.runtime.name} {done.runtime.version}"


def _random(contents: ModelContents, count: int, seed: int) -> tuple[Array, ...]:
    state = np.random.RandomState(seed)
    return tuple(_random_input(tensor, count, state) for tensor in contents.inputs)


def _random_input(tensor: TensorInfo, count: int, state: np.random.RandomState) -> Array:
    shape = tensor.shape[1:] if tensor.shape[:1] in ((1,), (-1,)) else tensor.shape
    if tensor.dtype not in _MADE_UP or -1 in shape:
        raise InputError(
            f"no numbers can be made up for the input {tensor.name!r}, {tensor.dtype}{list(tensor.shape)}",
            f"{_OWN_SAMPLES}; or give a file with fixed sizes",
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
        raise ModelError(f"the output {tensor.name!r} is not finite for these samples", _OWN_SAMPLES)


def _tensor(tensor: TensorInfo, array: Array, tolerance: float) -> GoldenTensor:
    return GoldenTensor(tensor.name, array.dtype.name, array.shape[1:], tensor.scale, tensor.zero_point, tolerance)


def _quantum(contents: ModelContents, place: int, array: Array) -> float:
    """One quantum of an output, or of the integers that it is dequantized from; nothing for plain integers."""
    tensor, index = contents.outputs[place], contents.output_indices[place]
    for operator in contents.operators:
        if operator.name == "DEQUANTIZE" and operator.subgraph == 0 and index in operator.outputs:
            tensor = contents.tensors[operator.inputs[0]]
    return quantum(tensor, array) if array.dtype.kind == "f" or tensor.scale else 0.0


def _kernels_apart(
    model: bytes, inputs: Sequence[Array], outputs: Sequence[Array], contents: ModelContents
) -> list[float] | None:
    """Largest difference of XNNPACK's outputs from these, by output; None where XNNPACK cannot run the file."""
    try:
        other = infer(model, inputs, xnnpack=True).outputs
    except RunError:  # it ran without, so the file is sound
        return None
    return list(map(apart, other, outputs, contents.outputs))
