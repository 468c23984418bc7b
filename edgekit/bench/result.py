"""What a measurement is: raw samples and the whole setting they were taken in, versioned, in JSON and back."""

from __future__ import annotations

import hashlib
from importlib import metadata
from statistics import median
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgekit.bench.plan import Cores, Plan
from edgekit.errors import InputError
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.units import format_seconds
from edgekit.versions import is_newer, numbers

_LARGEST = 2**62
_LINE = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
Line = Annotated[str, Meta(max_length=500, pattern=_LINE)]
Bytes = Annotated[int, Meta(ge=0, le=_LARGEST)]
Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
Nanoseconds = Annotated[int, Meta(ge=1, le=_LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Throttled = Annotated[int, Meta(ge=0, lt=2**32)]
Samples = Annotated[tuple[Nanoseconds, ...], Meta(min_length=1, max_length=2_000_000)]


class Runtime(Struct, frozen=True, forbid_unknown_fields=True):
    """The runtime that really ran."""

    name: Literal["ai-edge-litert", "tflite-runtime"]
    version: Line


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output as the file declares it; `shape` has -1 where a dimension is open.

    `argument` is its name in the signature, if the file has one. `real = (raw - zero_point) * scale` if it has a scale.
    """

    name: Annotated[str, Meta(max_length=10_000)]
    argument: Annotated[str, Meta(max_length=10_000)] | None
    dtype: Line
    shape: tuple[Annotated[int, Meta(ge=-1, le=_LARGEST)], ...]
    scale: float | None
    zero_point: Annotated[int, Meta(ge=-_LARGEST, le=_LARGEST)] | None


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that ran the model; null where it does not tell."""

    board: Line | None
    processor: Line | None
    architecture: Line
    system: Line
    kernel: Line
    cores: Annotated[int, Meta(ge=1, le=1_000_000)]
    usable_cores: Annotated[int, Meta(ge=1, le=1_000_000)]
    memory_bytes: Bytes | None
    python: Line
    numpy: Line


class CoreFrequency(Struct, frozen=True, forbid_unknown_fields=True):
    """Clock of one core, and the limits that its governor has."""

    core: Annotated[int, Meta(ge=0, lt=4096)]
    current_hz: Count
    lowest_hz: Count | None
    highest_hz: Count | None


class Conditions(Struct, frozen=True, forbid_unknown_fields=True):
    """What can change from one second to the next; null where it cannot be read.

    `throttled` is the word of a Raspberry Pi's firmware (`vcgencmd get_throttled`), bit by bit; `cpu_pressure` the
    share of 10 s in which some process waited for a core, in percent.
    """

    load_average: Annotated[float, Meta(ge=0)] | None
    governor: Line | None
    frequency_hz: Count | None
    temperature_celsius: float | None
    frequencies: Annotated[tuple[CoreFrequency, ...], Meta(max_length=4096)] = ()
    throttled: Throttled | None = None
    power: Literal["mains", "battery"] | None = None
    memory_available_bytes: Bytes | None = None
    cpu_pressure: Annotated[float, Meta(ge=0, le=100)] | None = None


class Timer(Struct, frozen=True, forbid_unknown_fields=True):
    """The clock: cost of reading it and its smallest step, in nanoseconds."""

    overhead_ns: Count
    resolution_ns: Count


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of the process at one point, in bytes; benchmarks/README.md defines each number."""

    resident_bytes: Bytes | None
    peak_bytes: Bytes | None
    anonymous_bytes: Bytes | None
    file_bytes: Bytes | None
    shared_bytes: Bytes | None
    swap_bytes: Bytes | None
    proportional_bytes: Bytes | None
    private_bytes: Bytes | None


class MemoryPoints(Struct, frozen=True, forbid_unknown_fields=True):
    """Memory before the runtime, with it, with the model, after one inference, and after all of them."""

    start: Memory
    imported: Memory
    loaded: Memory
    first: Memory
    end: Memory


class Look(Struct, frozen=True, forbid_unknown_fields=True):
    """The machine between two steady runs: `runs` are done by then, `frequency_hz` is of the fastest core used."""

    seconds: Seconds
    runs: Count
    temperature_celsius: float | None
    frequency_hz: Count | None
    throttled: Throttled | None = None


class ProcessorTime(Struct, frozen=True, forbid_unknown_fields=True):
    """What the cores did during the steady runs, in seconds added up over `cores`."""

    seconds: Seconds
    cores: Annotated[int, Meta(ge=1, le=1_000_000)]
    busy_seconds: Seconds
    own_seconds: Seconds
    stolen_seconds: Seconds


class Energy(Struct, frozen=True, forbid_unknown_fields=True):
    """What a meter of the device told over the steady runs, with all that the device did besides.

    `idle_watts` is the mean power while nothing was run, just before. A counter is read before and after; a meter of
    power at each look, so few `readings` make it rough. What the meter sees (a board, a rail, a processor) is its own.
    """

    meter: Line
    joules: Annotated[float, Meta(ge=0)]
    seconds: Seconds
    readings: Annotated[int, Meta(ge=2, le=_LARGEST)]
    idle_watts: Annotated[float, Meta(ge=0)]

    @property
    def above_idle_joules(self) -> float:
        """Joules beyond those that the idle device would have taken in the time; not below zero."""
        return max(0.0, self.joules - self.idle_watts * self.seconds)

    @property
    def idle_share(self) -> float:
        """Share of the joules that the idle device would have taken; 1 where none were told."""
        return 1 - self.above_idle_joules / self.joules if self.joules else 1.0


class Delegation(Struct, frozen=True, forbid_unknown_fields=True):
    """What one delegate took of the main graph; `left` counts the operators that it did not take, by their type."""

    delegate: Line
    operators: Count
    delegated: Count
    partitions: Count
    left: Annotated[dict[Line, Count], Meta(max_length=1000)]

    def __post_init__(self) -> None:
        if self.delegated + sum(self.left.values()) != self.operators:
            raise ValueError("delegated and left operators do not add up")


class Observed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the agent saw: all times raw.

    `cpus` are the cores that the process really could run on. `delegations` has the delegate that was asked for first,
    XNNPACK after it if it was on.
    """

    machine: Machine
    runtime: Runtime
    before: Conditions
    after: Conditions
    timer: Timer
    load_ns: Nanoseconds
    first_ns: Nanoseconds
    warm_up_ns: Samples
    warm_up_stable: bool
    steady_ns: Samples
    memory: MemoryPoints
    delegate_partitions: Count | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    cpus: Cores = ()
    timeline: Annotated[tuple[Look, ...], Meta(max_length=1000)] = ()
    processor: ProcessorTime | None = None
    energy: Energy | None = None
    delegations: Annotated[tuple[Delegation, ...], Meta(max_length=2)] = ()


class ModelFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The measured file. `arena_bytes` is what LiteRT's plan needs for its tensors, open dimensions as 1."""

    name: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    file_bytes: Bytes
    arena_bytes: Bytes | None = None

    @classmethod
    def of(cls, name: str, data: bytes | bytearray) -> ModelFile:
        """What is to be known of a file's bytes. Raises ModelError for a damaged file."""
        plan = plan_memory(read_contents(data, name))
        return cls(name, hashlib.sha256(data).hexdigest(), len(data), plan.arena_bytes + plan.persistent_bytes)


class Fed(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model was fed with, sample after sample: random numbers (seeded by the plan), or given arrays.

    `sha256` is of the arrays as the model takes them, `data` what the user called them.
    """

    source: Literal["random", "arrays", "data"]
    samples: Annotated[int, Meta(ge=1, le=_LARGEST)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    data: Annotated[str, Meta(max_length=10_000)] | None = None


class Measurement(Observed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model, measured on one device: what was asked, with what, and what was seen.

    It is the calmest of `attempts`.
    """

    model: ModelFile
    device: str
    plan: Plan
    started: str
    edgekit: str
    agent_sha256: str
    attempts: Annotated[int, Meta(ge=1, le=10_000)] = 1
    fed: Fed | None = None
    format_version: Literal[1] = 1

    def __repr__(self) -> str:
        runs = f"{format_seconds(median(self.steady_ns) * 1e-9)}, the median of {len(self.steady_ns)} runs"
        return f"Measurement({self.model.name} on {self.device}: {runs})"


class Phase(Struct, frozen=True, forbid_unknown_fields=True):
    """One phase as the tool sums it up; null for what this release of it does not print."""

    runs: Annotated[int, Meta(ge=1, le=10**9)]
    mean_seconds: Seconds
    min_seconds: Seconds
    max_seconds: Seconds
    deviation_seconds: Seconds | None
    median_seconds: Seconds | None = None
    p95_seconds: Seconds | None = None


class Printed(Struct, frozen=True, forbid_unknown_fields=True):
    """What the tool said. The two figures of memory are growth of its process, APPROXIMATE in its own words."""

    init_seconds: Seconds
    first_seconds: Seconds
    warm_up: Phase
    steady: Phase
    approximate_init_bytes: Bytes | None
    approximate_overall_bytes: Bytes | None
    delegate: Line | None
    delegate_partitions: int | None
    fully_delegated: bool | None = None
    delegated: Count | None = None
    operators: Count | None = None


class Phone(Struct, frozen=True, forbid_unknown_fields=True):
    """The phone by its own properties; null for what it does not tell."""

    model: Line | None
    soc: Line | None
    android: Line | None
    architecture: Line | None
    kernel: Line | None
    cores: Annotated[int, Meta(ge=1, le=1_000_000)] | None
    memory_bytes: Bytes | None


class NativeMeasurement(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model, measured once by `benchmark_model`: what was asked, with what, and what it said."""

    model: ModelFile
    device: str
    plan: Plan
    started: str
    edgekit: str
    tool_sha256: str
    phone: Phone
    before: Conditions
    after: Conditions
    printed: Printed
    format_version: Literal[1] = 1


class Results(Struct, frozen=True, forbid_unknown_fields=True):
    """Measurements in one file."""

    measurements: tuple[Measurement, ...]
    native: tuple[NativeMeasurement, ...] = ()
    format_version: Literal[1] = 1

    def to_json(self) -> bytes:
        """The file's bytes; `Results.from_json` gives the same value back."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def from_json(cls, data: bytes, name: str = "results") -> Results:
        """Read a file's bytes. Raises InputError naming the first thing that does not fit, or the newer edgekit."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as cause:
            _refuse_newer(data, name)
            raise InputError(f"{name}: not a results file: {cause}", "give a file written by `benchmark -o`") from None


class _Stamp(Struct, frozen=True):
    """Who wrote a measurement, whatever else is in it."""

    edgekit: Line
    format_version: int = 1


class _Stamps(Struct, frozen=True):
    measurements: tuple[_Stamp, ...]
    native: tuple[_Stamp, ...] = ()
    format_version: int = 1


def _refuse_newer(data: bytes, name: str) -> None:
    """Raise InputError for results of a later format or a later edgekit, naming both."""
    try:
        found = msgspec.json.decode(data, type=_Stamps)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    stamps, here = (*found.measurements, *found.native), metadata.version("edgekit")
    number = max([found.format_version, *(one.format_version for one in stamps)])
    writer = max((one.edgekit for one in stamps), key=numbers, default="of another release")
    if number > 1 or is_newer(writer):
        raise InputError(
            f"{name}: written by edgekit {writer} (format {number}), this is {here} (format 1)",
            "upgrade edgekit here",
        )
