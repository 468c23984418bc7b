"""What `edgekit split` prints: the segments, what the balance is, whether outputs agree, and the speeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from edgekit.report.table import render_table
from edgekit.split.on_device import Agreement, Speeds
from edgekit.split.plan import UNEVEN, Plan, Segment
from edgekit.units import format_bytes, format_count, format_seconds

_NOTHING_SAVED = 0.999  # sums of the same times in another order differ
_PADDED = 1.33  # the most of 47 public compiled models: see forecast.edgetpu.ParameterCache


class Report(Struct, frozen=True):
    """What the command prints: the folder, the plan, and what was seen of it on a device."""

    folder: Path
    plan: Plan
    samples: int = 0
    fed: str = ""
    agreements: tuple[Agreement, ...] = ()
    speeds: Speeds | None = None
    notes: tuple[str, ...] = ()


def doubts(report: Report, cache_bytes: int | None) -> Iterator[str]:
    """What the user should know besides; `cache_bytes` is the memory of the target's accelerator."""
    for at, one in enumerate(report.plan.segments):
        if one.accelerated == 0:
            yield f"segment {at}: by its forecast the accelerator takes none of its operators; `edgekit check` says why"
    if cache_bytes and max(one.parameter_bytes for one in report.plan.segments) * _PADDED > cache_bytes:
        yield (
            f"the Edge TPU compiler pads parameters, to {_PADDED} times in public models, so the fullest segment may "
            f"not fit {format_bytes(cache_bytes)}: see its log, or ask for one segment more"
        )
    if report.agreements and not any(one.varies for one in report.agreements):
        yield "the outputs do not tell these samples apart, so that they agree proves little: give --data"


def render(report: Report) -> str:
    """The segments, what the balance is, whether outputs agree, and the speeds."""
    parts = [_segments(report.plan), _balance(report.plan), *_way(report.plan), *_agreements(report)]
    if report.speeds is not None:
        parts += ["", _speeds(report.speeds)]
    return "\n".join([*parts, f"{report.folder}: python3 run.py --help"])


def _segments(plan: Plan) -> str:
    header = ("segment", "operators", "parameters", "MACs", "time", "in", "out", "after", "hands on")
    rows = [_row(plan, at, one) for at, one in enumerate(plan.segments)]
    return render_table(header, rows) + "\n"


def _row(plan: Plan, at: int, one: Segment) -> tuple[str, ...]:
    before = [edge.source for edge in plan.edges if edge.target == at and edge.source is not None]
    return (
        one.file,
        str(len(one.operators)),
        format_bytes(one.parameter_bytes),
        format_count(one.macs),
        format_seconds(one.seconds),
        format_bytes(sum(port.bytes for port in one.inputs)),
        format_bytes(sum(port.bytes for port in one.outputs)),
        ", ".join(map(str, before)) or "the input",
        str(len(one.passes) or ""),
    )


def _balance(plan: Plan) -> str:
    if plan.balance == "bytes":
        words = f"balanced by bytes: the farthest is {plan.uneven:.0%} off an even share"
    else:
        words = f"balanced by {plan.basis}: the heaviest is {plan.uneven:.0%} above an even share"
    streamed = sum(one.streamed_bytes or 0 for one in plan.segments)
    kept = [f"; {format_bytes(streamed)} streamed at each inference" if streamed else "; all parameters stay on chip"]
    accelerated = kept[0] if any(one.accelerated for one in plan.segments) else ""
    return words + accelerated + (f"\n  because {plan.reason}" if plan.uneven > UNEVEN else "")


def _way(plan: Plan) -> list[str]:
    """What segments side by side save, where any are."""
    seconds, way = [one.seconds for one in plan.segments if one.seconds is not None], plan.way_seconds
    if way is None or way >= sum(seconds) * _NOTHING_SAVED:
        return []
    return [f"one sample: {format_seconds(way)} on its slowest way, of {format_seconds(sum(seconds))} in all segments"]


def _agreements(report: Report) -> list[str]:
    return [
        f"{one.name} on {report.samples} {report.fed}: "
        + (
            "identical to the whole, bit for bit"
            if one.identical
            else f"within {one.most:.3g} of the whole (whose values reach {one.reach:.3g})"
        )
        for one in report.agreements
    ]


def _speeds(found: Speeds) -> str:
    rows = [
        (
            one.name,
            f"{one.samples_per_second:.4g}",
            "-" if one.ratio is None else f"{one.ratio.value:.2f} ({one.ratio.low:.2f} to {one.ratio.high:.2f})",
            format_seconds(one.latency_seconds),
            format_seconds(one.processor_seconds),
        )
        for one in found.rows
    ]
    table = render_table(("", "samples/s", "times the first", "one alone", "processor"), rows)
    return f"{table}\n\n{found.device}: {found.runtime}, {found.cores} cores, {found.turns} turns"
