"""`edgekit evaluate`: the accuracy of a model on a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgekit.bench.plan import Plan
from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.device_option import device_option, opened
from edgekit.cli.model_options import collect, data_options, model_argument, part_option, trust_option
from edgekit.cli.plan_options import run_options
from edgekit.errors import DataError, GateError

if TYPE_CHECKING:
    from edgekit.doctor.floor import Floor
    from edgekit.evaluate import Evaluation
    from edgekit.host_agreement import HostAgreement


@click.command("evaluate")
@model_argument
@data_options(required=True)
@part_option
@click.option("--samples", type=click.IntRange(1), help="Take only so many, drawn evenly from the classes.")
@click.option("--float", "source", metavar="FLOAT", help="Judge MODEL beside its float model: what the mean hides.")
@click.option("--robust", is_flag=True, help="With --float: on corrupted samples, too (noise, blur, shift, ...).")
@click.option(
    "--kind",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "image", "series", "table"]),
    help="With --robust: what the inputs are; auto goes by their shape.",
)
@click.option("--floor", metavar="SCORE", help="The least score that is accepted, 0.9 or 90%: exit code 1 below it.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="With --robust: of all chance.")
@device_option()
@run_options()
@trust_option
@json_option
def command(
    model: str,
    data: str,
    part: str,
    samples: int | None,
    source: str | None,
    robust: bool,
    kind: Any,
    floor: str | None,
    seed: int,
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

    \b
    edgekit evaluate model_int8.tflite --data digits.npz
    edgekit evaluate model_int8.tflite --data digits.npz --float model.keras \\
        --robust

    With --float a .tflite is held against its float model: classes that lose more than the average, answers that
    changed (churn), confidence (expected calibration error); with --robust both run on corrupted samples as well.
    """
    options = collect(metric, task, pairs)
    if source is not None:
        if device != "local":
            raise click.UsageError("--float judges on this machine: give no --device")
        if floor is not None:
            raise click.UsageError("--floor is of MODEL alone: give no --float")
        settings = {"part": part, "samples": samples, "plan": plan, "trust": trust, "data_options": options}
        _beside_float(model, source, data, as_json, corrupt=robust, kind=kind, seed=seed, **settings)
        return
    if robust or kind != "auto" or seed:
        raise click.UsageError("--robust, --kind and --seed are of a comparison: give --float FLOAT, too")
    from edgekit.doctor.floor import Floor
    from edgekit.evaluate import evaluate_model

    least = None if floor is None else Floor.parse(floor)
    with results_only(), opened(device, plan.runtime) as place:
        progress(f"evaluating {model}" + (f" on {place.name}" if place else ""))
        found = evaluate_model(
            model, data, part=part, plan=plan, trust=trust, data_options=options, samples=samples, device=place
        )
    progress("")
    emit(found, as_json, render)
    if least is not None:
        _accept(found, least)


def _accept(found: Evaluation, floor: Floor) -> None:
    """Raise GateError where a score is beyond the floor, DataError where there is nothing that it can be of."""
    from edgekit.report.words import metric_of

    metrics = {metric_of(score.name) for score in found.scores}
    if len(metrics) != 1:
        judged = f"{len(metrics)} metrics ({', '.join(sorted(metrics))}) are judged" if metrics else "nothing is judged"
        heads = "bounds of each output are those of `edgekit optimize --max-drop kind=1%,value=0.2`"
        mend = heads if metrics else "name it with --metric, and give labelled data"
        raise DataError(f"a floor is of one metric, and {judged}", mend)
    (metric,) = metrics
    floor.refuse_unit(metric)
    if missed := [score for score in found.scores if not floor.met(metric, score.value)]:
        scored = ", ".join(f"{score.name} {score.value:.4f}" for score in missed)
        raise GateError(
            f"not accepted: {scored}, and the floor is {floor.bound:g}", "take another file, or lower --floor"
        )


def _beside_float(model: str, source: str, data: str, as_json: bool, **settings: Any) -> None:
    from edgekit.report.robustness import robustness_text
    from edgekit.robustness import beside_float

    if not settings["corrupt"] and (settings["kind"] != "auto" or settings["seed"]):
        raise click.UsageError("--kind and --seed are of corruptions: give --robust, too")
    with results_only():
        found = beside_float(model, source, data, say=progress, **settings)
    progress("")
    emit(found, as_json, robustness_text)


def render(evaluation: Evaluation) -> str:
    """The scores, each with its interval."""
    lines = [
        f"{score.name} {score.value:.4f}  [{score.low:.4f}, {score.high:.4f}] 95 % ({score.method})"
        for score in evaluation.scores
    ]
    where = f" on {evaluation.device}" if evaluation.device != "local" else ""
    lines.append(f"{evaluation.samples} samples of the {evaluation.part} part, run by {evaluation.runtime}{where}")
    lines += _beside_host(evaluation.agreement) if evaluation.agreement else []
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
