"""The course of a measurement: every run in time, and beside it what the device was like.

A long series is thinned without hiding anything: each of at most `COLUMNS` columns shows the fastest, the median and
the slowest of neighbouring runs. Time is the runs' own, added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from edgekit.report import labels
from edgekit.report.axes import SECONDS, Axis, Scale, digits, span, text, x_axis, y_axis
from edgekit.report.labels import Box, Place

COLUMNS = 300
_WIDTH, _LEFT, _RIGHT = 760.0, 52.0, 716.0
_TOP, _HEIGHT, _STRIP, _GAP, _UNDER = 26.0, 150.0, 46.0, 30.0, 42.0
_LOG_FROM = 6.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """One property of the device in time, `(seconds, value)` at each point."""

    axis: Axis
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Envelope:
    """Columns of `runs` neighbours: where they start and end `[columns + 1]`; least, median, greatest `[columns]`."""

    edges: Floats
    low: Floats
    middle: Floats
    high: Floats
    runs: int


def envelope(seconds: Sequence[float] | Floats, columns: int = COLUMNS) -> Envelope:
    """At most `columns` columns of the same number of runs (the last may have fewer); nothing is left out."""
    values = np.asarray(seconds, np.float64)
    runs = -(-len(values) // columns)
    starts = np.arange(0, len(values), runs)
    ends = np.append(starts[1:], len(values))
    times = np.concatenate([[0.0], np.cumsum(values)])
    return Envelope(
        edges=np.append(times[starts], times[-1]),
        low=np.minimum.reduceat(values, starts),
        middle=np.array([np.median(values[start:end]) for start, end in zip(starts, ends, strict=True)]),
        high=np.maximum.reduceat(values, starts),
        runs=runs,
    )


def course(
    seconds: Sequence[float] | Floats, marks: Sequence[tuple[str, float]], strips: Sequence[Strip] = ()
) -> Markup:
    """Latency in time, with a line for each of `marks` (name, seconds), above a strip for each property."""
    shape = envelope(seconds)
    low, high = float(shape.low.min()), float(shape.high.max())
    log = high > _LOG_FROM * low
    ends = (low / 1.1, high * 1.1) if log else span((low, high), 0.06)
    bottom = _TOP + _HEIGHT
    up = Scale(max(ends[0], 0.0), ends[1], bottom, _TOP, log)
    across = Scale(0.0, float(shape.edges[-1]), _LEFT, _RIGHT)
    last = bottom + (_GAP + _STRIP) * len(strips)
    parts = [*x_axis(Axis("time of the runs, added up", SECONDS), across, _TOP, last)]
    parts += [*y_axis(Axis("latency", SECONDS), up, _LEFT, _RIGHT), _band(shape, across, up), *_rules(marks, up)]
    for index, strip in enumerate(strips):
        parts.append(_strip(strip, across, bottom + _GAP + (_GAP + _STRIP) * index))
    svg = Markup('<svg class="chart course" viewBox="0 0 {} {}" role="img" aria-label="latency in time">{}</svg>')
    return svg.format(digits(_WIDTH), digits(last + _UNDER), Markup("").join(parts))


def _band(shape: Envelope, across: Scale, up: Scale) -> Markup:
    edges = [digits(across(float(edge))) for edge in shape.edges]
    top = _steps(edges, [up(float(value)) for value in shape.high])
    bottom = _steps(edges[::-1], [up(float(value)) for value in shape.low[::-1]])
    middle = _steps(edges, [up(float(value)) for value in shape.middle])
    band = Markup('<path class="band" d="M{}L{}Z"/>').format(top, bottom) if shape.runs > 1 else ""
    return Markup('<g class="runs">{}<path class="middle" d="M{}"/></g>').format(band, middle)


def _steps(edges: Sequence[str], heights: Sequence[float]) -> str:
    """A line that is level within each column; coordinates only where they change."""
    path = f"{edges[0]} {digits(heights[0])}"
    for edge, before, height in zip(edges[1:-1], heights, heights[1:], strict=False):
        path += f"H{edge}V{digits(height)}" if digits(height) != digits(before) else ""
    return f"{path}H{edges[-1]}"


def _rules(marks: Sequence[tuple[str, float]], up: Scale) -> Iterator[Markup]:
    """A dashed line at each mark; its name goes where no other stands."""
    taken: list[Box] = []
    line = Markup('<g class="rule"><title>{}</title><line x1="{}" x2="{}" y1="{y}" y2="{y}"/>{}</g>')
    for name, value in marks:
        y = up(value)
        places = [
            Place((_RIGHT + 5, y - labels.LINE / 2 + shift, _WIDTH, y + labels.LINE / 2 + shift), "start")
            for shift in (0.0, -8.0, 8.0, -14.0, 14.0)
        ]
        found = labels.first_free(places, (_RIGHT, 0.0, _WIDTH, _TOP + _HEIGHT + 10), taken)
        taken += [found.box] if found else []
        words = labels.draw(name, "reference", found, (0, 0)) if found else ""
        yield line.format(name, digits(_LEFT), digits(_RIGHT), words, y=digits(y))


def _strip(strip: Strip, across: Scale, top: float) -> Markup:
    values = [value for _, value in strip.points]
    up = Scale(*span(values, 0.15), top + _STRIP, top)
    size, unit = strip.axis.unit(abs(max(values)) or 1.0)
    spots = [(across(min(max(time, across.low), across.high)), up(value)) for time, value in strip.points]
    path = "M" + "L".join(f"{digits(x)} {digits(y)}" for x, y in spots)
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{}" cy="{}" r="2.5"><title>{}</title></circle>').format(
            digits(x), digits(y), f"{value / size:.4g} {unit}"
        )
        for (x, y), value in zip(spots, values, strict=True)
    )
    return Markup('<g class="strip">{}{}{}<path d="{}"/>{}</g>').format(
        text("axis", 0, top - 8, strip.axis.words(unit)),
        text("tick", _LEFT - 6, up(max(values)) + 4, f"{max(values) / size:.4g}", "end"),
        text("tick", _LEFT - 6, up(min(values)) + 4, f"{min(values) / size:.4g}", "end")
        if up(min(values)) - up(max(values)) > labels.LINE
        else "",
        path,
        dots,
    )
