"""`edgekit check`: will this file run on that target, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
from msgspec import Struct

from edgekit.check import CheckResult, Level, check
from edgekit.cli import complete
from edgekit.cli.common import emit, json_option
from edgekit.errors import GateError, ModelError
from edgekit.target import load_target
from edgekit.tflite.inspect import inspect_model
from edgekit.units import format_bytes

_KERAS = (b"PK\x03\x04", b"\x89HDF")
_WORDS: dict[Level, str] = {"error": "error", "warn": "warning", "info": "note"}


class CheckReport(Struct, frozen=True):
    """What the command prints: the file, and one result a target."""

    model: str
    numeric: str
    file_bytes: int
    results: tuple[CheckResult, ...]


@click.command("check", short_help="Say whether a model will run on a target, and what to change.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    required=True,
    shell_complete=complete.targets,
    help="Target name, or path of a TOML file; repeat.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["warn", "error"]),
    default="error",
    show_default=True,
    help="Gravity from which the exit code is 1.",
)
@json_option
def command(model: Path, targets: tuple[str, ...], fail_on: str, as_json: bool) -> None:
    """Hold MODEL, a .tflite file, against one or more targets. Nothing is run.

    \b
    edgekit check model.tflite --target coral-usb --target raspberry-pi-4
    edgekit check model.tflite --target ./my-board.toml --fail-on warn
    """
    chosen = [load_target(name) for name in targets]
    _refuse_keras(model)
    summary = inspect_model(model)
    results = tuple(check(summary, target) for target in chosen)
    emit(CheckReport(str(model), summary.numeric, summary.file_bytes, results), as_json, _render)
    failed = [result.target for result in results if result.reaches(cast(Level, fail_on))]
    if failed:
        raise GateError(f"{model.name} does not pass on {', '.join(failed)}", "follow the mends above")


def _refuse_keras(model: Path) -> None:
    if kind := _kind_of_source(model):
        raise ModelError(
            f"{model}: `edgekit check` reads .tflite files, and this is {kind}",
            f"make one with `edgekit optimize {model} --recipe float32 --target T -o OUT` and check the .tflite in OUT",
        )


def _kind_of_source(model: Path) -> str:
    """What `edgekit optimize` takes and this command does not; empty for anything else, also for what is not there."""
    if model.is_dir():
        return "a SavedModel folder" if (model / "saved_model.pb").is_file() else ""
    if not model.is_file():
        return ""
    with model.open("rb") as file:
        return "a Keras file" if file.read(8).startswith(_KERAS) else ""


def _render(report: CheckReport) -> str:
    head = f"{Path(report.model).name}: {report.numeric}, {format_bytes(report.file_bytes)}"
    sources = list(dict.fromkeys(f.source for result in report.results for f in result.findings if f.source))
    results = [_render_result(result, sources) for result in report.results]
    listed = "\n".join(f"[{number}] {source}" for number, source in enumerate(sources, start=1))
    return "\n\n".join(part for part in (head, *results, listed) if part)


def _render_result(result: CheckResult, sources: list[str]) -> str:
    lines = [f"{result.target}: {_verdict(result)}"]
    for finding in result.findings:
        reference = f" [{sources.index(finding.source) + 1}]" if finding.source else ""
        lines.append(f"  {_WORDS[finding.level]:7}  {finding.subject}")
        lines.append(f"           {finding.problem}{reference}")
        lines += [f"           mend: {finding.mend}"] if finding.mend else []
    return "\n".join(lines)


def _verdict(result: CheckResult) -> str:
    counts = [(result.count(level), word) for level, word in _WORDS.items()]
    told = ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)
    words = "does not run as it is" if result.count("error") else "runs"
    return f"{words} ({told})" if told else words
