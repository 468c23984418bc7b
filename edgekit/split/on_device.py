"""A split on a device, run there by its own runner: what it computes, and how fast, beside the whole model."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import numpy as np
from msgspec import Meta, Struct

from edgekit.bench.run import infer
from edgekit.bench.statistics import Interval, median_interval
from edgekit.data.npz import read_arrays
from edgekit.device.protocol import Completed, Device
from edgekit.errors import DataError, DeviceError, EdgekitError, GateError, InputError, MissingDependency, RunError
from edgekit.split.plan import Plan, Port

Array = np.ndarray[Any, Any]
_UNPACK = "import shutil, sys; shutil.unpack_archive(sys.argv[1], sys.argv[2], 'tar')"
_FAULTS: dict[int, type[EdgekitError]] = {1: GateError, 3: InputError, 4: MissingDependency, 5: RunError}


class Units(Struct, frozen=True):
    """How the pipeline runs: a unit for each segment (`cpu`, `cpu:1`, `edgetpu:0`; none: all `cpu`), threads, depth."""

    names: tuple[str, ...] = ()
    threads: int = 1
    depth: int | None = None

    def refuse_count(self, segments: int) -> None:
        """Raise InputError where some segments would have no unit, or some units no segment."""
        if len(self.names) not in (0, segments):
            raise InputError(f"--units: {len(self.names)} units for {segments} segments", "name one for each segment")

    def words(self) -> list[str]:
        """The options of the runner."""
        named = ["--units", ",".join(self.names)] if self.names else []
        deep = ["--depth", str(self.depth)] if self.depth else []
        return [*named, "--threads", str(self.threads), *deep]


class Agreement(Struct, frozen=True):
    """An output of the pipeline beside that of the whole: the largest difference, in real numbers, and of how much.

    `varies`: whether it tells the samples apart; one that does not proves little.
    """

    name: str
    dtype: str
    identical: bool
    most: float
    reach: float
    varies: bool


class Speed(Struct, frozen=True):
    """A subject of the measurement: medians of a second's samples in a stream, and of one sample that is alone.

    `processor_seconds` is what all threads together work on a sample. `ratio` is how many times as many samples a
    second as the whole on one thread, turn by turn.
    """

    name: str
    samples_per_second: float
    latency_seconds: float
    processor_seconds: float
    ratio: Interval | None


class Speeds(Struct, frozen=True):
    """The whole and the pipeline in turns on one machine, by the clock on the wall."""

    device: str
    runtime: str
    cores: int
    turns: int
    rows: tuple[Speed, ...]


Seconds = Annotated[float, Meta(gt=0)]
Times = Annotated[tuple[Seconds, ...], Meta(min_length=1)]


class _Row(Struct, frozen=True):
    name: str
    stream: Times
    processor: Times
    single: Times


class _Answer(Struct, frozen=True):
    runtime: str
    cores: int
    rows: Annotated[tuple[_Row, ...], Meta(min_length=2)]


class Installed:
    """The folder of a split on an open device."""

    def __init__(self, folder: Path, plan: Plan, device: Device) -> None:
        self.plan, self.device, self.folder = plan, device, f"{device.scratch}/{uuid4().hex}"
        with tempfile.TemporaryDirectory(prefix="edgekit-") as here:
            packed = Path(here, "split.tar")
            with tarfile.open(packed, "w") as archive:
                archive.add(folder, ".")
            remote = device.push(packed)
            done = device.run([device.python, "-c", _UNPACK, remote, self.folder])
        if done.returncode:
            raise DeviceError(
                f"{device.name}: the split cannot be unpacked: {done.stderr.strip()[-300:]}", "free space"
            )

    def run(self, inputs: Sequence[Array], units: Units, timeout: float | None = None) -> list[Array]:
        """The outputs `[samples, *shape]` of inputs `[samples, *shape]`, as stored. Raises what the runner tells."""
        with tempfile.TemporaryDirectory(prefix="edgekit-") as here:
            remote = f"{self.folder}/{uuid4().hex}.npz"
            self._asked(["run", *self._pushed(inputs, Path(here)), "--save", remote, *units.words()], timeout)
            local = Path(here, "outputs.npz")
            self.device.pull(remote, local)
            return outputs_of(local, len(self.plan.outputs), self.device.name)

    def measure(self, whole: Path, inputs: Sequence[Array], units: Units, seconds: float) -> Speeds:
        """Time the pipeline and the whole in turns. Raises what the runner tells."""
        with tempfile.TemporaryDirectory(prefix="edgekit-") as here:
            words = ["measure", *self._pushed(inputs, Path(here)), "--whole", self.device.push(whole)]
            asked = [*words, "--seconds", str(seconds), "--json", *units.words()]
            said = self._asked(asked, seconds * 20 + 120)
        try:
            return _speeds(self.device.name, msgspec.json.decode(said.encode(), type=_Answer))
        except (msgspec.DecodeError, ValueError, RecursionError) as cause:
            raise DeviceError(f"{self.device.name}: an answer that is none: {cause}", "run it again") from cause

    def _pushed(self, inputs: Sequence[Array], here: Path) -> list[str]:
        found = []
        for place, array in enumerate(inputs):
            np.save(here / f"input{place}.npy", array)
            found.append(self.device.push(here / f"input{place}.npy"))
        return found

    def _asked(self, words: Sequence[str], timeout: float | None) -> str:
        done = self.device.run([self.device.python, f"{self.folder}/run.py", *words], timeout)
        if done.returncode != 0:
            raise _error(done, self.device.name, timeout)
        return done.stdout


def outputs_of(path: Path, count: int, device: str) -> list[Array]:
    """The outputs that a device sent, of which nothing is believed. Raises DeviceError."""
    try:
        found = read_arrays(path)
        return [found[f"output{place}"] for place in range(count)]
    except (DataError, KeyError) as cause:
        raise DeviceError(f"{device}: outputs cannot be read: {cause}", "run it again") from cause


def agreements(
    whole: Path, inputs: Sequence[Array], found: Sequence[Array], plan: Plan, device: Device
) -> tuple[Agreement, ...]:
    """Outputs of the pipeline beside those of the whole model on the same device, with one thread."""
    batches = {port.shape[:1] for port in plan.inputs}
    leads = len(batches) == 1 and batches != {()} and batches != {(1,)}
    given = [array.reshape(-1, *array.shape[2:]) if leads else array for array in inputs]
    outputs = infer(whole, given, device=device).outputs
    return tuple(
        _compared(port, *(_rows(array, len(inputs[0]), device.name) for array in (one, other)))
        for port, one, other in zip(plan.outputs, outputs, found, strict=True)
    )


def _rows(array: Array, samples: int, device: str) -> Array:
    """The numbers of each sample. Raises DeviceError for an output that is not of so many samples."""
    if array.size % samples:
        problem = f"{device}: an output of the shape {list(array.shape)} for {samples} samples"
        raise DeviceError(problem, "run it again")
    return array.reshape(samples, -1)


def _compared(port: Port, whole: Array, parts: Array) -> Agreement:
    if whole.shape != parts.shape or whole.dtype != parts.dtype:
        return Agreement(port.name, port.dtype, False, float("inf"), 0.0, True)
    scale = port.scale or 1.0
    real = whole.astype(np.float64)
    most = float(np.abs(real - parts).max(initial=0)) * scale
    reach = float(np.abs(real - (port.zero_point or 0)).max(initial=0)) * scale
    varies = bool((whole != whole[:1]).any())
    return Agreement(port.name, port.dtype, whole.tobytes() == parts.tobytes(), most, reach, varies)


def _speeds(device: str, answer: _Answer) -> Speeds:
    first = answer.rows[0].stream
    rows = tuple(
        Speed(
            row.name,
            1 / float(np.median(row.stream)),
            float(np.median(row.single)),
            float(np.median(row.processor)),
            median_interval([one / other for one, other in zip(first, row.stream, strict=True)]) if at else None,
        )
        for at, row in enumerate(answer.rows)
    )
    return Speeds(device, answer.runtime, answer.cores, len(first), rows)


def _error(done: Completed, device: str, timeout: float | None) -> EdgekitError:
    """What the runner said, in the class that says who must act."""
    if done.returncode is None:
        return RunError(f"the pipeline on {device} took more than {timeout:.0f} s", "try it with fewer samples")
    _, said, text = done.stderr.rpartition("run.py: ")
    problem, _, mend = text.strip().partition("\n  mend: ")
    if not said or done.returncode not in _FAULTS:
        last = done.stderr.strip()[-300:] or "it said nothing"
        mend = "run each segment alone to see which it is: `edgekit benchmark segment0.tflite` and so on"
        return RunError(f"the pipeline on {device} ended with code {done.returncode}: {last}", mend)
    return _FAULTS[done.returncode](f"{device}: {problem}", mend)
