"""`edgekit check`: will this file run on that target, and what to change."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import cast

import click
from msgspec import Struct

from edgekit.check.advice import words
from edgekit.check.check import CheckResult
from edgekit.cli import complete
from edgekit.cli.budget_option import budget_option, with_budgets
from edgekit.cli.common import emit, escaped, json_option, results_only, say
from edgekit.cli.model_options import model_argument, targets_option, trust_option
from edgekit.errors import GateError
from edgekit.finding import Level
from edgekit.forecast.edgetpu import edgetpu_log
from edgekit.forecast.placement import Forecast
from edgekit.forecast.units import TITLES
from edgekit.new_file import write_new
from edgekit.report.sarif import sarif
from edgekit.report.table import render_table
from edgekit.source_check import check_on, is_source
from edgekit.target import load_target
from edgekit.units import format_bytes

_STANDARD_OUTPUT = Path("-")
_WORDS: dict[Level, str] = {"error": "error", "warn": "warning", "info": "note"}


class CheckReport(Struct, frozen=True):
    """What the command prints: the model, and one result a target."""

    model: str
    results: tuple[CheckResult, ...]


@click.command("check", short_help="Say whether a model will run on a target, and what to change.")
@model_argument
@targets_option
@click.option(
    "--fail-on",
    type=click.Choice(["warn", "error"]),
    default="error",
    show_default=True,
    help="Gravity from which the exit code is 1.",
)
@click.option(
    "--recipe",
    "-r",
    metavar="RECIPE",
    shell_complete=complete.recipes,
    help="For a Keras model: what to make of it. Default: what each target recommends.",
)
@budget_option
@click.option("--operators", "every", is_flag=True, help="Tell of each operator where it runs.")
@click.option(
    "--sarif",
    "log",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write the findings as SARIF 2.1.0, for code scanning; `-` prints that instead of the table.",
)
@trust_option
@json_option
def command(
    model: str,
    targets: tuple[str, ...],
    fail_on: str,
    recipe: str | None,
    budgets: tuple[str, ...],
    every: bool,
    log: Path | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Hold MODEL against one or more targets. Nothing is run on them.

    MODEL is a .tflite. Or a Keras model: then a draft of the file that it will become is converted and quantized with
    random ranges first, and its operators, shapes and memory are judged, before there is any data.

    The memory is that of the tensors. The interpreter of a microcontroller has structures of its own on top: see
    `edgekit memory --record`.

    \b
    edgekit check model.tflite --target coral-usb --target raspberry-pi-4
    edgekit check model.tflite --target ./my-board.toml --fail-on warn
    edgekit check model.keras --target cortex-m7 --budget arena=64K
    edgekit check model.tflite --target android-gpu --sarif findings.sarif
    """
    if log == _STANDARD_OUTPUT and as_json:
        raise click.UsageError("--json and --sarif - both print; give --sarif a file")
    chosen = [with_budgets(load_target(name), budgets) for name in targets]
    if is_source(model):
        say("making a draft of the file with random ranges")
    with results_only():
        results = check_on(model, chosen, recipe=recipe, trust=trust)
    if log is not None:
        _write_sarif(results, model, log)
    if log != _STANDARD_OUTPUT:
        emit(CheckReport(model, results), as_json, partial(_render, every=every))
    failed = [result.target for result in results if result.reaches(cast(Level, fail_on))]
    if failed:
        raise GateError(f"{Path(model).name} does not pass on {', '.join(failed)}", "follow the mends above")


def _write_sarif(results: tuple[CheckResult, ...], model: str, log: Path) -> None:
    text = json.dumps(sarif(results, model), indent=2, ensure_ascii=False)
    if log == _STANDARD_OUTPUT:
        click.echo(escaped(text))
        return
    write_new(log, f"{text}\n".encode(), overwrite=True)


def _render(report: CheckReport, every: bool) -> str:
    sources = list(dict.fromkeys(f.source for result in report.results for f in result.findings if f.source))
    results = [_render_result(result, sources, every) for result in report.results]
    listed = "\n".join(f"[{number}] {source}" for number, source in enumerate(sources, start=1))
    return "\n\n".join(part for part in (Path(report.model).name, *results, listed) if part)


def _render_result(result: CheckResult, sources: list[str], every: bool) -> str:
    lines = [f"{result.target}: {_verdict(result)}", *_facts(result)]
    for finding in result.findings:
        reference = f" [{sources.index(finding.source) + 1}]" if finding.source else ""
        lines.append(f"  {_WORDS[finding.level]:7}  {finding.subject}")
        lines.append(f"           {finding.problem}{reference}")
        lines += [f"           mend: {finding.mend}"] if finding.mend else []
    lines += [f"  {'what pays' if not place else '':9}  {line}" for place, line in enumerate(words(result.advice))]
    lines += [f"\n{_operators(one)}" for one in result.forecasts if every]
    return "\n".join(lines)


def _operators(forecast: Forecast) -> str:
    """A row for each operator: whether the unit takes it, and why not; for Coral the log of its compiler, too."""
    words = {True: "yes", False: "no", None: "unknown"}
    rows = [(f"#{one.index}", one.name, words[one.taken], one.reason) for one in forecast.placements]
    table = render_table(("", "operator", TITLES[forecast.unit].removeprefix("the "), "why"), rows)
    return f"{table}\n\n{edgetpu_log(forecast).rstrip()}" if forecast.unit == "edgetpu" else table


def _facts(result: CheckResult) -> list[str]:
    """What it is, what each unit takes, and the memory."""
    memory = result.memory
    sizes = (("file", memory.file_bytes), ("parameters", memory.parameter_bytes), ("tensors", memory.arena_bytes))
    held = ", ".join(f"{name} {format_bytes(size)}" for name, size in sizes)
    if memory.on_chip_bytes is not None and memory.streamed_bytes is not None:
        held += f"; {format_bytes(memory.on_chip_bytes)} on the chip, {format_bytes(memory.streamed_bytes)} streamed"
    held += f", states {format_bytes(memory.states_bytes)}" if memory.states_bytes else ""
    numeric = f"{result.numeric}, a draft by recipe {result.recipe}" if result.recipe else result.numeric
    units = [(TITLES[one.unit].removeprefix("the "), _share(one)) for one in result.forecasts]
    return [f"  {name:22} {words}" for name, words in (("model", numeric), *units, ("memory", held))]


def _share(forecast: Forecast) -> str:
    whole, left = len(forecast.placements), len(forecast.left)
    pieces = f" in {forecast.partitions} piece{'s' if forecast.partitions > 1 else ''}" if forecast.partitions else ""
    return f"{whole - left} of {whole} operators{pieces}"


def _verdict(result: CheckResult) -> str:
    counts = [(result.count(level), word) for level, word in _WORDS.items()]
    told = ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)
    words = "does not run as it is" if result.count("error") else "runs"
    return f"{words} ({told})" if told else words
