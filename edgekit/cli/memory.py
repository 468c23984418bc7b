"""`edgekit memory`: the arena that a .tflite file needs, what sets its size, and what would lower it."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option, refuse_ending, refuse_place, say
from edgekit.finding import named
from edgekit.report.table import render_table
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.memory_plan import MemoryPlan, Planner, plan_memory
from edgekit.tflite.memory_savings import Savings, savings
from edgekit.tflite.pieces import CALLING
from edgekit.tflite.recorded_arena import RecordedArena, record_arena
from edgekit.units import format_bytes

_TITLES: dict[Planner, str] = {"litert": "LiteRT", "micro": "TFLite Micro"}
_MOST_ROWS = 8


class Planned(Struct, frozen=True):
    """The plan of one runtime, the operator at which most lives, and what the arena could be."""

    runtime: Planner
    operator: str
    plan: MemoryPlan
    savings: Savings


class Recorded(Struct, frozen=True):
    """What TFLite Micro recorded here, and between which sizes the arena of a 32-bit device lies."""

    here: RecordedArena
    device_least_bytes: int
    device_most_bytes: int


class Report(Struct, frozen=True):
    """What `edgekit memory --json` prints; `recorded` only with `--record`."""

    model: str
    plans: tuple[Planned, ...]
    recorded: Recorded | None = None
    format_version: int = 1


@click.command("memory")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the plans into this .html file.")
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@click.option("--record", is_flag=True, help="Run it in TFLite Micro here, and find the smallest arena that works.")
@json_option
def command(model: Path, output: Path | None, overwrite: bool, record: bool, as_json: bool) -> None:
    """Show the memory that the tensors of MODEL, a .tflite file, need, by the rules of LiteRT and of TFLite Micro.

    Runs nothing without --record. Scratch memory of kernels and the runtime's own structures come on top of the plans.
    """
    refuse_ending(output, ".html")
    refuse_place(output, overwrite)
    contents = read_contents(model)
    plans = tuple(_planned(contents, runtime) for runtime in _TITLES)
    report = Report(str(model), plans, _recorded(model) if record else None)
    if output is not None:
        from edgekit.new_file import write_new
        from edgekit.report.arena import page

        shown = [(_TITLES[one.runtime], one.plan) for one in report.plans]
        write_new(output, page(model.name, contents, shown).encode(), overwrite)
    emit(report, as_json, render)
    if callers := [op for op in contents.operators if op.subgraph == 0 and op.name in CALLING]:
        say(f"note: the graphs that {named(callers)} calls are not counted")
    if output is not None:
        say(f"plot: {output}")


def _planned(contents: ModelContents, runtime: Planner) -> Planned:
    plan = plan_memory(contents, runtime)
    main = [op for op in contents.operators if op.subgraph == 0]
    operator = f"{main[plan.peak].name} #{main[plan.peak].index}" if main else "-"
    return Planned(runtime, operator, plan, savings(contents, runtime))


def _recorded(model: Path) -> Recorded:
    here = record_arena(model)
    return Recorded(here, *here.device_bytes)


def render(report: Report) -> str:
    """A row for each runtime, the tensors that live where most does, and what was recorded."""
    rows = [
        (
            *(_TITLES[one.runtime], format_bytes(one.plan.arena_bytes), format_bytes(one.plan.persistent_bytes)),
            *(format_bytes(one.plan.live_bytes), one.operator),
            *map(format_bytes, (one.savings.in_place_bytes, one.savings.reordered_bytes)),
        )
        for one in report.plans
    ]
    header = ("runtime", "arena", "states", "most alive", "at", "if in place", "if reordered")
    last = report.plans[-1]
    recorded = [_recording(report.recorded, last.plan)] if report.recorded else []
    return "\n\n".join([render_table(header, rows), _at_the_peak(last), *_open(last.plan), *recorded])


def _at_the_peak(one: Planned) -> str:
    plan = one.plan
    alive = [tensor for tensor in plan.tensors if tensor.first <= plan.peak <= tensor.last]
    largest = sorted(alive, key=lambda tensor: -tensor.bytes)[:_MOST_ROWS]
    rows = [
        (format_bytes(tensor.bytes), f"{tensor.first} to {tensor.last}", tensor.tensor.rpartition(";")[2][-60:])
        for tensor in largest
    ]
    more = f"\nand {len(alive) - len(largest)} smaller ones" if len(alive) > len(largest) else ""
    return (
        f"alive at {one.operator} ({_TITLES[one.runtime]}):\n"
        + render_table(("bytes", "operators", "tensor"), rows)
        + more
    )


def _recording(recorded: Recorded, plan: MemoryPlan) -> str:
    """The plan beside the recording, what the tail holds, and what a device will need."""
    here = recorded.here
    rows = [
        ("tensors and scratch (head)", plan.arena_bytes, here.head_bytes),
        ("structures and states (tail)", plan.persistent_bytes, here.tail_bytes),
        ("arena", plan.arena_bytes + plan.persistent_bytes, here.total_bytes),
        ("smallest that works", None, here.smallest_bytes),
    ]
    cells = [(name, "-" if planned is None else str(planned), str(count)) for name, planned, count in rows]
    kinds = [(one.name, str(one.used_bytes), str(one.count)) for one in here.allocations]
    return "\n\n".join(
        [
            f"recorded in tflite-micro {here.version}:\n" + render_table(("bytes", "planned", "recorded"), cells),
            render_table(("in the tail", "bytes", "number"), kinds),
            f"a 32-bit device with reference kernels: {recorded.device_least_bytes} to {recorded.device_most_bytes} "
            "bytes.\nThe tail is that of this 64-bit machine, where a pointer takes 8 bytes instead of 4. Kernels for "
            "one core\n(CMSIS-NN, ESP-NN) ask for scratch of their own, which nothing here knows.",
        ]
    )


def _open(plan: MemoryPlan) -> list[str]:
    count = len(plan.dynamic)
    tensors = "1 tensor has" if count == 1 else f"{count} tensors have"
    return [f"{tensors} open dimensions, which count as 1 here"] if count else []
