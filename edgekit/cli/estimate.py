"""`edgekit estimate`: latency on targets that nobody here owns, from published figures."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option
from edgekit.cli.model_options import targets_option
from edgekit.estimate import Estimate, Forecast, estimate_latency
from edgekit.report.table import render_table
from edgekit.target import load_target
from edgekit.tflite.inspect import read_contents
from edgekit.units import format_count, format_seconds


class EstimateReport(Struct, frozen=True):
    """What the command prints: the file, and one forecast a target."""

    model: str
    numeric: str
    macs: int
    forecasts: tuple[Forecast, ...]


@click.command("estimate", short_help="Estimate latency on targets you do not own, from published figures.")
@click.argument("model", type=click.Path(path_type=Path))
@targets_option
@click.option("--threads", type=click.IntRange(1, 1024), help="Only by figures taken with that many threads.")
@json_option
def command(model: Path, targets: tuple[str, ...], threads: int | None, as_json: bool) -> None:
    """Estimate the latency of MODEL, a .tflite file, on targets you do not own. Nothing is run.

    What others published of a target is fitted; the band is what the fit misses when each figure is left out. Where
    nothing fitting was published the answer is unknown.

    \b
    edgekit estimate model.tflite --target coral-usb --target raspberry-pi-4
    """
    chosen = [load_target(name) for name in targets]
    contents = read_contents(model)
    forecasts = tuple(estimate_latency(contents, target, threads) for target in chosen)
    emit(EstimateReport(str(model), contents.numeric, contents.macs, forecasts), as_json, _render)


def _render(report: EstimateReport) -> str:
    found = [(one.target, estimate) for one in report.forecasts for estimate in one.estimates]
    unknown = [one for one in report.forecasts if one.unknown]
    parts = [f"{report.model}: {report.numeric}, {format_count(report.macs)} MACs"]
    if found:
        header = ("kind", "target", "latency", "from", "to", "by figures of")
        rows = [_row(target, one, number) for number, (target, one) in enumerate(found, start=1)]
        parts += [click.style(render_table(header, rows), fg="yellow", italic=True), _notes(found)]
    parts += [f"unknown: {one.target}: {one.unknown}\n  mend: {one.mend}" for one in unknown]
    return "\n\n".join(parts)


def _row(target: str, one: Estimate, number: int) -> tuple[str, ...]:
    threads = f", {one.threads} threads" if one.threads and one.threads > 1 else ""
    return (
        "estimate",
        target,
        f"~{format_seconds(one.seconds)}",
        format_seconds(one.low),
        format_seconds(one.high),
        f"{one.measured_on}, {one.runtime}{threads} [{number}]",
    )


def _notes(found: list[tuple[str, Estimate]]) -> str:
    level = found[0][1].level
    lines = [f"[{number}] {one.basis}; {one.source}" for number, (_, one) in enumerate(found, start=1)]
    return "\n".join(
        [
            f"Nothing was measured. The band holds {level:.0%} of networks as the figures scatter; other versions,",
            "clocks and heat are not in it.",
            *lines,
        ]
    )
