"""`edgekit optimize`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, results_only, say
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option

if TYPE_CHECKING:
    from edgekit.run import Run


@click.command("optimize")
@model_argument
@data_options()
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    default=("host",),
    show_default=True,
    metavar="TARGET",
    shell_complete=complete.targets,
    help="A board, by name or as a .toml; `edgekit targets` lists them. Repeatable.",
)
@click.option(
    "--recipe",
    "-r",
    "recipes",
    multiple=True,
    metavar="RECIPE",
    shell_complete=complete.recipes,
    help="How to make the files; `edgekit recipes` lists them. Repeatable. Default: what each target recommends.",
)
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder for artifacts and report.")
@click.option(
    "--max-drop", metavar="DROP", help="Greatest accepted loss of the metric: 0.01 or 1%; by output kind=1%,value=0.2."
)
@click.option("--no-benchmark", is_flag=True, help="Do not measure latency and memory on this host.")
@click.option("--overwrite", is_flag=True, help="Replace a former result in the output folder.")
@trust_option
@json_option
def command(
    model: str,
    data: str | None,
    targets: tuple[str, ...],
    recipes: tuple[str, ...],
    out: Path,
    max_drop: str | None,
    no_benchmark: bool,
    overwrite: bool,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Take MODEL to one or more targets: convert, quantize, verify, measure, report.

    MODEL is a .keras, a legacy .h5/.hdf5, a SavedModel folder, a float .tflite, or module:function.

    \b
    edgekit optimize model.keras --data digits.npz -t raspberry-pi-4 \\
        -t coral-usb -o build
    edgekit optimize model.keras --data digits.npz -r int8 -r float16 \\
        --max-drop 1% -o build
    """
    from edgekit.pipeline import optimize
    from edgekit.workspace import partial_of

    try:
        with results_only():
            run = optimize(
                model,
                data=data,
                targets=targets,
                recipes=recipes,
                out=out,
                data_options=collect(metric, task, pairs),
                max_drop=max_drop,
                overwrite=overwrite,
                trust=trust,
                benchmark=not no_benchmark,
                say=progress,
            )
    except KeyboardInterrupt:
        progress("")
        if (partial := partial_of(out)).exists():
            say(f"finished stages are kept in {partial}; the same command goes on from there")
        raise
    progress("")
    emit(run, as_json, lambda run: render(run, out))
    run.accept()


def render(run: Run, out: Path) -> str:
    """The result as a person reads it: a line for each variant, what to know about it, and where things are."""
    from edgekit.report.doctor import causes_text
    from edgekit.report.summary import summary_table

    lines = [summary_table(run), ""]
    lines += [f"note: {warning}" for warning in run.warnings]
    for manifest in run.artifacts:
        lines += [
            f"{finding.level}: {manifest.name}: {finding.problem}"
            for finding in manifest.findings
            if finding.level != "info"
        ]
    for name, found in run.diagnoses.items():
        lines += ["", f"why {name} loses:", *causes_text(found), ""]
    lines += [f"file: {out / manifest.name / manifest.file}" for manifest in run.artifacts]
    return "\n".join([*lines, f"report: {out / 'report.html'}"])
