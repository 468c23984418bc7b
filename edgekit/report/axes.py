"""Axes of the charts: scales, round ticks, and the grid they draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

BYTES = ((1.0, "B"), (1024.0, "KiB"), (1024.0**2, "MiB"), (1024.0**3, "GiB"))
SECONDS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
PERCENT = ((0.01, "%"),)


@dataclass(frozen=True)
class Axis:
    """What an axis shows: its title, the units its numbers may be written in (size, name), and its greatest value."""

    title: str
    units: tuple[tuple[float, str], ...] = ((1.0, ""),)
    most: float = math.inf

    def unit(self, typical: float) -> tuple[float, str]:
        """The largest unit that is not above a typical value."""
        return max((unit for unit in self.units if unit[0] <= typical), default=self.units[0])

    def words(self, unit: str, log: bool = False) -> str:
        """The title with its unit."""
        return self.title + (f", {unit}" if unit else "") + (" (log scale)" if log else "")


@dataclass(frozen=True)
class Scale:
    """Values `low`..`high` onto positions `start`..`end`, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of a value."""
        low, high, at = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    @property
    def middle(self) -> float:
        """The value that is drawn in the middle."""
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within `low`..`high`, about `wanted` of them.

    Heckbert 1990, Nice Numbers for Graph Labels (Graphics Gems).
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(nice for nice, above in ((10, 50), (5, 10), (2, 2), (1, 0)) if (rough / power) ** 2 >= above)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within `low`..`high`, at most ten; only the powers where those are enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    series = [(nice, nice * 10.0**power) for power in powers for nice in (1, 2, 5)]
    inside = [(nice, tick) for nice, tick in series if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    tens = [tick for nice, tick in inside if nice == 1]
    return tens if len(tens) > 3 or len(inside) > 10 else [tick for _, tick in inside] or [low]


def span(values: Sequence[float], margin: float = 0.1) -> tuple[float, float]:
    """Least and greatest value with room around them, also where they are the same."""
    low, high = min(values), max(values)
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def x_axis(axis: Axis, scale: Scale, top: float, bottom: float) -> Iterator[Markup]:
    """Grid lines from `top` to `bottom`, numbers under them, the title under those."""
    size, unit = axis.unit(scale.middle)
    for tick in (log_ticks if scale.log else linear_ticks)(scale.low / size, scale.high / size):
        at = digits(scale(tick * size))
        yield Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(at, digits(top), digits(bottom))
        yield text("tick", scale(tick * size), bottom + 15, f"{tick:g}", "middle")
    yield text("axis", scale.end, bottom + 33, axis.words(unit, scale.log), "end")


def y_axis(axis: Axis, scale: Scale, left: float, right: float) -> Iterator[Markup]:
    """Grid lines from `left` to `right`, numbers beside them, the title above."""
    size, unit = axis.unit(abs(scale.middle))
    for tick in (log_ticks if scale.log else linear_ticks)(scale.low / size, min(scale.high, axis.most) / size):
        at = scale(tick * size)
        line = Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>')
        yield line.format(digits(left), digits(right), digits(at))
        yield text("tick", left - 6, at + 4, f"{tick:g}".replace("-", "−"), "end")
    yield text("axis", 0, 12, axis.words(unit, scale.log))


def text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Words in a drawing, of a class of the style."""
    element = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>')
    return element.format(kind, digits(x), digits(y), anchor, words)


def digits(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
