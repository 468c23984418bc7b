"""Memory as bars: what the process held before the model, what the model added, and the peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgekit.report import labels, words
from edgekit.report.axes import BYTES, Axis, Scale, digits, x_axis

_WIDTH, _ROW, _BAR, _UNDER = 400.0, 48.0, 14.0, 42.0


@dataclass(frozen=True)
class Held:
    """One row, in bytes: before the model, memory of its own that the model added, pages of files, and the peak."""

    label: str
    baseline: int
    anonymous: int
    file: int
    peak: int


def bars(rows: Sequence[Held]) -> Markup:
    """A bar for each row: baseline, +anonymous, +file after each other, and a tick at the peak."""
    most = max(max(row.baseline + max(row.anonymous, 0) + max(row.file, 0), row.peak) for row in rows)
    across = Scale(0.0, 1.04 * most, 6.0, _WIDTH - 6)
    bottom = 10 + _ROW * len(rows)
    parts = [*x_axis(Axis("memory", BYTES), across, 10, bottom)]
    parts += [_row(row, across, 4 + _ROW * (index + 1)) for index, row in enumerate(rows)]
    svg = Markup('<svg class="chart memory" viewBox="0 0 {} {}" role="img" aria-label="memory">{}</svg>')
    return svg.format(digits(_WIDTH), digits(bottom + _UNDER), Markup("").join(parts))


def _row(row: Held, across: Scale, base: float) -> Markup:
    said = f"+{words.size(row.anonymous)} +{words.size(row.file)} · peak {words.size(row.peak)}"
    rect = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    parts, start = [], 0.0
    for kind, count in (("baseline", row.baseline), ("anonymous", row.anonymous), ("file", row.file)):
        left, right = across(start), across(start + max(count, 0))
        note = f"{kind} {words.size(count)}"
        parts.append(rect.format(kind, digits(left), digits(base - _BAR), digits(right - left), digits(_BAR), note))
        start += max(count, 0)
    return Markup(
        '<g class="held"><title>{}: {}</title><text class="name" x="6" y="{y}">{}</text>'
        '<text class="words" x="{}" y="{y}" text-anchor="end">{}</text>{}'
        '<line class="peak" x1="{x}" x2="{x}" y1="{}" y2="{}"/></g>'
    ).format(
        row.label,
        said,
        labels.clip(row.label, labels.beside(said, _WIDTH - 12)),
        digits(_WIDTH - 6),
        said,
        Markup("").join(parts),
        digits(base - _BAR - 4),
        digits(base + 4),
        y=digits(base - _BAR - 8),
        x=digits(across(row.peak)),
    )
