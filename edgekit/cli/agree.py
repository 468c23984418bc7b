"""`edgekit agree`: do simulation, file and device compute the same, and if not, from which operator on."""

from __future__ import annotations

import click

from edgekit.bench.plan import Plan
from edgekit.cli.common import emit, json_option, progress, results_only
from edgekit.cli.device_option import device_option, opened
from edgekit.cli.model_options import collect, data_options, model_argument, part_option, trust_option
from edgekit.cli.plan_options import run_options
from edgekit.errors import GateError


@click.command("agree")
@model_argument
@data_options(required=True)
@click.option("--float", "source", metavar="FLOAT", help="The Keras model that MODEL was made from; compared, too.")
@part_option
@click.option("--samples", default=64, show_default=True, type=click.IntRange(1), help="How many samples to run.")
@device_option()
@run_options()
@trust_option
@json_option
def command(
    model: str,
    data: str,
    source: str | None,
    part: str,
    samples: int,
    device: str,
    plan: Plan,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare all that should compute the same as MODEL (.tflite): the Keras model, the integer simulation, the
    reference kernels, XNNPACK on this host, and with --device the runtime of a board or phone.

    \b
    edgekit agree model_int8.tflite --data digits.npz --float model.keras
    edgekit agree model_int8.tflite --data digits.npz --device pi4

    Each operator is given the same inputs on both sides, and may differ by one quantum (two from the simulation). Exit
    code 1 where one differs by more: the first in the order of execution is named. How far an int8 file is from its
    float model is another question: `edgekit doctor`.
    """
    from edgekit.doctor.agree import agree
    from edgekit.report.agreement import agreement_text, where

    with results_only(), opened(device, plan.runtime) as place:
        found = agree(
            model,
            data,
            source=source,
            part=part,
            samples=samples,
            plan=plan,
            device=place,
            trust=trust,
            data_options=collect(metric, task, pairs),
            say=progress,
        )
    progress("")
    emit(found, as_json, agreement_text)
    for leg in found.legs:
        if not leg.same:
            how = f"part at {where(leg.parted)}" if leg.parted else "give unlike outputs"
            raise GateError(f"{leg.one} and {leg.other} {how}", _mend(leg.other, device))


def _mend(side: str, device: str) -> str:
    if device != "local" and side.startswith(device):
        return "try another --runtime or --no-xnnpack there; compare the versions of both runtimes"
    return "do not ship what only one side was tested with; try another runtime version, or keep this operator in float"
