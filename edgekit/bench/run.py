"""Run models on a device: outputs for data, latency and memory, and turns of several models."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.bench.ask import agent_sha256, ask, scratch
from edgekit.bench.missing_operator import open_runnable
from edgekit.bench.plan import Delegate, Plan, RuntimeName
from edgekit.bench.result import Count, Delegation, Fed, Measurement, ModelFile, Observed, Runtime, Samples, Tensor
from edgekit.data.npz import NO_HEADER, read_header
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.errors import DataError, DeviceError, InputError
from edgekit.tflite import flatbuffer
from edgekit.tflite.artifact_folder import tflite_path

Array = npt.NDArray[Any]


class _Inferred(Struct, frozen=True, forbid_unknown_fields=True):
    runtime: Runtime
    load_seconds: Annotated[float, Meta(ge=0)]
    seconds: Annotated[float, Meta(ge=0)]
    samples_per_run: Annotated[int, Meta(ge=1)]
    delegate_partitions: Count | None
    output_shapes: tuple[tuple[Count, ...], ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    delegations: Annotated[tuple[Delegation, ...], Meta(max_length=2)] = ()


@dataclass(frozen=True)
class Inference:
    """Raw outputs `[samples, ...]` in the file's order (never dequantized), and how they came about.

    `delegations` has the delegate that was asked for first, XNNPACK after it if it was on.
    """

    outputs: tuple[Array, ...]
    input_details: tuple[Tensor, ...]
    output_details: tuple[Tensor, ...]
    seconds: float
    load_seconds: float
    samples_per_run: int
    runtime: Runtime
    delegate_partitions: int | None
    delegations: tuple[Delegation, ...] = ()


class Turns(Struct, frozen=True, forbid_unknown_fields=True):
    """Times of several models that ran in turns in one process, in the order they were given.

    `turn_runs` is how many of a model's times each of its turns gave.
    """

    runtime: Runtime
    steady_ns: tuple[Samples, ...]
    turn_runs: tuple[Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)], ...]
    delegations: tuple[tuple[Delegation, ...], ...]
    delegate_partitions: tuple[Count | None, ...]

    def __post_init__(self) -> None:
        if tuple(map(len, self.steady_ns)) != tuple(map(sum, self.turn_runs)) or len(set(map(len, self.turn_runs))) > 1:
            raise ValueError("the turns and the times do not add up")
        if not len(self.steady_ns) == len(self.delegations) == len(self.delegate_partitions):
            raise ValueError("unlike numbers of models")

    def turn_medians(self) -> list[list[float]]:
        """The median of each turn in seconds, `[models][turns]`; the same place is the same moment."""
        ends = [np.cumsum(runs)[:-1] for runs in self.turn_runs]
        turns = [np.split(np.asarray(times) * 1e-9, end) for times, end in zip(self.steady_ns, ends, strict=True)]
        return [[float(np.median(turn)) for turn in one] for one in turns]


def infer(
    model: bytes | str | Path,
    inputs: Sequence[Array],
    *,
    batch: int = 1,
    threads: int = 1,
    xnnpack: bool = True,
    runtime: RuntimeName = "auto",
    cpus: tuple[int, ...] = (),
    delegate: Delegate | None = None,
    device: Device | None = None,
    timeout: float | None = None,
) -> Inference:
    """Run every sample of `inputs` (`[samples, ...]`, in the order and the types of the file's inputs).

    `batch` samples go in one run where it is larger than the file's own batch: the inputs are resized then, and
    RunError tells if the graph does not allow it. An input without a batch axis takes `[samples, *its shape]`.
    `cpus` and `delegate` are as in a `Plan`. `device` must be open; without one this machine is used. Raises
    ModelError, DataError (arrays that do not fit), RunError (refusal, crash, time-out), MissingDependency (no runtime,
    no library of the delegate), InputError (no such core), DeviceError.
    """
    label = flatbuffer.label_of(model)
    _refuse_of_the_tool(delegate)
    open_runnable(flatbuffer.read_bytes(model), label, delegate)
    options = {"batch": batch, "threads": threads, "xnnpack": xnnpack, "runtime": runtime, "cpus": cpus}
    with _opened(device) as place, scratch() as here:
        remote = f"{place.scratch}/{uuid4().hex}"
        answer = ask(
            place,
            {
                "command": "infer",
                "model": place.push(_as_file(model, here), keep=True),
                "inputs": [place.push(_saved(array, here / f"input{i}.npy")) for i, array in enumerate(inputs)],
                "outputs": remote,
                "delegate": msgspec.to_builtins(delegate),
                **options,
            },
            _Inferred,
            label,
            timeout,
        )
        outputs = _pulled(place, remote, answer, len(inputs[0]) if inputs else 1, here)
    return Inference(
        outputs,
        answer.inputs,
        answer.outputs,
        answer.seconds,
        answer.load_seconds,
        answer.samples_per_run,
        answer.runtime,
        answer.delegate_partitions,
        answer.delegations,
    )


def measure(
    model: bytes | str | Path,
    plan: Plan | None = None,
    device: Device | None = None,
    *,
    inputs: Sequence[Array] = (),
    data: str | None = None,
    name: str | None = None,
    timeout: float | None = 600.0,
) -> Measurement:
    """Latency and memory of a model, alone in a process of its own.

    The inputs are random (seeded by the plan) unless given as for `infer`: then the model gets the next sample for each
    run, before the clock starts. `data` is what to call them in the result. Raises what `infer` raises.
    """
    plan, label = plan or Plan(), name or flatbuffer.label_of(model)
    _refuse_of_the_tool(plan.delegate)
    file = flatbuffer.read_bytes(model)
    open_runnable(file, label, plan.delegate)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _opened(device) as place, scratch() as here:
        request = {
            "command": "measure",
            "model": place.push(_as_file(model, here), keep=True),
            "inputs": [place.push(_saved(array, here / f"input{i}.npy")) for i, array in enumerate(inputs)],
            **msgspec.to_builtins(plan),
        }
        seen = ask(place, request, Observed, label, timeout)
        where = place.name
    return Measurement(
        model=ModelFile.of(label, file),
        fed=_fed(inputs, data),
        device=where,
        plan=plan,
        started=started,
        edgekit=metadata.version("edgekit"),
        agent_sha256=agent_sha256(),
        **{field: getattr(seen, field) for field in seen.__struct_fields__},
    )


def alternate(
    models: Sequence[bytes | Path],
    plan: Plan | None = None,
    device: Device | None = None,
    *,
    reverse: bool = False,
    turns: int = 200,
    turn_seconds: float = 0.001,
    seconds: float = 1.0,
    timeout: float | None = 600.0,
) -> Turns:
    """Times of several models taking turns in one process, so that a disturbance hits them alike.

    Each turn lasts `turn_seconds` or a few runs, so that neighbours are nearly the same moment; there are `turns` of
    each model, fewer (but an even number) once `seconds` are over. `reverse` starts with the last model. Raises what
    `infer` raises.
    """
    plan, label = plan or Plan(), " and ".join(map(flatbuffer.label_of, models))
    _refuse_of_the_tool(plan.delegate)
    with _opened(device) as place, scratch() as here:
        files = [_as_file(model, here, f"model{i}.tflite") for i, model in enumerate(models)]
        request = {
            "command": "alternate",
            "models": [place.push(file, keep=True) for file in files],
            "reverse": reverse,
            "turns": turns,
            "turn_seconds": turn_seconds,
            "seconds": seconds,
            **msgspec.to_builtins(plan),
        }
        seen = ask(place, request, Turns, label, timeout)
    if len(seen.steady_ns) != len(models):
        raise DeviceError(f"the agent timed {len(seen.steady_ns)} models, {len(models)} were asked", "run it again")
    return seen


def _fed(inputs: Sequence[Array], data: str | None) -> Fed:
    if not inputs:
        return Fed("random", 1)
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return Fed("arrays" if data is None else "data", max(1, len(inputs[0])), digest.hexdigest(), data)


def _refuse_of_the_tool(delegate: Delegate | None) -> None:
    if delegate is not None and delegate.of_the_tool:
        raise InputError(
            f"the delegate {delegate.library} is inside of benchmark_model only",
            "measure a phone with `edgekit benchmark --device adb://... --benchmark-model PATH`, or name a delegate's "
            "library",
        )


@contextmanager
def _opened(device: Device | None) -> Iterator[Device]:
    if device is not None:
        yield device
        return
    with LocalDevice() as local:
        yield local


def _as_file(model: bytes | str | Path, folder: Path, name: str = "model.tflite") -> Path:
    if isinstance(model, str | Path):
        return tflite_path(Path(model))
    path = folder / name
    path.write_bytes(model)
    return path


def _saved(array: Array, path: Path) -> Path:
    if array.dtype.hasobject or array.dtype.kind not in "fiubc":
        raise DataError(f"an input array holds {array.dtype}, not numbers", "give an array of the input's type")
    np.save(path, array, allow_pickle=False)
    return path


def _pulled(device: Device, remote: str, answer: _Inferred, samples: int, folder: Path) -> tuple[Array, ...]:
    """The outputs, if they are what the agent said and what was asked."""
    if len(answer.output_shapes) != len(answer.outputs):
        raise DeviceError(
            f"{device.name}: {len(answer.outputs)} outputs, {len(answer.output_shapes)} shapes", "run again"
        )
    arrays = []
    for index, (detail, shape) in enumerate(zip(answer.outputs, answer.output_shapes, strict=True)):
        path = folder / f"output{index}.npy"
        device.pull(f"{remote}/{index}.npy", path)
        array = _mapped(path, device.name)
        if array.shape != shape or array.dtype.name != detail.dtype or shape[:1] != (samples,):
            found = f"{array.dtype} {list(array.shape)} for {samples} samples"
            raise DeviceError(
                f"{device.name}: output {index} is {found}, announced was {detail.dtype} {list(shape)}", "run it again"
            )
        arrays.append(np.array(array))
    return tuple(arrays)


def _mapped(path: Path, device: str) -> Array:
    """A .npy file, mapped: a header that claims more than the file holds is refused before memory is taken."""
    try:
        with path.open("rb") as file:
            empty = math.prod(read_header(file)[0]) == 0
        array: Array = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
        return array
    except (*NO_HEADER, OSError, EOFError) as cause:
        raise DeviceError(f"{device}: an output file cannot be read: {cause}", "run it again") from cause
