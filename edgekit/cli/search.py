"""`edgekit search`: budgets in, the best files that keep them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, results_only, say
from edgekit.cli.device_option import names
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option

if TYPE_CHECKING:
    from edgekit.search.found import Found, Kept


@click.command("search")
@model_argument
@data_options(required=True)
@click.option(
    "--target",
    "-t",
    default="host",
    show_default=True,
    metavar="TARGET",
    shell_complete=complete.targets,
    help="The board, by name or as a .toml; `edgekit targets` lists them.",
)
@click.option("--max-drop", metavar="DROP", help="Floor: greatest accepted loss of the metric: 0.01 or 1%.")
@click.option("--min-score", type=float, metavar="SCORE", help="Floor in the metric itself, instead or as well.")
@click.option("--max-bytes", metavar="SIZE", help="Largest accepted file: 300K.")
@click.option(
    "--max-download", metavar="SIZE", help="Largest accepted file, deflated; pruning and clustering pay here."
)
@click.option("--max-latency", metavar="TIME", help="Slowest accepted inference: 10ms.")
@click.option("--max-ram", metavar="SIZE", help="Most memory for the tensors between operators and states: 128K.")
@click.option(
    "--prefer",
    type=click.Choice(["score", "bytes", "latency", "ram"]),
    help="What the recommended file is best in.  [default: score where a resource has a budget, else latency]",
)
@click.option(
    "--device",
    multiple=True,
    shell_complete=names,
    help="Measure latency there: ssh://..., adb://..., or a name; several of one kind are measured side by side.",
)
@click.option("--no-benchmark", is_flag=True, help="Measure no latency; estimates or multiply-accumulates rank.")
@click.option("--time", metavar="TIME", help="How long this call may take: 30m, 2h.")
@click.option("--trials", type=click.IntRange(1), help="How many recipes to try in all.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every training, instead of what recipes say.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="What the drawing of recipes begins with."
)
@click.option("--name", default="search", show_default=True, help="Which search in the folder this is.")
@click.option(
    "--storage",
    envvar="EDGEKIT_STORAGE",
    metavar="URL",
    help="Database that the same command on other machines shares: postgresql://user@host/name.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes of this machine that do trials."
)
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder for the front.")
@trust_option
@json_option
def command(
    model: str,
    data: str,
    out: Path,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    no_benchmark: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Search the recipes for MODEL on a target for the smallest, fastest and most accurate files within budgets.

    The folder always holds what was found so far: Ctrl-C leaves it ready to ship, and the same command goes on.

    \b
    edgekit search model.keras --data digits.npz --max-drop 1% --max-bytes 30K \\
        --time 30m -o found
    edgekit search model.keras --data digits.npz -t raspberry-pi-4 \\
        --device ssh://pi@pi4 --max-drop 1% --max-latency 10ms --time 2h -o found
    edgekit search model.keras --data digits.npz --max-drop 1% --max-bytes 30K \\
        --time 2h --workers 4 --storage postgresql://edgekit@db/searches -o found
    """
    from edgekit.search.run import search_recipes

    if not (asked["time"] or asked["trials"]):
        raise click.UsageError("say how long: --time 30m, or --trials 50")
    try:
        with results_only():
            found = search_recipes(
                model,
                data=data,
                out=out,
                data_options=collect(metric, task, pairs),
                benchmark=not no_benchmark,
                say=progress,
                **asked,
            )
    except KeyboardInterrupt:
        progress("")
        if (out / "best").exists():
            say(f"the best so far is {out / 'best'}, judged on the validation part; the same command goes on")
        raise
    progress("")
    emit(found, as_json, lambda found: render(found, out))
    found.accept()


def render(found: Found, out: Path) -> str:
    """The front as a table, the recommended point first named, and where things are."""
    from edgekit.report.table import render_table

    lines = [render_table(_header(found), [_row(found, kept) for kept in found.front]), ""] if found.front else []
    lines += [f"note: {warning}" for warning in found.warnings]
    if best := found.recommended:
        lines += [f"recommended: {best.point.recipe}, in {out / 'best'}"]
        if not best.sure:
            lines += ["note: the interval of its loss on the validation part reaches below the floor"]
    return "\n".join([*lines, f"report: {out / 'report.html'}"])


def _header(found: Found) -> list[str]:
    speed = {"measured": "latency", "estimated": "latency (estimate)", "unknown": "MACs"}[found.latency]
    return ["recipe", found.metric, "loss", "95 %", "loss, test", "file", "deflated", speed, "RAM"]


def _row(found: Found, kept: Kept) -> list[str]:
    from edgekit.report.words import change, number, output_of
    from edgekit.units import format_bytes, format_count, format_seconds

    point, metric = kept.point, found.metric
    cost, loss = point.cost, point.loss
    output = f" ({output_of(point.score.name)})" if len(point.scores) > 1 else ""
    return [
        point.recipe,
        number(metric, point.score.value) + output,
        change(metric, loss.value),
        f"{change(metric, loss.low)} to {change(metric, loss.high)}",
        change(metric, kept.test.value) if kept.test else "-",
        format_bytes(cost.file_bytes),
        format_bytes(cost.deflated_bytes),
        format_count(cost.macs) if found.latency == "unknown" else format_seconds(cost.latency),
        format_bytes(cost.arena_bytes),
    ]
