"""Charts as inline SVG: no script, no font, no request; colours come from the page, so they follow light and dark.

Every mark carries a `<title>`, which browsers show as a tooltip and screen readers read. Sizes are in user units of the
view box; the page scales it. Text that comes from a model is escaped by `Markup.format`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from edgekit.report import labels
from edgekit.report.axes import Axis, Scale, digits, span, x_axis, y_axis
from edgekit.report.labels import Box, Place

WIDTH, HEIGHT = 400.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 388.0, 26.0, 258.0
_FRAME = (_LEFT + 2, _TOP - 8, WIDTH - 2, _BOTTOM)
_UNDER = 42.0
_ROW, _RIDGE = 48.0, 22.0
_BINS = 190
_DRAWN = 0.975
_LOG_FROM = 6.0

Interval = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """One file on a scatter chart; intervals are (low, high). `kind` is its CSS class, `note` its tooltip."""

    label: str
    x: float
    y: float
    x_interval: Interval | None = None
    y_interval: Interval | None = None
    kind: str = "variant"
    note: str = ""


@dataclass(frozen=True)
class Rule:
    """A horizontal line at `y`, for example the least value that is accepted."""

    y: float
    label: str
    kind: str = "reference"


@dataclass(frozen=True)
class Limit:
    """A vertical line at `x`, for example the most that is accepted."""

    x: float
    label: str


@dataclass(frozen=True)
class Samples:
    """One row of a distribution chart: positive values, and the words beside its name."""

    label: str
    values: Sequence[float]
    words: str = ""
    kind: str = "variant"


def scatter(
    points: Sequence[Point], x: Axis, y: Axis, rules: Sequence[Rule] = (), limits: Sequence[Limit] = ()
) -> Markup:
    """Points with their intervals; names move aside for each other, and a name without room is left to the tooltip.

    x starts at zero, or is logarithmic where the values are far apart; y shows what there is.
    """
    across = _across([*_ends(points, "x"), *(limit.x for limit in limits)])
    up = Scale(*span([*_ends(points, "y"), *(rule.y for rule in rules)]), _BOTTOM, _TOP)
    taken = [_dot(point, across, up) for point in points]
    whiskers = [box for point in points for box in _whiskers(point, across, up)]
    parts = [*x_axis(x, across, _TOP - 16, _BOTTOM), *y_axis(y, up, _LEFT, _RIGHT)]
    parts += [_rule(rule, up, taken, whiskers) for rule in rules]
    parts += [_limit(limit, across, taken, whiskers) for limit in limits]
    parts += [_mark(point, across, up) for point in sorted(points, key=lambda point: point.kind == "variant")]
    for point in points:
        spot = (across(point.x), up(point.y))
        if found := labels.place(point.label, spot, _FRAME, taken, whiskers):
            parts.append(labels.draw(point.label, point.kind, found, spot))
    return _svg(parts, HEIGHT, f"{y.title} against {x.title}")


def distributions(rows: Sequence[Samples], axis: Axis) -> Markup:
    """A ridge for each row: how often each value was seen, with ticks at the median and the 90th percentile.

    The greatest 2.5 % of a row are not drawn, so that one hiccup does not flatten everything else.
    """
    arrays = [np.asarray(row.values, np.float64) for row in rows]
    low, high = min(float(a.min()) for a in arrays), max(float(np.quantile(a, _DRAWN)) for a in arrays)
    log = high > _LOG_FROM * low
    ends = (low / 1.1, high * 1.1) if log else span((low, high), 0.06)
    across = Scale(max(ends[0], 0.0), ends[1], 6.0, WIDTH - 6, log)
    bottom = 10 + _ROW * len(rows)
    parts = [*x_axis(axis, across, 10, bottom)]
    for index, (row, values) in enumerate(zip(rows, arrays, strict=True)):
        parts.append(_ridge(row, values, across, 4 + _ROW * (index + 1)))
    return _svg(parts, bottom + _UNDER, axis.title)


@dataclass(frozen=True)
class Curve:
    """One line through (x, y) points; `kind` is its CSS class."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str = "variant"


def curves(lines: Sequence[Curve], x: Axis, y: Axis, marks: Sequence[Point] = ()) -> Markup:
    """Lines that share both axes, each named at its end; `marks` are points of interest on them."""
    ends = [point for line in lines for point in line.points]
    across = Scale(*_wide([value for value, _ in ends]), _LEFT, _RIGHT - 70)
    up = Scale(*span([value for _, value in ends]), _BOTTOM, _TOP)
    parts = [*x_axis(x, across, _TOP - 16, _BOTTOM), *y_axis(y, up, _LEFT, _RIGHT - 70)]
    taken: list[Box] = []
    for line in lines:
        spots = [(across(a), up(b)) for a, b in line.points]
        path = "M" + "L".join(f"{digits(a)} {digits(b)}" for a, b in spots)
        parts.append(
            Markup('<g class="curve {}"><title>{}</title><path d="{}"/></g>').format(line.kind, line.label, path)
        )
        (left, top), width = spots[-1], labels.text_width(line.label)
        places = [
            Place((left + 6, top + shift, left + 6 + width, top + shift + labels.LINE), "start")
            for shift in (-labels.LINE / 2, -labels.LINE * 1.5, labels.LINE / 2)
        ]
        if found := labels.first_free(places, (_LEFT, 0, WIDTH + 60, _BOTTOM + 8), taken):
            taken.append(found.box)
            parts.append(labels.draw(line.label, line.kind, found, spots[-1]))
    parts += [_mark(mark, across, up) for mark in marks]
    return _svg(parts, HEIGHT, f"{y.title} against {x.title}")


def _wide(values: Sequence[float]) -> Interval:
    """The ends of an axis that may hold a single value."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1)


def bar(share: float, ghost: float = 0.0, note: str = "") -> Markup:
    """A bar of `share` (0..1) of its cell, before a pale one of `ghost`: what it was before."""
    rect = Markup('<rect class="{}" width="{}" height="10"/>')
    return Markup('<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img">{}{}{}</svg>').format(
        Markup("<title>{}</title>").format(note),
        rect.format("ghost", digits(100 * min(ghost, 1))) if ghost else "",
        rect.format("fill", digits(max(100 * min(share, 1), 0.6))) if share else "",
    )


def _across(values: Sequence[float]) -> Scale:
    low, high = min(values), max(values)
    if low > 0 and high > _LOG_FROM * low:
        room = (high / low) ** 0.08
        return Scale(low / room, high * room, _LEFT, _RIGHT, log=True)
    return Scale(0, 1.08 * high or 1, _LEFT, _RIGHT)


def _ends(points: Iterable[Point], side: str) -> list[float]:
    """All values of the points on an axis, with the ends of their intervals."""
    found: list[float] = []
    for point in points:
        found += [getattr(point, side), *(getattr(point, f"{side}_interval") or ())]
    return found


def _dot(point: Point, across: Scale, up: Scale) -> Box:
    x, y = across(point.x), up(point.y)
    return x - 6, y - 6, x + 6, y + 6


def _whiskers(point: Point, across: Scale, up: Scale) -> Iterator[Box]:
    """What the whiskers of a point cover."""
    x, y = across(point.x), up(point.y)
    if point.y_interval:
        yield x - 3, up(point.y_interval[1]), x + 3, up(point.y_interval[0])
    if point.x_interval:
        yield across(point.x_interval[0]), y - 3, across(point.x_interval[1]), y + 3


def _rule(rule: Rule, up: Scale, taken: list[Box], whiskers: Sequence[Box]) -> Markup:
    y, width = up(rule.y), labels.text_width(rule.label)
    sides = ((_RIGHT - width, _RIGHT, "end"), (_LEFT + 4, _LEFT + 4 + width, "start"))
    places = [
        Place((left, top, right, top + labels.LINE), anchor)
        for left, right, anchor in sides
        for top in (y - labels.LINE, y)
    ]
    found = labels.first_free(places, _FRAME, [*taken, *whiskers])
    taken += [found.box] if found else []
    line = Markup('<g class="rule {}"><title>{}</title><line x1="{}" x2="{}" y1="{y}" y2="{y}"/>{}</g>')
    words = labels.draw(rule.label, rule.kind, found, (0, 0)) if found else ""
    return line.format(rule.kind, rule.label, digits(_LEFT), digits(_RIGHT), words, y=digits(y))


def _limit(limit: Limit, across: Scale, taken: list[Box], whiskers: Sequence[Box]) -> Markup:
    x, width = across(limit.x), labels.text_width(limit.label)
    sides = ((x - 4 - width, x - 4, "end"), (x + 4, x + 4 + width, "start"))
    tops = (_TOP - labels.LINE, _BOTTOM - labels.LINE)
    places = [Place((left, top, right, top + labels.LINE), anchor) for top in tops for left, right, anchor in sides]
    found = labels.first_free(places, _FRAME, [*taken, *whiskers])
    taken += [found.box] if found else []
    line = Markup('<g class="rule gate"><title>{}</title><line x1="{x}" x2="{x}" y1="{}" y2="{}"/>{}</g>')
    words = labels.draw(limit.label, "gate", found, (0, 0)) if found else ""
    return line.format(limit.label, digits(_TOP - 16), digits(_BOTTOM), words, x=digits(x))


def _mark(point: Point, across: Scale, up: Scale) -> Markup:
    x, y = across(point.x), up(point.y)
    whiskers = []
    if point.y_interval:
        low, high = map(up, point.y_interval)
        whiskers += [(x, low, x, high), (x - 3, low, x + 3, low), (x - 3, high, x + 3, high)]
    if point.x_interval:
        low, high = map(across, point.x_interval)
        whiskers += [(low, y, high, y), (low, y - 3, low, y + 3), (high, y - 3, high, y + 3)]
    line = Markup('<line x1="{}" y1="{}" x2="{}" y2="{}"/>')
    return Markup('<g class="mark {}"><title>{}</title>{}<circle class="reach" cx="{}" cy="{}" r="14"/>{}</g>').format(
        point.kind,
        point.note or point.label,
        Markup("").join(line.format(*map(digits, ends)) for ends in whiskers),
        digits(x),
        digits(y),
        _shape(point.kind, x, y),
    )


def _shape(kind: str, x: float, y: float) -> Markup:
    """A triangle that points down for what misses a bound, a square for what is only compared with, else a disc."""
    if kind == "missed":
        return Markup('<path class="dot" d="M{} {}h12l-6 10.5z"/>').format(digits(x - 6), digits(y - 4.5))
    if kind == "reference":
        return Markup('<rect class="dot" x="{}" y="{}" width="9" height="9"/>').format(digits(x - 4.5), digits(y - 4.5))
    return Markup('<circle class="dot" cx="{}" cy="{}" r="5"/>').format(digits(x), digits(y))


def _ridge(row: Samples, values: np.ndarray[Any, Any], across: Scale, base: float) -> Markup:
    median, p90 = map(float, np.quantile(values, (0.5, 0.9)))
    tick = Markup('<line class="{}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>')
    return Markup(
        '<g class="ridge {}"><title>{}: {}</title><text class="name" x="6" y="{y}">{}</text>'
        '<text class="words" x="{right}" y="{y}" text-anchor="end">{}</text>'
        '<line class="base" x1="6" x2="{right}" y1="{base}" y2="{base}"/><path d="{}"/>{}{}</g>'
    ).format(
        row.kind,
        row.label,
        row.words,
        labels.clip(row.label, labels.beside(row.words, WIDTH - 12)),
        row.words,
        _outline(values, across, base),
        tick.format("median", digits(base - _RIDGE), digits(base + 3), x=digits(across(median))),
        tick.format("p90", digits(base - 9), digits(base + 3), x=digits(across(p90))),
        right=digits(WIDTH - 6),
        y=digits(base - _RIDGE - 5),
        base=digits(base),
    )


def _outline(values: np.ndarray[Any, Any], across: Scale, base: float) -> str:
    """Histogram of the values as a closed path, as high as `_RIDGE` where it is fullest."""
    ends = (math.log(across.low), math.log(across.high)) if across.log else (across.low, across.high)
    counts, _ = np.histogram(np.log(values) if across.log else values, bins=_BINS, range=ends)
    heights = counts / max(int(counts.max()), 1) * _RIDGE
    step, before = (across.end - across.start) / _BINS, 0.0
    path = [f"M{digits(across.start)} {digits(base)}"]
    for index, height in enumerate(heights):
        if height != before:
            path.append(f"H{digits(across.start + index * step)}V{digits(base - height)}")
            before = height
    return "".join([*path, f"H{digits(across.end)}V{digits(base)}Z"])


def _svg(parts: Iterable[Markup], height: float, name: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        digits(WIDTH), digits(height), name, Markup("").join(parts)
    )
