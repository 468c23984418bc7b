"""`edgekit doctor`: is this environment ready; and, given an int8 file, why it is worse than its float model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, refuse_place, results_only, say
from edgekit.cli.model_options import collect, data_options, trust_option
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.doctor.case import Case
    from edgekit.doctor.diagnosis import Diagnosis
    from edgekit.doctor.floor import Floor
    from edgekit.doctor.repair import Repair
    from edgekit.target import Target


@click.command("doctor")
@click.argument("model", required=False, shell_complete=complete.files)
@click.option("--float", "source", metavar="FLOAT", help="The float model of MODEL: .tflite, .keras, .h5, SavedModel.")
@data_options()
@click.option("--floor", metavar="SCORE", help="The least score that is accepted, 0.9 or 90%: exit code 1 below it.")
@click.option("--repair", is_flag=True, help="Repair MODEL, by the cheapest measures that reach the floor.")
@click.option("-o", "out", type=click.Path(path_type=Path), metavar="OUT", help="Where the repaired file goes.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the plots, too.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@click.option("--target", "-t", shell_complete=complete.targets, help="What permits repairs; else the artifact's.")
@trust_option
@json_option
def command(
    model: str | None,
    source: str | None,
    data: str | None,
    floor: str | None,
    repair: bool,
    out: Path | None,
    html: Path | None,
    overwrite: bool,
    target: str | None,
    trust: bool,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check this environment; or explain, and repair, an int8 file MODEL that is worse than its float model.

    \b
    edgekit doctor
    edgekit doctor model_int8.tflite --float model.keras --data digits.npz
    edgekit doctor model_int8.tflite --float model.keras --data digits.npz \\
        --repair -o repaired.tflite
    edgekit doctor model_int8.tflite --float model.keras --data digits.npz \\
        --html why.html

    Without MODEL: Python, packages, runtimes, tools; exit code 1 if edgekit itself cannot work. The default floor of a
    repair is half a point below the float score. Its last measure, a short training, needs a Keras model as --float and
    a train part. What an artifact's target does not permit is left out; of any other MODEL, name it with --target.
    """
    if model is None:
        if any((source, data, floor, repair, out, html, target)):
            raise click.UsageError("these options go with a MODEL: edgekit doctor MODEL.tflite --float F --data D")
        _environment(as_json)
        return
    if source is None or data is None:
        raise click.UsageError("MODEL is explained against its float model on data: give --float and --data")
    if repair != bool(out):
        raise click.UsageError("--repair writes a file: give --repair and -o OUT.tflite together")
    if target and not repair:
        raise click.UsageError("--target says which repairs are permitted: give --repair and -o OUT.tflite, too")
    for place in (out, html):
        refuse_place(place, overwrite)
    from edgekit.doctor.case import open_case
    from edgekit.doctor.floor import Floor

    bound = None if floor is None else Floor.parse(floor)
    with results_only():
        case = open_case(model, source, data, trust=trust, data_options=collect(metric, task, pairs))
    if out:
        _repair(case, bound, out, _target(model, target), as_json, html)
    else:
        _explain(case, bound, as_json, model, html)


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


def _diagnosed(case: Case) -> Diagnosis:
    from edgekit.doctor.diagnosis import diagnose

    with results_only():
        found = diagnose(case.quantized, case.source, case.data, say=progress)
    progress("")
    return found


def _explain(case: Case, floor: Floor | None, as_json: bool, model: str, html: Path | None) -> None:
    from edgekit.report.doctor import diagnosis_text

    found = _diagnosed(case)
    emit(found, as_json, diagnosis_text)
    _write_page(html, model, found)
    if floor:
        floor.check(found.metric, found.float_score)
    if floor and not floor.met(found.metric, found.int8_score):
        scored = "does not run" if found.int8_score is None else f"scores {found.int8_score:.4f}"
        raise GateError(f"the int8 file {scored}, and the floor is {floor.bound:g}", "see the causes, or --repair")


def _write_page(html: Path | None, name: str, found: Diagnosis, repair: Repair | None = None) -> None:
    if html:
        from edgekit.new_file import write_new
        from edgekit.report.doctor_page import page

        write_new(html, page(Path(name).name, found, repair).encode(), overwrite=True)


def _target(model: str, named: str | None) -> Target | None:
    """The target that is named, else the one that an artifact was made for; None for any other file."""
    from edgekit.errors import TargetError
    from edgekit.evaluate import recorded
    from edgekit.target import load_target

    if named:
        return load_target(named)
    if (manifest := recorded(Path(model))) is None:
        return None
    try:
        found = load_target(manifest.target)
    except TargetError as cause:
        problem = f"{model} was made for a target that cannot be read: {cause.problem}"
        raise TargetError(problem, "name one by --target, or give the TOML file of this one") from None
    say(f"repairs are those that {found.name} permits, which {model} was made for; -t names another target")
    return found


def _repair(
    case: Case, floor: Floor | None, out: Path, target: Target | None, as_json: bool, html: Path | None
) -> None:
    from edgekit.doctor.repair import refuse_early, repair
    from edgekit.new_file import write_new
    from edgekit.report.doctor import repair_text

    refuse_early(case.quantized, case.source, case.data)
    found = _diagnosed(case)
    with results_only():
        file, done = repair(
            case.quantized, case.source, case.data, floor, target=target, model=case.model, say=progress
        )
    progress("")
    write_new(out, file, overwrite=True)
    result: dict[str, Any] = {"diagnosis": found, "repair": done, "file": str(out)}
    emit(result, as_json, lambda _: repair_text(found, done, str(out)))
    _write_page(html, out.name, found, done)
    if not done.met:
        raise GateError(
            f"{out} does not reach the floor of {done.floor:.4g}",
            "give --float MODEL.keras and a train part, or train longer: `edgekit optimize` with `qat-int8`",
        )
