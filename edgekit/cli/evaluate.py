"""`edgekit evaluate`: the accuracy of a model on a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.data_options import collect, data_options

if TYPE_CHECKING:
    from edgekit.bench.plan import RuntimeName
    from edgekit.evaluate import Evaluation


@click.command("evaluate")
@click.argument("model", shell_complete=complete.files)
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    shell_complete=complete.files,
    help="An .npz, a folder, a .csv, a data.toml, or module:function.",
)
@click.option(
    "--part", default="test", show_default=True, type=click.Choice(["train", "validation", "calibration", "test"])
)
@click.option(
    "--runtime", default="auto", show_default=True, type=click.Choice(["auto", "ai-edge-litert", "tflite-runtime"])
)
@click.option("--trust", is_flag=True, help="Allow the model file to run its own code (Lambda layers).")
@data_options
@json_option
def command(
    model: str,
    data: str,
    part: str,
    runtime: RuntimeName,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure the accuracy of MODEL (.tflite, .keras, .h5, SavedModel, module:function) on a part of DATA."""
    from edgekit.evaluate import evaluate_model

    options = collect(metric, task, pairs)
    progress(f"evaluating {model}")
    with results_only():
        found = evaluate_model(model, data, part=part, runtime=runtime, trust=trust, data_options=options)
    progress("")
    emit(found, as_json, render)


def render(evaluation: Evaluation) -> str:
    """The scores, each with its interval."""
    lines = [
        f"{score.name} {score.value:.4f}  [{score.low:.4f}, {score.high:.4f}] 95 % ({score.method})"
        for score in evaluation.scores
    ]
    lines.append(f"{evaluation.samples} samples of the {evaluation.part} part, run by {evaluation.runtime}")
    return "\n".join([*lines, *(f"note: {warning}" for warning in evaluation.warnings)])
