"""`edgekit results`: show, join and draw what `edgekit benchmark -o` wrote."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.bench.merge import merge
from edgekit.bench.result import Results
from edgekit.cli.benchmark import Report, row_of, show, unjudged
from edgekit.cli.common import json_option, print_schema, refuse_ending, say
from edgekit.cli.gate_options import GateOptions, read_results, render_verdicts, say_faults, verdict_options
from edgekit.errors import InputError
from edgekit.new_file import write_new
from edgekit.report.table import render_markdown, render_table
from edgekit.strict_toml import json_schema

files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")


@click.group("results", short_help="Show, join and draw results of `benchmark -o`.")
def command() -> None:
    """What `edgekit benchmark -o` wrote: raw samples with their setting; statistics are computed at reading."""


@command.command("show", short_help="The tables that `benchmark` printed.")
@files_argument
@click.option("--csv", "form", flag_value="csv", help="One row a measurement, base units, every statistic.")
@click.option("--markdown", "form", flag_value="markdown", help="The tables as Markdown.")
@verdict_options
@json_option
def show_command(files: tuple[Path, ...], form: str | None, gate: GateOptions, as_json: bool) -> None:
    """The tables that `edgekit benchmark` printed, of one or more results files together.

    With --fail-if they are held against limits, and against those of a --baseline, with nothing measured again.
    """
    if form and as_json:
        raise click.UsageError(f"give --{form} or --json, not both")
    results = _together(files)
    verdicts, faults = gate.judge([*results.measurements, *results.native])
    if form == "csv":
        from edgekit.report.results_csv import results_csv

        click.echo(results_csv(results), nl=False)
        if verdicts:
            say(render_verdicts(verdicts))
    else:
        rows = tuple(map(row_of, results.measurements))
        report = Report(rows, results.native, verdicts=verdicts, unjudged=unjudged(faults))
        show(report, as_json, render_markdown if form == "markdown" else render_table)
    say_faults(faults)
    gate.accept(verdicts, "measure longer (`edgekit benchmark --seconds`), or use `edgekit compare`", faults)


@command.command("merge", short_help="One file for a fleet.")
@files_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The joined file.")
@overwrite_option
def merge_command(files: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Join results files: identical measurements once, ordered by model, device and time."""
    results = _together(files)
    write_new(output, results.to_json(), overwrite)
    say(f"{len(results.measurements) + len(results.native)} measurements: {output}")


@command.command("plot", short_help="A page with latency, its course in time, and memory.")
@files_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .html file.")
@overwrite_option
def plot_command(files: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Draw results as one HTML page that needs no network: latency by model and device, samples in time, memory."""
    from edgekit.report.results_page import page

    refuse_ending(output, ".html")
    results = _together(files)
    if not results.measurements:
        raise InputError(
            "there are no samples to draw: benchmark_model prints only summaries", "`edgekit results show` lists them"
        )
    write_new(output, page(results).encode(), overwrite)
    say(f"plot: {output}")


@command.command("schema", short_help="JSON schema of a results file.")
def schema_command() -> None:
    """JSON schema of a results file: what other programs may rely on."""
    print_schema(json_schema(Results))


def _together(files: tuple[Path, ...]) -> Results:
    return merge(map(read_results, files))
