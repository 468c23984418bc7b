"""`edgekit benchmark`: latency and memory of .tflite files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from msgspec import Struct
from msgspec.structs import replace

from edgekit.bench.baseline import Verdict
from edgekit.bench.delegation import Demand, in_words
from edgekit.bench.disturbances import calmest, disturbances, warnings
from edgekit.bench.fleet import Outcome, on_all
from edgekit.bench.native import measure_native
from edgekit.bench.plan import Plan
from edgekit.bench.result import (
    Conditions,
    Delegation,
    Energy,
    Fed,
    Machine,
    Measurement,
    NativeMeasurement,
    Results,
    Runtime,
)
from edgekit.bench.run import measure
from edgekit.bench.statistics import Summary, summarize
from edgekit.cli.benchmark_gates import demand_delegate, refuse_disturbed, refuse_for_phones, refuse_unused_tool
from edgekit.cli.common import emit, file_names, json_option, progress, refuse_place, results_only, say
from edgekit.cli.device_option import device_option, unique
from edgekit.cli.gate_options import GateOptions, gate_options, render_verdicts, say_faults
from edgekit.cli.model_options import collect, data_options, trust_option
from edgekit.cli.native_table import render_native
from edgekit.cli.plan_options import plan_options
from edgekit.device.adb import AdbPhone
from edgekit.device.find import find_device, refuse_same
from edgekit.device.protocol import Device
from edgekit.errors import DeviceError, EdgekitError, InputError, MissingDependency, OutputError
from edgekit.new_file import write_new
from edgekit.report.table import Write, render_table
from edgekit.tflite import flatbuffer
from edgekit.units import format_bytes, format_joules, format_seconds

if TYPE_CHECKING:
    from edgekit.real_inputs import RealInputs

_HEADER = (
    "model",
    "size",
    "load",
    "first",
    "p50",
    "95 % interval",
    "p90",
    "p99",
    "peak",
    "arena",
    "+anonymous",
    "+file",
)


class Row(Struct, frozen=True):
    """One measured model, without its raw samples."""

    model: str
    file_bytes: int
    sha256: str
    device: str
    runtime: Runtime
    delegate_partitions: int | None
    machine: Machine
    conditions: Conditions
    summary: Summary
    warnings: tuple[str, ...]
    disturbances: tuple[str, ...]
    attempts: int
    fed: Fed | None
    plan: Plan
    cpus: tuple[int, ...]
    delegations: tuple[Delegation, ...]
    started: str
    energy: Energy | None = None


class Failure(Struct, frozen=True):
    """What was not measured on a device, and why: a model, or from there on all."""

    device: str
    problem: str
    mend: str
    model: str | None = None


class Unjudged(Struct, frozen=True):
    """Why some limit has no verdict."""

    problem: str
    mend: str


class Report(Struct, frozen=True):
    """What `edgekit benchmark --json` prints."""

    rows: tuple[Row, ...]
    native: tuple[NativeMeasurement, ...] = ()
    failures: tuple[Failure, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    format_version: int = 1


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option(multiple=True)
@plan_options
@click.option(
    "--require-delegate",
    type=click.Choice(["any", "all"]),
    help="Fail unless the delegate (XNNPACK if none is named) took any operator, or all.",
)
@click.option(
    "--retries", default=0, type=click.IntRange(0, 1000), help="Repeat while something disturbs it; keep the calmest."
)
@click.option("--strict", is_flag=True, help="Fail if something disturbed the measurement.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    help="Seconds for one measurement.  [default: 600, and --seconds more]",
)
@data_options()
@click.option(
    "--benchmark-model",
    metavar="PATH|URL",
    help="TensorFlow Lite's native tool, built for the phone: adb devices are then measured with it. A path, or "
    "https://...#sha256=HEX, downloaded once.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write raw samples and setting to this JSON file."
)
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@gate_options
@trust_option
@json_option
def command(
    models: tuple[Path, ...],
    device: tuple[str, ...],
    plan: Plan,
    require_delegate: Demand | None,
    retries: int,
    strict: bool,
    timeout: float | None,
    data: str | None,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    benchmark_model: str | None,
    output: Path | None,
    overwrite: bool,
    gate: GateOptions,
    trust: bool,
    as_json: bool,
) -> None:
    """Measure latency and memory of .tflite files, each in a process of its own.

    Inputs are random, or with --data samples of its test part, of which each run gets the next one.

    On several devices (--device A --device B) all are measured at once; what fails on one does not stop the others, and
    a model that cannot be run does not stop those behind it. What was measured before a failure is kept; the exit code
    is then that of the first failure.

    peak is the most memory the process held, with Python and the runtime in it, up to the first inference; +anonymous
    and +file are what the model added: memory of its own, and pages of files (the model, code of the runtime). arena is
    what its tensors need by LiteRT's plan; what +anonymous is above it are packed weights, scratch memory and the heap.
    """
    refuse_place(output, overwrite)
    for model in models:  # the fault of one must cost neither a connection nor the result of those before it
        flatbuffer.open_model(flatbuffer.read_bytes(model), str(model))
    options = collect(metric, task, pairs)
    samples = {} if data is None else {model: _samples(model, data, options, trust) for model in models}
    single_runs = {"--data": data is not None, "--retries": retries > 0, "--strict": strict}
    native = benchmark_model is not None or not any(single_runs.values())
    addresses = unique(device or ("local",))
    refuse_same(addresses)
    places = [find_device(where, plan.runtime, progress, benchmark_model, native) for where in addresses]
    refuse_unused_tool(places, benchmark_model)
    refuse_for_phones(places, single_runs, plan, gate.limits)
    most = timeout or 600 + (0 if plan.fixed_runs else plan.max_seconds)
    taken = _Taken(tuple(place.name for place in places), models * gate.processes, plan, most, retries, samples)
    try:
        outcomes = on_all(places, taken.on)
    except KeyboardInterrupt:
        _rescue(taken.results, output, overwrite, as_json)
        raise
    failed, results = taken.failed(outcomes), taken.results
    if len(failed) == len(outcomes) == 1 and results == Results(()):
        raise failed[0].error
    progress("")
    failures = tuple(Failure(one.device, one.error.problem, one.error.mend, one.model) for one in failed)
    rows = tuple(row_of(one, require_delegate is not None) for one in results.measurements)
    try:
        _write(results, output, overwrite)
    finally:  # minutes of measuring are not lost to a full disk
        verdicts, faults = gate.judge([*results.measurements, *results.native])
        show(Report(rows, results.native, failures, verdicts, unjudged(faults)), as_json)
        say_faults(faults)
    if failed:
        raise click.exceptions.Exit(failed[0].error.exit_code)
    if require_delegate is not None:
        demand_delegate(results, require_delegate)
    if strict:
        refuse_disturbed(results)
    gate.accept(verdicts, "measure longer (--seconds), or use `edgekit compare`", faults)


class _Failed(NamedTuple):
    device: str
    model: str | None
    error: EdgekitError


@dataclass
class _Taken:
    """What was measured of the models, and which were refused, by the name of the device."""

    devices: Sequence[str]
    models: Sequence[Path]
    plan: Plan
    timeout: float
    retries: int
    samples: Mapping[Path, RealInputs]
    measured: dict[str, list[Measurement | NativeMeasurement]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, dict[Path, EdgekitError]] = field(default_factory=lambda: defaultdict(dict))

    def on(self, place: Device) -> None:
        """Measure all models on a device, but no more those that it refused once."""
        refused = self.refused[place.name]
        for model in self.models:
            if model in refused:
                continue
            try:
                self.measured[place.name].append(self._one(model, place))
            except (DeviceError, MissingDependency):  # which the next model would meet, too
                raise
            except EdgekitError as error:
                refused[model] = error

    def _one(self, model: Path, place: Device) -> Measurement | NativeMeasurement:
        progress(f"measuring {model}" if place.name == "local" else f"measuring {model} on {place.name}")
        if isinstance(place, AdbPhone) and place.tool is not None:
            return measure_native(model, self.plan, place, place.tool, timeout=self.timeout)
        given = self.samples.get(model)
        arrays, data = ((), None) if given is None else (given.arrays, given.data)
        return calmest(
            lambda: measure(model, self.plan, place, inputs=arrays, data=data, timeout=self.timeout), self.retries
        )

    def failed(self, outcomes: Sequence[Outcome[None]]) -> list[_Failed]:
        """What each device refused, and what ended its measuring."""
        found: list[_Failed] = []
        for one in outcomes:
            found += [_Failed(one.device, str(model), error) for model, error in self.refused[one.device].items()]
            found += [_Failed(one.device, None, one.error)] if one.error else []
        return found

    @property
    def results(self) -> Results:
        """What was measured on all devices, by kind."""
        every = [one for name in self.devices for one in self.measured[name]]
        native = tuple(one for one in every if isinstance(one, NativeMeasurement))
        return Results(tuple(one for one in every if isinstance(one, Measurement)), native)


def _samples(model: Path, data: str, options: Mapping[str, object], trust: bool) -> RealInputs:
    from edgekit.real_inputs import real_inputs

    with results_only():
        return real_inputs(model, data, options, trust=trust)


def _write(results: Results, output: Path | None, overwrite: bool) -> None:
    """Write what was measured, if there is anything and a place for it."""
    if output is not None and results != Results(()):
        write_new(output, results.to_json(), overwrite)


def _rescue(results: Results, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """After an interruption: write what was measured before it, or show that where it cannot be written."""
    progress("")
    if results == Results(()):
        return
    try:
        _write(results, output, overwrite)
    except OutputError as error:
        say(f"error: {error}")
        output = None
    if output is None:
        show(Report(tuple(map(row_of, results.measurements)), results.native), as_json)
    else:
        count = len(results.measurements) + len(results.native)
        say(f"measured before the interruption: {count}, kept in {output}")


def show(report: Report, as_json: bool, write: Write = render_table) -> None:
    """Print a report, and to standard error what a reader of it should know and what failed."""
    emit(report, as_json, lambda found: render(found, write))
    if not as_json:
        names = _names(report)
        lines = [f"{_where(row, report)}{names[row.model]}: {words}" for row in report.rows for words in row.warnings]
        for line in dict.fromkeys(lines):
            say(f"warning: {line}")
    for failure in dict.fromkeys(replace(one, model=None) for one in report.failures):
        where = "" if failure.problem.startswith(failure.device) else f"{failure.device}: "
        say(f"error: {where}{failure.problem}\n  mend: {failure.mend}")


def _where(row: Row, report: Report) -> str:
    return f"{row.device}: " if len({row.device for row in report.rows}) > 1 else ""


def row_of(measurement: Measurement, demanded: bool = False) -> Row:
    """The printed part of a measurement; `demanded` if its delegate has to take something."""
    return Row(
        model=measurement.model.name,
        file_bytes=measurement.model.file_bytes,
        sha256=measurement.model.sha256,
        device=measurement.device,
        runtime=measurement.runtime,
        delegate_partitions=measurement.delegate_partitions,
        machine=measurement.machine,
        conditions=measurement.before,
        summary=summarize(measurement),
        warnings=warnings(measurement, demanded),
        disturbances=disturbances(measurement),
        attempts=measurement.attempts,
        fed=measurement.fed,
        plan=measurement.plan,
        cpus=measurement.cpus,
        delegations=measurement.delegations,
        started=measurement.started,
        energy=measurement.energy,
    )


def unjudged(faults: Sequence[InputError]) -> tuple[Unjudged, ...]:
    """The errors of limits that have no verdict, as they are printed."""
    return tuple(Unjudged(fault.problem, fault.mend) for fault in faults)


def render(report: Report, write: Write = render_table) -> str:
    """Tables of what the agent and the native tool measured, under each what it was measured on; and the verdicts."""
    tables = [_table(report, write)] if report.rows else []
    if report.native:
        tables.append(render_native(report.native, write))
    if report.verdicts:
        tables.append(render_verdicts(report.verdicts, write))
    return "\n\n".join(tables) or "nothing was measured"


def _table(report: Report, write: Write) -> str:
    names, settings = _names(report), list(dict.fromkeys(map(_setting, report.rows)))
    columns = _telling_apart(report.rows, settings)
    cells = [
        (*(column[place] for column in columns.values()), names[row.model], *_cells(row))
        for place, row in enumerate(report.rows)
    ]
    if "setting" in columns:
        settings = [f"[{number}] {setting}" for number, setting in enumerate(settings, start=1)]
    notes = [*settings, *_delegated(report), *_metered(report)]
    return write((*columns, *_HEADER), cells) + "\n\n" + "\n".join(notes)


def _telling_apart(rows: Sequence[Row], settings: Sequence[str]) -> dict[str, list[str]]:
    """{column: a cell for each row}: the device, where there are several; the number of the setting, where a device has
    several; the day, where a model has several.
    """
    devices = [(row.device,) for row in rows]
    columns: dict[str, tuple[Sequence[tuple[str, ...]], list[str]]] = {
        "device": ([()] * len(rows), [row.device for row in rows]),
        "setting": (devices, [f"[{settings.index(_setting(row)) + 1}]" for row in rows]),
        "started": ([(row.model, row.device) for row in rows], [row.started[:10] for row in rows]),
    }
    return {
        name: cells
        for name, (among, cells) in columns.items()
        if len({*zip(among, cells, strict=True)}) > len({*among})
    }


def _delegated(report: Report) -> list[str]:
    """What was taken by delegates that were asked for, a line a model."""
    names = _names(report)
    asked = [row for row in report.rows if row.plan.delegate is not None]
    return [f"{names[row.model]} on {row.device}: {in_words(one)}" for row in asked for one in row.delegations]


def _metered(report: Report) -> list[str]:
    """What a run took by the meter of a device, and how much of that the idle device takes, too; a line a model."""
    names = _names(report)
    return [
        f"{names[row.model]} on {row.device}: {format_joules(row.summary.joules)} a run, {one.idle_share:.0%} of it "
        f"the idle {one.idle_watts:.3g} W, by {one.meter} ({one.readings} readings)"
        for row in report.rows
        if (one := row.energy) is not None
    ]


def _names(report: Report) -> dict[str, str]:
    return file_names(row.model for row in report.rows)


def _setting(row: Row) -> str:
    board = row.machine.board or row.machine.processor or row.machine.architecture
    inputs = f"random inputs (seed {row.plan.seed})"
    if row.fed is not None and row.fed.data is not None:
        inputs = f"{row.fed.samples} samples of {row.fed.data}"
    runtime = f"{row.runtime.name} {row.runtime.version}, Python {row.machine.python}"
    timed = ", inputs and outputs timed" if row.plan.with_io else ""
    return f"{row.device}: {board}, {runtime}, {row.plan.in_words}, {inputs}{timed}"


def _cells(row: Row) -> tuple[str, ...]:
    found = row.summary
    p50 = found.p50_seconds
    return (
        format_bytes(row.file_bytes),
        format_seconds(found.load_seconds),
        format_seconds(found.first_seconds),
        format_seconds(p50.value),
        f"{format_seconds(p50.low)} to {format_seconds(p50.high)}",
        format_seconds(found.p90_seconds.value),
        format_seconds(found.p99_seconds.value),
        format_bytes(found.peak_bytes),
        format_bytes(found.arena_bytes),
        format_bytes(found.model_anonymous_bytes),
        format_bytes(found.model_file_bytes),
    )
