"""`edgekit compare`: two .tflite files side by side."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
from msgspec.structs import replace

from edgekit.bench.delegation import in_words
from edgekit.bench.plan import Plan
from edgekit.cli.common import emit, json_option, progress, say
from edgekit.cli.device_option import device_option
from edgekit.cli.gate_options import GateOptions, fail_undecided_option, limit_option, limits_of, render_verdicts
from edgekit.cli.plan_options import run_options
from edgekit.compare import METRICS, Agreement, Comparison, compare_models, judge
from edgekit.device.find import find_device
from edgekit.errors import InputError
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_count, format_seconds


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@device_option()
@run_options(seed=True)
@click.option("--samples", default=16, show_default=True, type=click.IntRange(1, 100_000), help="Random inputs.")
@click.option(
    "--processes", default=10, show_default=True, type=click.IntRange(6, 1000), help="Processes that time both."
)
@click.option(
    "--timeout",
    default=600.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for one measurement.",
)
@limit_option("'ratio>1.05', 'size>+2%', 'deflated>90KiB' holds (ratio is the latency of B / A)")
@fail_undecided_option
@json_option
def command(
    a: Path,
    b: Path,
    device: str,
    plan: Plan,
    samples: int,
    processes: int,
    timeout: float,
    fail_if: tuple[str, ...],
    fail_undecided: bool,
    as_json: bool,
) -> None:
    """Compare A and B: size, operators, contract, outputs on the same random inputs, latency taken in turns."""
    if fail_undecided and not fail_if:
        raise click.UsageError("--fail-undecided goes with --fail-if: say --fail-if 'ratio>1.05'")
    _refuse_results(a, b)
    gate = GateOptions(limits_of(fail_if, METRICS), strict=fail_undecided)
    progress("comparing")
    with find_device(device, plan.runtime, progress, native=False) as place:
        result = compare_models(a, b, plan, place, samples=samples, processes=processes, timeout=timeout)
        result = replace(result, verdicts=judge(result, gate.limits, place.name))
    progress("")
    emit(result, as_json, render)
    for words in () if as_json else result.warnings:
        say(f"warning: {words}")
    gate.accept(result.verdicts, "give more --processes")


def _refuse_results(a: Path, b: Path) -> None:
    """Raise InputError for a file of `benchmark -o`, naming the command that holds two of them against each other."""
    found = [path for path in (a, b) if _has_results(path)]
    both = shlex.join(["edgekit", "results", "show", str(b), "--baseline", str(a), "--fail-if", "p50>+5%"])
    one = "edgekit benchmark MODEL --baseline RESULTS --fail-if 'p50>+5%'"
    if found:
        mend = (
            f"`{both}` holds B against A" if len(found) > 1 else f"`{one}` measures a model, and holds it against them"
        )
        raise InputError(f"{found[0]} has results, and is no model", mend)


def _has_results(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(16) == b'{"measurements":'
    return False


def render(result: Comparison) -> str:
    """Tables of size, operators and agreement, and the verdict."""
    parts = [_sides(result), _operators(result), _contract(result), _agreements(result.agreement)]
    if result.verdicts:
        parts.append(render_verdicts(result.verdicts))
    return "\n\n".join([*parts, *_delegated(result), f"verdict: {result.speed.verdict}"])


def _sides(result: Comparison) -> str:
    a, b, speed = result.a, result.b, result.speed
    rows = [
        _row("file", format_bytes, a.file_bytes, b.file_bytes),
        _row("deflated", format_bytes, a.deflated_bytes, b.deflated_bytes),
        ("numbers", a.numeric, b.numeric, ""),
        _row("parameters", format_count, a.parameters, b.parameters),
        _row("multiply-accumulates", format_count, a.macs, b.macs),
        (*_row("median latency", format_seconds, speed.a_seconds, speed.b_seconds)[:3], f"{speed.ratio.value:.3f}"),
    ]
    runtime = f"{speed.runtime.name} {speed.runtime.version}"
    where = f"{result.device}: {runtime}, {result.plan.in_words}"
    return f"A: {a.name}\nB: {b.name}\n{where}\n\n" + render_table(("", "A", "B", "B / A"), rows)


def _row(what: str, write: Callable[[float], str], a: float, b: float) -> tuple[str, ...]:
    return (what, write(a), write(b), f"{b / a:.3f}" if a else "-")


def _operators(result: Comparison) -> str:
    rows = [(item.name, item.dtype, str(item.a), str(item.b)) for item in result.operators]
    return render_table(("operator", "type", "A", "B"), rows)


def _contract(result: Comparison) -> str:
    if not result.contract:
        return "contract: the same inputs and outputs"
    return "contract (A, then B):\n" + "\n".join(f"  {line}" for line in result.contract)


def _delegated(result: Comparison) -> list[str]:
    """What delegates took of the two files, a line each."""
    sides = zip("AB", result.speed.delegations, strict=True)
    lines = [f"{side}: {in_words(one)}" for side, found in sides for one in found]
    return ["\n".join(lines)] if lines else []


def _agreements(found: tuple[Agreement, ...]) -> str:
    if not found:
        return "outputs: not compared, because the inputs or outputs do not correspond"
    rows = [
        (
            item.name,
            "-" if item.max_abs_difference is None else f"{item.max_abs_difference:.3g}",
            "-" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB",
            "-" if item.same_argmax is None else f"{item.same_argmax:.1%}",
            f"{item.same_values:.1%}",
        )
        for item in found
    ]
    header = ("output", "largest difference", "SQNR", "same argmax", "same values")
    return f"outputs on {found[0].samples} random inputs:\n" + render_table(header, rows)
