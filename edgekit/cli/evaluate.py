"""`edgekit evaluate`: the accuracy of a model on a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option

if TYPE_CHECKING:
    from edgekit.bench.plan import RuntimeName
    from edgekit.evaluate import Evaluation


@click.command("evaluate")
@model_argument
@data_options(required=True)
@click.option(
    "--part", default="test", show_default=True, type=click.Choice(["train", "validation", "calibration", "test"])
)
@click.option(
    "--runtime", default="auto", show_default=True, type=click.Choice(["auto", "ai-edge-litert", "tflite-runtime"])
)
@trust_option
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
