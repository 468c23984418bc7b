"""`edgekit profile`: where the time of a .tflite file goes, operator by operator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from edgekit.bench.delegation import in_words
from edgekit.bench.plan import Plan
from edgekit.bench.profile import OperatorTime, Profile, profile
from edgekit.cli.common import emit, json_option, progress, say
from edgekit.cli.device_option import device_option
from edgekit.cli.plan_options import run_options
from edgekit.device.find import find_device
from edgekit.report.table import render_table
from edgekit.units import format_count, format_seconds

_MOST_ROWS = 20
_NAME = 40


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@device_option()
@run_options()
@click.option("--all", "everything", is_flag=True, help=f"All operators, in their order, not the {_MOST_ROWS} slowest.")
@click.option("--timeout", default=600.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds.")
@json_option
def command(
    model: Path,
    device: str,
    plan: Plan,
    everything: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Time each operator of MODEL alone, in turns with the whole, and show where the time goes.

    A delegate tells nothing of its inside, so each operator runs as a model of its own; the last line says how well
    the parts add up to the whole, and a warning tells if that is not within 0.85 to 1.15.
    """
    with find_device(device, plan.runtime, progress, native=False) as place:
        progress(f"profiling {model}")
        found = profile(model, plan, place, timeout=timeout)
    progress("")
    emit(found, as_json, lambda result: render(result, everything))
    if not as_json:
        for words in found.warnings:
            say(f"warning: {words}")


def render(found: Profile, everything: bool = False) -> str:
    """Tables by type and by operator, and how the parts add up."""
    types = [
        (f"{one.operator} {one.dtype}", str(one.count), *_cells(one.macs, one.seconds, one.share))
        for one in found.types
    ]
    parts = [render_table(("type", "count", "MACs", "time", "share", "MACs/s"), types)]
    rows = sorted(found.operators, key=lambda one: one.index if everything else -one.seconds)
    shown = rows if everything else rows[:_MOST_ROWS]
    operators = [
        (
            str(one.index),
            one.operator,
            *_cells(one.macs, one.seconds, one.share),
            _by(one),
            _short(one.output),
        )
        for one in shown
    ]
    header = ("#", "operator", "MACs", "time", "share", "MACs/s", "by", "output")
    parts.append(render_table(header, operators))
    if len(shown) < len(rows):
        parts.append(f"the {len(shown)} slowest of {len(rows)}; --all shows the others")
    parts += [_untimed(found)] if found.untimed else []
    parts.append("\n".join([*map(in_words, found.delegations), _whole(found)]))
    return "\n\n".join(parts)


def _whole(found: Profile) -> str:
    runtime, threads = found.runtime, f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    return (
        f"{found.device}, {runtime.name} {runtime.version}, {threads}: the whole takes "
        f"{format_seconds(found.whole_seconds)}, {format_seconds(found.call_seconds)} of it for the call; "
        f"its operators alone add up to {found.sum_of_parts:.2f} times that"
    )


def _untimed(found: Profile) -> str:
    by_reason: dict[str, Counter[str]] = {}
    for one in found.untimed:
        by_reason.setdefault(one.reason, Counter())[one.operator] += 1
    lists = {reason: ", ".join(f"{n} {name}" for name, n in names.items()) for reason, names in by_reason.items()}
    return "\n".join(f"not timed: {names} ({reason})" for reason, names in lists.items())


def _short(name: str) -> str:
    """The last of the names that were merged into one, its end where it is long."""
    last = name.rpartition(";")[2]
    return last if len(last) <= _NAME else f"...{last[3 - _NAME :]}"


def _cells(macs: int, seconds: float, share: float) -> tuple[str, ...]:
    return (
        format_count(macs),
        format_seconds(seconds),
        f"{share:.1%}",
        format_count(round(macs / seconds)) if macs and seconds else "-",
    )


def _by(one: OperatorTime) -> str:
    if one.delegate is not None:
        return Path(one.delegate).name
    return {True: "delegate", False: "CPU", None: "-"}[one.delegated]
