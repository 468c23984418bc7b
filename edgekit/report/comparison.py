"""A file beside the float one: accuracy, bytes, latency and memory, each in words and as a small drawing.

The drawings need no legend of colours: a bar is the file and a tick is float; for the accuracy a dot and a line are the
change with its interval, a tick is no change, a dashed line the gate. Coordinates are percent, so they fit any width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgekit.report import words
from edgekit.report.axes import digits

if TYPE_CHECKING:
    from edgekit.artifact import Manifest, StageRecord
    from edgekit.bench.statistics import Summary
    from edgekit.metrics import Difference, Score
    from edgekit.run import Run

FILE, LATENCY = "File", "Latency p50"
_ROOM = 1.12
_LINE = Markup('<line class="{}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>')


@dataclass(frozen=True)
class Compared:
    """One property: what float and the file have, the change in words, what else is to know, and the drawing."""

    title: str
    before: str
    after: str
    change: str
    note: str
    drawing: Markup
    worse: bool = False


def comparison(
    run: Run, manifest: Manifest, float_line: StageRecord, before: Summary | None, after: Summary | None, where: str
) -> tuple[Compared, ...]:
    """What the file costs and saves; only what is known of both."""
    return (
        *_scores(run, manifest),
        *_file(float_line.file_bytes, manifest.file_bytes),
        *(_measured(before, after, where) if before and after else ()),
    )


def amounts(
    title: str, before: float, after: float, say: Callable[[float], str], ways: tuple[str, str, str], note: str = ""
) -> Compared:
    """A property of which less is better; `ways` are the words for less, more and the same."""
    change = words.ratio(before, after, *ways)
    drawing = _bar(before, after, f"{title}: {say(before)} in float, {say(after)} in the file, {change}")
    return Compared(title, say(before), say(after), change, note, drawing, change.endswith(ways[1]))


def scores(
    before: Score, after: Score, change: Difference, bound: float | None, worse: bool, note: str = ""
) -> Compared:
    """A score and its change with the interval; `bound` is the change at which the gate closes."""
    name = before.name
    ends = words.interval(name, change, as_change=True)
    said, title = words.change(name, change.value), words.metric_title(name)
    drawing = _interval(change, bound, f"{title}: {said}, 95 % interval {ends}")
    return Compared(
        words.capital(title),
        words.number(name, before.value),
        words.number(name, after.value),
        said,
        ", ".join(part for part in (ends, note) if part),
        drawing,
        worse,
    )


def _scores(run: Run, manifest: Manifest) -> Iterator[Compared]:
    found = manifest.verification
    if found is None:
        return
    for before, after, change in zip(run.reference.scores, found.scores, found.differences, strict=False):
        drop = words.accepted_loss(run, before.name)
        sign = -1 if words.more_is_better(before.name) else 1
        bound = None if drop is None else sign * drop
        yield scores(before, after, change, bound, sign * change.value > 0 and not change.low <= 0 <= change.high)
    if not found.scores:
        share = found.agreement.rate
        yield Compared("Agreement", "–", words.share(share), "", "the same as float", _bar(1.0, share, "agreement"))


def _file(before: int | None, after: int) -> Iterator[Compared]:
    if before:
        yield amounts(FILE, before, after, words.size, ("smaller", "larger", "as large"))


def _measured(before: Summary, after: Summary, where: str) -> Iterator[Compared]:
    ways = ("faster", "slower", "as fast")
    yield amounts(LATENCY, before.p50_seconds.value, after.p50_seconds.value, words.seconds, ways, where)
    held = [_held(one) for one in (before, after)]
    if held[0] and held[1]:
        yield amounts("Memory", held[0], held[1], words.size, ("less", "more", "as much"), "added by the model")


def _held(found: Summary) -> int | None:
    """What the model added to the process; None where the kernel did not tell."""
    own, file = found.model_anonymous_bytes, found.model_file_bytes
    return None if own is None or file is None else max(own + file, 0)


def _bar(before: float, after: float, note: str) -> Markup:
    most = _ROOM * max(before, after)
    fill = Markup('<rect class="fill" y="4" width="{}%" height="8"/>').format(digits(100 * after / most))
    track = _LINE.format("base", "0", digits(100 * before / most), 8, 8)
    return _strip(note, track, fill, _tick(100 * before / most))


def _interval(change: Difference, bound: float | None, note: str) -> Markup:
    ends = [end for end in (change.low, change.value, change.high, bound) if end is not None and math.isfinite(end)]
    most = _ROOM * max((abs(end) for end in ends), default=0.0) or 1.0

    def at(value: float) -> str:
        return digits(50 + 50 * min(max(value / most, -1.0), 1.0)) if not math.isnan(value) else "50"

    parts = [_LINE.format("base", "0", "100", 8, 8), _tick(50.0)]
    parts += [] if bound is None else [_LINE.format("gate", at(bound), at(bound), 0, 16)]
    parts += [_LINE.format("reach", at(change.low), at(change.high), 8, 8)]
    dot = Markup('<circle class="dot" cx="{}%" cy="8" r="4.5"/>').format(at(change.value))
    return _strip(note, *parts, dot)


def _tick(percent: float) -> Markup:
    return Markup('<line class="float" x1="{0}%" x2="{0}%" y1="1" y2="15"/>').format(digits(percent))


def _strip(note: str, *parts: Markup) -> Markup:
    svg = Markup('<svg class="strip" height="16" role="img" aria-label="{0}"><title>{0}</title>{1}</svg>')
    return svg.format(note, Markup("").join(parts))
