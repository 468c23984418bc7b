"""The noise of an int8 file over its network: a column for each operator, in the order of execution.

Three strips share the columns: signal to noise (as the file runs, and of each operator alone), the share of values cut
off at the ends of the grid, and the share of the noise that is a shift. Causes are flags with a letter; the operators
that add most noise alone are named. Series differ in shape and not in colour only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import ascii_uppercase
from typing import Any

from markupsafe import Markup

from edgekit.doctor.layer_error import LayerError
from edgekit.doctor.pairing import brief
from edgekit.finding import Finding
from edgekit.report import labels
from edgekit.report.axes import Scale, digits, linear_ticks, text
from edgekit.report.doctor import decibels
from edgekit.report.labels import Box
from edgekit.report.layers import short_name

QUIET = 60.0
"""More than this, in dB, is drawn as this; so is no noise at all."""

HARM = 20.0
"""A hundredth of the signal is noise: below it a cause is looked for."""

_WIDTH, _LEFT, _RIGHT = 760.0, 40.0, 748.0
_TOP, _HEIGHT, _STRIP, _GAP, _UNDER = 62.0, 200.0, 44.0, 34.0, 40.0
_LEAST, _NAMED, _NUMBER = -10.0, 3, 26.0


@dataclass(frozen=True)
class _Columns:
    """The operators in the order of execution, and where each is drawn."""

    layers: Sequence[LayerError]
    width: float

    def __call__(self, number: float) -> float:
        """The middle of a column."""
        return _LEFT + (number + 0.5) * self.width


def network(ranked: Sequence[LayerError], findings: Sequence[Finding] = ()) -> Markup:
    """The drawing; `ranked` has the operator that adds most noise first, and is not empty."""
    layers = sorted(ranked, key=lambda one: one.index)
    columns = _Columns(layers, (_RIGHT - _LEFT) / len(layers))
    bottom = _TOP + _HEIGHT
    up = Scale(_lowest(layers), QUIET, bottom, _TOP)
    last = bottom + 2 * (_GAP + _STRIP)
    parts = [*_legend(), *_levels(up), *_flags(columns, findings, last), *_noise(columns, up)]
    parts += _bars(columns, "cut off at the ends of the grid", lambda one: one.saturation, bottom + _GAP)
    parts += _bars(columns, "shift: share of the noise that is a mean", lambda one: one.bias, last - _STRIP)
    parts += [*_numbers(columns, last), *_names(columns, ranked, up), *_hovers(columns, last)]
    svg = Markup('<svg class="chart network" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(
        digits(_WIDTH), digits(last + _UNDER), f"signal to noise of {len(layers)} operators", Markup("").join(parts)
    )


def letters(findings: Sequence[Finding]) -> list[str]:
    """A letter for each finding, in their order; the flags have the same."""
    return [ascii_uppercase[place % 26] for place in range(len(findings))]


def _lowest(layers: Sequence[LayerError]) -> float:
    """The lower end of the axis: 0 dB, or where the worst is, but not below -10."""
    known = [db for one in layers for db in (one.accumulated_db, one.isolated_db, one.channel_db) if db is not None]
    return max(_LEAST, min([0.0, *known]))


def _height(value: float | None, up: Scale) -> float:
    return up(QUIET if value is None else min(max(value, up.low), QUIET))


def _legend() -> Iterator[Markup]:
    yield text("axis", 0, 11, "signal to noise, dB: up is better")
    yield Markup('<g class="run"><path d="M304 7H326"/></g>')
    yield text("axis", 331, 11, "as the file runs")
    yield _alone(438, 7, 7)
    yield text("axis", 447, 11, "operator alone, its tail down to small channels")


def _levels(up: Scale) -> Iterator[Markup]:
    """Grid lines with their numbers, and the one below which there is harm."""
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>')
    for tick in linear_ticks(up.low, up.high, 6):
        yield line.format("harm" if tick == HARM else "grid", digits(_LEFT), digits(_RIGHT), y=digits(up(tick)))
        yield text("tick", _LEFT - 6, up(tick) + 4, f"{tick:g}".replace("-", "−"), "end")


def _noise(columns: _Columns, up: Scale) -> Iterator[Markup]:
    """The line of the run, then a diamond for each operator alone."""
    spots = [(columns(n), _height(one.accumulated_db, up)) for n, one in enumerate(columns.layers)]
    path = "M" + "L".join(f"{digits(x)} {digits(y)}" for x, y in spots)
    dots = [Markup('<circle cx="{}" cy="{}" r="2.6"/>').format(digits(x), digits(y)) for x, y in spots]
    few = Markup("").join(dots) if columns.width > 8 else ""
    yield Markup('<g class="run"><path d="{}"/>{}</g>').format(path, few)
    for number, one in enumerate(columns.layers):
        top, end = _height(one.isolated_db, up), _height(one.channel_db, up)
        yield _alone(columns(number), top, max(top, end), min(4.5, max(1.8, columns.width * 0.7)))


def _alone(x: float, top: float, end: float, size: float = 4.5) -> Markup:
    diamond = f"M{digits(x)} {digits(top - size)}l{digits(size)} {digits(size)}l-{digits(size)} {digits(size)}"
    tail = Markup('<line x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(digits(x), digits(top), digits(end))
    return Markup('<g class="alone">{}<path d="{}l-{s} -{s}z"/></g>').format(
        tail if end > top else "", diamond, s=digits(size)
    )


def _bars(columns: _Columns, title: str, value: Callable[[LayerError], float], top: float) -> Iterator[Markup]:
    """A strip of shares, from zero to the greatest, at least one per cent."""
    most = max(0.01, *(value(one) for one in columns.layers))
    yield text("axis", 0, top - 8, f"{title}, at most {max(map(value, columns.layers)):.1%}")
    bar, width = Markup('<rect x="{}" y="{}" width="{}" height="{}"/>'), max(0.8, min(18.0, columns.width * 0.7))
    shares = [(columns(n), value(one) / most * _STRIP) for n, one in enumerate(columns.layers)]
    drawn = [bar.format(*map(digits, (x - width / 2, top + _STRIP - h, width, h))) for x, h in shares if h >= 0.05]
    base = Markup('<line class="base" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
        _LEFT, _RIGHT, y=digits(top + _STRIP)
    )
    yield Markup('<g class="shares">{}{}</g>').format(Markup("").join(drawn), base)


def _numbers(columns: _Columns, last: float) -> Iterator[Markup]:
    """The numbers of some operators, as many as there is room for."""
    step = next(
        step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if step * columns.width >= 26 or step == 1000
    )
    for number, one in enumerate(columns.layers):
        if number % step == 0:
            yield text("tick", columns(number), last + 15, str(one.index), "middle")
    yield text("axis", _RIGHT, last + 33, "operators in the order of execution", "end")


def _flags(columns: _Columns, findings: Sequence[Finding], last: float) -> Iterator[Markup]:
    """A line down from a letter for each cause; those at one operator stand beside each other."""
    places = {brief(one.tensor): number for number, one in reversed([*enumerate(columns.layers)])}
    taken: list[Box] = []
    for letter, finding in zip(letters(findings), findings, strict=True):
        if finding.subject in places:
            x = columns(places[finding.subject])
            left = min(max(x - 8, _LEFT), _RIGHT - 16)
            while any(left < box[2] and box[0] < left + 16 for box in taken):
                left += 17 if left + 33 <= _RIGHT else -_RIGHT
            taken.append((left, 20, left + 16, 36))
            yield Markup(
                '<g class="flag"><title>{}</title><path d="M{x} {last}V44L{middle} 36"/>'
                '<rect x="{left}" y="20" width="16" height="16" rx="3"/>{}</g>'
            ).format(
                f"{finding.code}: {finding.problem}",
                text("letter", left + 8, 32, letter, "middle"),
                x=digits(x),
                last=digits(last),
                left=digits(left),
                middle=digits(left + 8),
            )


def _names(columns: _Columns, ranked: Sequence[LayerError], up: Scale) -> Iterator[Markup]:
    """The names of the worst, each near its diamond where there is room."""
    places = {id(one): number for number, one in enumerate(columns.layers)}
    avoided, taken = [*_marks(columns, up), *_line(columns, up)], list[Box]()
    for one in ranked[:_NAMED]:
        spot = (columns(places[id(one)]), _height(one.channel_db, up))
        frame = (_LEFT + 2, _TOP - 12, _RIGHT, _TOP + _HEIGHT)
        if found := labels.place(short_name(one.tensor), spot, frame, taken, avoided):
            yield labels.draw(short_name(one.tensor), "worst", found, spot)


def _marks(columns: _Columns, up: Scale) -> Iterator[Box]:
    """What the diamonds and their tails cover."""
    size = min(5.0, columns.width / 2)
    for number, one in enumerate(columns.layers):
        x, top, end = columns(number), _height(one.isolated_db, up), _height(one.channel_db, up)
        yield x - size, top - 5, x + size, max(end, top + 5)


def _line(columns: _Columns, up: Scale) -> Iterator[Box]:
    """What the line of the run covers, in steps of about twelve units."""
    heights = [_height(one.accumulated_db, up) for one in columns.layers]
    steps = max(1, int(columns.width / 12))
    for number, (here, there) in enumerate(pairwise([*heights, heights[-1]])):
        for step in range(steps):
            x, y = columns(number + step / steps), here + (there - here) * step / steps
            yield x - 4, y - 4, x + 4, y + 4


def _hovers(columns: _Columns, last: float) -> Iterator[Markup]:
    """An unseen column for each operator, with all that is known of it."""
    for number, one in enumerate(columns.layers):
        words = (
            f"#{one.index} {one.operator} {brief(one.tensor)}\n"
            f"dB alone {decibels(one.isolated_db)}, of its channels {decibels(one.channel_db)}, "
            f"as the file runs {decibels(one.accumulated_db)}\n"
            f"cut off {one.saturation:.2%}, shift {one.bias:.0%}, cosine {one.cosine:.4f}"
        )
        rect = Markup('<rect class="hover" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
        left = columns(number) - columns.width / 2
        yield rect.format(digits(left), digits(_TOP - 8), digits(columns.width), digits(last - _TOP + 8), words)


DRAWN: dict[str, Any] = {"network": network, "letters": letters, "decibels": decibels}
"""What the templates of a diagnosis need."""
