"""`edgekit memory`: the arena that a .tflite file needs, what sets its size, and what would lower it."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option, say
from edgekit.errors import OutputError
from edgekit.report.table import render_table
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.memory_plan import MemoryPlan, Planner, plan_memory
from edgekit.tflite.memory_savings import Savings, savings
from edgekit.units import format_bytes

_TITLES: dict[Planner, str] = {"litert": "LiteRT", "micro": "TFLite Micro"}
_MOST_ROWS = 8


class Planned(Struct, frozen=True):
    """The plan of one runtime, the operator at which most lives, and what the arena could be."""

    runtime: Planner
    operator: str
    plan: MemoryPlan
    savings: Savings


class Report(Struct, frozen=True):
    """What `edgekit memory --json` prints."""

    model: str
    plans: tuple[Planned, ...]
    format_version: int = 1


@click.command("memory")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the plans into this .html file.")
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@json_option
def command(model: Path, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Show the memory that the tensors of MODEL, a .tflite file, need, by the rules of LiteRT and of TFLite Micro.

    Runs nothing. Scratch memory of kernels and the runtime's own structures come on top.
    """
    if output is not None and output.suffix != ".html":
        raise OutputError(f"{output}: not the name of a .html file", f"write {output.with_suffix('.html')}")
    contents = read_contents(model)
    report = Report(str(model), tuple(_planned(contents, runtime) for runtime in _TITLES))
    if output is not None:
        from edgekit.bench.result import write_new
        from edgekit.report.arena import page

        plans = [(_TITLES[one.runtime], one.plan) for one in report.plans]
        write_new(output, page(model.name, contents, plans).encode(), overwrite)
    emit(report, as_json, render)
    if output is not None:
        say(f"plot: {output}")


def _planned(contents: ModelContents, runtime: Planner) -> Planned:
    plan = plan_memory(contents, runtime)
    main = [op for op in contents.operators if op.subgraph == 0]
    operator = f"{main[plan.peak].name} #{main[plan.peak].index}" if main else "-"
    return Planned(runtime, operator, plan, savings(contents, runtime))


def render(report: Report) -> str:
    """A row for each runtime, and the tensors that live where most does."""
    rows = [
        (
            *(_TITLES[one.runtime], format_bytes(one.plan.arena_bytes), format_bytes(one.plan.persistent_bytes)),
            *(format_bytes(one.plan.live_bytes), one.operator),
            *map(format_bytes, (one.savings.in_place_bytes, one.savings.reordered_bytes)),
        )
        for one in report.plans
    ]
    header = ("runtime", "arena", "states", "most alive", "at", "if in place", "if reordered")
    return "\n\n".join([render_table(header, rows), _at_the_peak(report.plans[-1]), *_open(report.plans[-1].plan)])


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


def _open(plan: MemoryPlan) -> list[str]:
    count = len(plan.dynamic)
    return [f"{count} tensors have open dimensions, which count as 1 here"] if count else []
