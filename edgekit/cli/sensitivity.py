"""`edgekit sensitivity`: what each layer costs when a share of it is pruned, and budgets made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.common import emit, json_option, progress, refuse_ending, refuse_place, results_only, say
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option
from edgekit.errors import DataError, RecipeError
from edgekit.new_file import write_new

if TYPE_CHECKING:
    from edgekit.stages.sensitivity import Sensitivity, SensitivityReport


@click.command("sensitivity")
@model_argument
@data_options(required=True)
@click.option(
    "--kind",
    default="weights",
    show_default=True,
    type=click.Choice(["weights", "channels"]),
    help="Take away the smallest weights, or whole channels.",
)
@click.option("--shares", default="0.5,0.7,0.9", show_default=True, help="Shares of each layer to take away, rising.")
@click.option(
    "--samples", default=512, show_default=True, type=click.IntRange(2), help="Validation samples to judge by."
)
@click.option("--layers", multiple=True, metavar="PATTERN", help="Only layers like this, such as block3/*. Repeatable.")
@click.option("--max-drop", metavar="DROP", help="Print budgets that cost each layer at most this: 0.01 or 1%.")
@click.option("--toml", type=click.Path(path_type=Path), metavar="FILE", help="Write the budgets there instead.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw a plot, .svg or .html.")
@trust_option
@json_option
def command(
    model: str,
    data: str,
    kind: str,
    shares: str,
    samples: int,
    layers: tuple[str, ...],
    max_drop: str | None,
    toml: Path | None,
    plot: Path | None,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Prune each layer of MODEL alone, without training, and show what that costs on validation samples of DATA.

    \b
    edgekit sensitivity model.keras --data digits.npz --plot layers.html
    edgekit sensitivity model.keras --data digits.npz --kind channels \\
        --max-drop 1%
    """
    from edgekit.compress import sensitivity_of
    from edgekit.gate import Gate

    gate = None if max_drop is None else Gate.parse(max_drop)
    if gate and gate.heads:
        raise click.BadParameter("a layer is judged by one number; give one bound for all", param_hint="--max-drop")
    if toml and not gate:
        raise click.UsageError("--toml writes budgets, which need --max-drop: say --max-drop 1%")
    refuse_ending(plot, ".svg", ".html")
    refuse_ending(toml, ".toml")
    for place in (plot, toml):
        refuse_place(place)
    config = _config(kind=kind, shares=shares.split(","), samples=samples, layers=layers)
    with results_only():
        options = collect(metric, task, pairs)
        found = sensitivity_of(model, data, config, trust=trust, data_options=options, say=progress)
    progress("")
    try:
        if gate and found.metric:
            gate.check(found.metric)
    except DataError:
        emit(found, as_json, lambda report: render(report, None))  # what took long is not lost to a bound of no use
        raise
    bound = gate.max_drop if gate else None
    if plot:
        _draw(found, plot, bound)
    if toml and bound is not None:
        write_new(toml, budgets_toml(found, bound).encode(), overwrite=True)
        say(f"budgets: {toml}")
    emit(found, as_json, lambda report: render(report, bound if toml is None else None))


def _config(**settings: Any) -> Sensitivity:
    import msgspec

    from edgekit.stages.sensitivity import Sensitivity

    try:
        return msgspec.convert(settings, Sensitivity, strict=False)
    except msgspec.ValidationError as cause:
        raise RecipeError(f"sensitivity: {cause}", "for example --shares 0.5,0.7,0.9") from None


def _draw(report: SensitivityReport, path: Path, bound: float | None) -> None:
    from edgekit.report.sensitivity import page, svg

    write_new(path, (svg if path.suffix == ".svg" else page)(report, bound).encode(), overwrite=True)
    say(f"plot: {path}")


def budgets_toml(report: SensitivityReport, bound: float) -> str:
    """The `layers` of a pruning stage, to be pasted under it in a recipe."""
    import msgspec
    import tomli_w

    from edgekit.stages.sensitivity import budgets

    rules = [msgspec.to_builtins(rule) for rule in budgets(report, bound)]
    tables = [{key: value for key, value in rule.items() if value not in (None, False)} for rule in rules]
    what = report.metric or "change of the outputs"
    head = f"# Paste this under a stage prune_{report.kind}: alone, each of these costs at most {bound:g} {what}.\n"
    return head + "\n".join(f"[[stages.layers]]\n{tomli_w.dumps(table)}" for table in tables)


def render(report: SensitivityReport, bound: float | None) -> str:
    """The table, what its columns mean, and the budgets or how to get them."""
    from edgekit.report.table import render_table

    gone = "its smallest weights become zero" if report.kind == "weights" else "its least channels"
    what, end = report.metric or "change of the outputs", "there are no labels"
    if report.baseline is not None:
        end = f"as it is: {report.baseline:.4f}"
    notes = [
        f"{what} on {report.samples} {report.part} samples when that share of one layer goes ({gone}); {end}",
        "change: how far the outputs move, as a share of how much they vary; the most sensitive layer is first",
        "each layer is pruned alone and nothing is trained, so compare layers; training brings much of a loss back",
    ]
    parts = [render_table(report.header(), report.rows()), "\n".join(notes)]
    parts.append(budgets_toml(report, bound).rstrip() if bound is not None else _hint(report))
    return "\n\n".join(parts)


def _hint(report: SensitivityReport) -> str:
    from edgekit.metrics import is_share

    word = "scope" if report.kind == "weights" else "allocation"
    drop = "1%" if report.metric and is_share(report.metric) else "0.01"
    return (
        f'hint: --max-drop {drop} makes budgets for a recipe of it; {word} = "sensitivity" in a stage '
        f"prune_{report.kind} divides one budget among all layers"
    )
