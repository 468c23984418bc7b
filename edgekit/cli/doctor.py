"""`edgekit doctor`: is this environment ready; and, given an int8 file, why it is worse than its float model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.model_options import collect, data_options, trust_option
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.doctor.diagnosis import Diagnosis
    from edgekit.doctor.layer_error import LayerError

_SHOWN = 8
_NO_CAUSE = (
    "an output has more than a hundredth of noise, and no single operator is to blame: many add a little\n"
    "  mend: more calibration samples; per-channel weights; or quantization-aware training (the recipe `qat-int8`)"
)


@click.command("doctor")
@click.argument("model", required=False)
@click.option("--float", "source", metavar="FLOAT", help="The float model of MODEL: .tflite, .keras, .h5, SavedModel.")
@data_options()
@click.option("--floor", metavar="SCORE", help="The least score that is accepted, 0.9 or 90%: exit code 1 below it.")
@trust_option
@json_option
def command(
    model: str | None,
    source: str | None,
    data: str | None,
    floor: str | None,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check this environment; or explain why the int8 file MODEL is worse than its float model.

    \b
    edgekit doctor
    edgekit doctor model_int8.tflite --float model.keras --data digits.npz

    Without MODEL: Python, packages, runtimes, tools; exit code 1 if edgekit itself cannot work.
    """
    if model is None:
        if source or data or floor:
            raise click.UsageError("--float, --data and --floor go with a MODEL: edgekit doctor MODEL.tflite ...")
        _environment(as_json)
        return
    if source is None or data is None:
        raise click.UsageError("MODEL is explained against its float model on data: give --float and --data")
    from edgekit.doctor.case import open_case
    from edgekit.doctor.diagnosis import diagnose
    from edgekit.doctor.floor import Floor

    bound = None if floor is None else Floor.parse(floor)
    with results_only():
        case = open_case(model, source, data, trust=trust, data_options=collect(metric, task, pairs))
        found = diagnose(case.quantized, case.source, case.data, say=progress)
    progress("")
    if bound:
        bound.check(found.metric, found.float_score)
    emit(found, as_json, render)
    if bound and not bound.met(found.metric, found.int8_score):
        raise GateError(f"the int8 file scores {_score(found.int8_score)}, below {floor}", "see the causes above")


def _environment(as_json: bool) -> None:
    from edgekit.environment import examine
    from edgekit.report.table import render_table

    findings = examine()
    emit(
        findings,
        as_json,
        lambda all_: render_table(
            ["", "what", "found", "needed for", "mend"],
            [[f.state, f.name, f.found, f.needed_for, f.mend] for f in all_],
        ),
    )
    if any(finding.state == "fault" for finding in findings):
        raise click.exceptions.Exit(1)


def render(found: Diagnosis) -> str:
    """The scores, the causes with their mends, and the layers that add most."""
    head = f"on {found.samples} {found.part} samples"
    if found.metric and found.float_score is not None:
        head = f"{found.metric} {_score(found.float_score)} in float, {_score(found.int8_score)} in int8, {head}"
    parts = [head, *(_cause(one.code, one.subject, one.problem, one.mend) for one in found.findings)]
    if not found.findings:
        parts.append(_NO_CAUSE if found.suffered else "nothing to mend: each output has less than a hundredth of noise")
    return "\n\n".join([*parts, *([_layers(found.layers)] if found.layers else [])])


def _cause(code: str, subject: str, problem: str, mend: str) -> str:
    return f"{code} at {subject}\n  {problem}\n  mend: {mend}"


def _layers(layers: tuple[LayerError, ...]) -> str:
    from edgekit.doctor.cause import brief
    from edgekit.report.table import render_table

    header = ("#", "operator", "tensor", "alone dB", "channels dB", "in the run dB", "cosine", "cut off", "shift")
    rows = [
        (
            str(one.index),
            one.operator,
            brief(one.tensor),
            _db(one.isolated_db),
            _db(one.channel_db),
            _db(one.accumulated_db),
            f"{one.cosine:.4f}",
            f"{one.saturation:.1%}",
            f"{one.bias:.0%}",
        )
        for one in layers[:_SHOWN]
    ]
    more = f"the {_SHOWN} of {len(layers)} operators that add most noise" if len(layers) > _SHOWN else "all operators"
    notes = f"{more}, worst first; signal to noise in dB, each operator alone (of channels: each counts the same)"
    return f"{render_table(header, rows)}\n{notes}"


def _db(value: float | None) -> str:
    return "no noise" if value is None else f"{value:.1f}"


def _score(value: float | None) -> str:
    return "does not run" if value is None else f"{value:.4f}"
