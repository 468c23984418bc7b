"""`edgekit compress`: the Keras part of the road alone, from a Keras model to a smaller one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, refuse_ending, refuse_place, results_only, say
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option

if TYPE_CHECKING:
    from edgekit.step import StageReport


@click.command("compress")
@model_argument
@data_options()
@click.option(
    "--recipe", "-r", required=True, metavar="RECIPE", shell_complete=complete.recipes, help="Such as channels50."
)
@click.option(
    "--target",
    "-t",
    default="host",
    show_default=True,
    metavar="TARGET",
    shell_complete=complete.targets,
    help="The board whose preferred numbers of channels are kept to.",
)
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The .keras file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@trust_option
@json_option
def command(
    model: str,
    data: str | None,
    recipe: str,
    target: str,
    out: Path,
    overwrite: bool,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make MODEL smaller and save it as a Keras model: prune, factorize, cluster, distill; convert nothing.

    What the recipe says about number formats is left out, and may be left out of it.

    \b
    edgekit compress model.keras --data digits.npz -r channels50-prune80 \\
        -o smaller.keras
    """
    from edgekit.compress import compress_model
    from edgekit.workspace import kept_beside, partial_of

    refuse_ending(out, ".keras")
    refuse_place(out, overwrite)
    try:
        with results_only(), kept_beside(out) as kept:
            found = compress_model(
                model,
                recipe,
                data=data,
                target=target,
                folder=kept,
                trust=trust,
                data_options=collect(metric, task, pairs),
                say=progress,
            )
            found.model.save(kept / out.name)
            refuse_place(out, overwrite)  # hours have gone by
            (kept / out.name).replace(out)
    except KeyboardInterrupt:
        progress("")
        if (kept := partial_of(out)).exists():
            say(f"the training so far is kept in {kept}; the same command goes on from there")
        raise
    progress("")
    emit([step.report for step in found.steps], as_json, lambda reports: render(reports, out))


def render(reports: Sequence[StageReport], out: Path) -> str:
    """What each stage did, as tables."""
    from edgekit.report.table import render_table

    parts = []
    for report in reports:
        parts.append(f"{report.stage}: {report.detail}")
        parts += [f"  {note}" for note in report.notes]
        parts += [render_table(list(report.header), [list(row) for row in report.rows])] if report.rows else []
        parts.append("")
    return "\n".join([*parts, f"file: {out}"])
