"""What the doctor found and did, as text."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.doctor.diagnosis import Diagnosis
from edgekit.doctor.layer_error import LayerError
from edgekit.doctor.pairing import brief
from edgekit.doctor.repair import Repair
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_seconds

_SHOWN = 8
_NO_CAUSE = (
    "an output has more than a hundredth of noise, and no single operator is to blame: many add a little\n"
    "  mend: more calibration samples; per-channel weights; or quantization-aware training (the recipe `qat-int8`)"
)
_SOUND = "nothing to mend: each output has less than a hundredth of noise"


def diagnosis_text(found: Diagnosis) -> str:
    """The scores, the causes with their mends, and the layers that add most."""
    parts = [_scores(found), *causes_text(found)]
    return "\n\n".join([*parts, *([_layers(found.layers)] if found.layers else [])])


def repair_text(found: Diagnosis, repair: Repair, out: str) -> str:
    """The scores, the causes, what each rung of the ladder gave, and the scores on the test part."""
    return "\n\n".join([_scores(found), *causes_text(found), _rungs(repair), _ending(repair, out)])


def decibels(value: float | None) -> str:
    """A ratio of signal to noise, in dB."""
    return "no noise" if value is None else f"{value:.1f}"


def _scores(found: Diagnosis) -> str:
    head = f"on {found.samples} {found.part} samples"
    if found.metric is None or found.float_score is None:
        return head
    return f"{found.metric} {_score(found.float_score)} in float, {_score(found.int8_score)} in int8, {head}"


def causes_text(found: Diagnosis) -> list[str]:
    """Each cause with its mend, or that there is none."""
    if not found.findings:
        return [_NO_CAUSE if found.suffered else _SOUND]
    return [f"{one.code} at {one.subject}\n  {one.problem}\n  mend: {one.mend}" for one in found.findings]


def _layers(layers: tuple[LayerError, ...]) -> str:
    header = (
        "#",
        "operator",
        "tensor",
        "alone dB",
        "channels dB",
        "in the run dB",
        "cosine",
        "cut off",
        "shift",
        "gain",
    )
    rows = [
        (
            str(one.index),
            one.operator,
            brief(one.tensor),
            decibels(one.isolated_db),
            decibels(one.channel_db),
            decibels(one.accumulated_db),
            f"{one.cosine:.4f}",
            f"{one.saturation:.1%}",
            f"{one.bias:.0%}",
            f"{one.gain:.3g}",
        )
        for one in layers[:_SHOWN]
    ]
    more = f"the {_SHOWN} of {len(layers)} operators that add most noise" if len(layers) > _SHOWN else "all operators"
    notes = f"{more}, worst first; signal to noise in dB, each operator alone (of channels: each counts the same)"
    return f"{render_table(header, rows)}\n{notes}"


def _rungs(repair: Repair) -> str:
    rows = [
        (
            rung.name,
            "-" if rung.score is None and rung.note else _score(rung.score),
            format_bytes(rung.file_bytes) if rung.file_bytes else "-",
            format_seconds(rung.latency),
            format_seconds(rung.seconds),
            "kept" if rung.kept else "no",
            rung.note,
        )
        for rung in repair.rungs
    ]
    table = render_table(("rung", repair.metric, "file", "run", "took", "kept", "note"), rows)
    return f"{table}\n{latencies(repair)}"


def latencies(repair: Repair, say: Callable[[float | None], str] = format_seconds) -> str:
    """How fast the file as it came and the last that was kept are, beside the float file."""
    last = next(rung for rung in reversed(repair.rungs) if rung.kept)
    times = [say(seconds) for seconds in (repair.float_latency, repair.rungs[0].latency, last.latency)]
    return f"a run on this host, one thread: {times[0]} in float, {times[1]} as given, {times[2]} at last"


def _ending(repair: Repair, out: str) -> str:
    reached = "reaches" if repair.met else "does not reach"
    lines = [f"{out}: {repair.metric} {_score(repair.score)} {reached} the floor of {repair.floor:.4f}"]
    if repair.held_out:
        held = repair.held_out
        lines.append(
            f"on {held.samples} test samples, by which nothing was chosen: {_score(held.float_score)} in float, "
            f"{_score(held.before)} before, {_score(held.after)} after"
        )
    return "\n".join(lines)


def _score(value: float | None) -> str:
    return "does not run" if value is None else f"{value:.4f}"
