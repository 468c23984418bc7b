"""`edgekit evaluate`: the accuracy of a model on a data set."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from edgekit.bench.plan import Plan
from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.device_option import device_option
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option
from edgekit.cli.plan_options import run_options
from edgekit.device.find import find_device

if TYPE_CHECKING:
    from edgekit.evaluate import Evaluation
    from edgekit.host_agreement import HostAgreement


@click.command("evaluate")
@model_argument
@data_options(required=True)
@click.option(
    "--part", default="test", show_default=True, type=click.Choice(["train", "validation", "calibration", "test"])
)
@click.option("--samples", type=click.IntRange(1), help="Take only so many, drawn evenly from the classes.")
@device_option()
@run_options()
@trust_option
@json_option
def command(
    model: str,
    data: str,
    part: str,
    samples: int | None,
    device: str,
    plan: Plan,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure the accuracy of MODEL (.tflite, .keras, .h5, SavedModel, module:function) on a part of DATA.

    With --device a board or phone runs the .tflite; its outputs are compared with this host's, and where they differ by
    more than a quantum, the first tensor that parts is named.
    """
    from edgekit.evaluate import evaluate_model

    options = collect(metric, task, pairs)
    with results_only(), ExitStack() as stack:
        place = (
            None
            if device == "local"
            else stack.enter_context(find_device(device, plan.runtime, progress, native=False))
        )
        progress(f"evaluating {model}" + (f" on {place.name}" if place else ""))
        found = evaluate_model(
            model, data, part=part, plan=plan, trust=trust, data_options=options, samples=samples, device=place
        )
    progress("")
    emit(found, as_json, render)


def render(evaluation: Evaluation) -> str:
    """The scores, each with its interval."""
    lines = [
        f"{score.name} {score.value:.4f}  [{score.low:.4f}, {score.high:.4f}] 95 % ({score.method})"
        for score in evaluation.scores
    ]
    lines.append(f"{evaluation.samples} samples of the {evaluation.part} part, run by {evaluation.runtime}")
    if evaluation.agreement:
        lines[-1] += f" on {evaluation.device}"
        lines += _beside_host(evaluation.agreement)
    return "\n".join([*lines, *(f"note: {warning}" for warning in evaluation.warnings)])


def _beside_host(found: HostAgreement) -> list[str]:
    if found.same:
        return [f"as on this host ({found.host_runtime}): no output differs by more than one quantum"]
    lines = [
        f"unlike this host ({found.host_runtime}): {output.tensor!r} differs by up to {output.quanta:.3g} quanta, "
        f"{output.beyond:.2%} of its values by more than one"
        for output in found.outputs
        if output.quanta > 1
    ]
    if found.decisions is not None:
        lines.append(f"the same decision in {found.decisions:.2%} of the samples")
    if found.parted is None:
        return [*lines, f"no first tensor can be named: {found.unseen}"]
    where = f"{found.parted.tensor!r} ({found.operator})" if found.operator else repr(found.parted.tensor)
    return [*lines, f"the first tensor that parts is {where}: by up to {found.parted.quanta:.3g} quanta"]
