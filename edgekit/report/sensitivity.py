"""The plot of a sensitivity report: a row for each layer, a dot for each share, and how far from the baseline it fell.

As a drawing for a page, as a file of its own (SVG), or as a page with the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup

from edgekit.metrics import higher_is_better
from edgekit.report import labels, words
from edgekit.report.axes import PERCENT, Axis, Scale, digits, span, text, x_axis
from edgekit.report.commands import Step, drop, step
from edgekit.report.template import css, template
from edgekit.stages.sensitivity import LayerSensitivity, SensitivityReport
from edgekit.units import format_count

_WIDTH, _ROW, _TOP, _UNDER = 640.0, 17.0, 46.0, 42.0
_START, _END = 214.0, 560.0
_NAME, _LETTERS = 206.0, 33


def drawing(report: SensitivityReport, max_drop: float | None = None) -> Markup:
    """The layers in the order of the graph; a line at the baseline, and one where `max_drop` is lost."""
    values = [_value(report, layer, place) for layer in report.layers for place in range(len(report.shares))]
    start = report.baseline if report.metric and report.baseline is not None else 0.0
    bound = (
        None
        if max_drop is None
        else start + max_drop * (-1 if report.metric and higher_is_better(report.metric) else 1)
    )
    across = Scale(*span([start, *values, *([] if bound is None else [bound])], 0.04), _START, _END)
    bottom = _TOP + _ROW * len(report.layers)
    measure = words.metric_title(report.metric) if report.metric else "change of the outputs"
    title = f"{measure} of {report.samples} {report.part} samples"
    percent = report.metric is None or words.is_share(report.metric)
    parts = [*x_axis(Axis(title, PERCENT if percent else ((1.0, ""),)), across, _TOP - 8, bottom)]
    parts += [_rule(across(start), bottom, "reference", "as it is" if report.metric else "unchanged")]
    parts += [] if bound is None else [_rule(across(bound), bottom, "gate", "greatest drop")]
    parts += [*_legend(report), text("words", _WIDTH, _TOP - 14, "weights", "end")]
    parts += [_row(report, layer, number, across, start) for number, layer in enumerate(report.layers)]
    svg = Markup('<svg class="chart sensitivity" viewBox="-10 -6 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(digits(_WIDTH + 20), digits(bottom + _UNDER + 12), f"{title}, by layer", Markup("").join(parts))


def svg(report: SensitivityReport, max_drop: float | None = None) -> str:
    """The plot as an SVG file of its own, which follows light and dark."""
    style = Markup("<style>{}</style>").format(Markup(_style()))
    font = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" style="background: var(--paper); font-family: {}" ').format(
        font
    )
    inner = drawing(report, max_drop).removeprefix("<svg ")
    opening, _, rest = inner.partition(">")
    return f"{head}{opening}>{style}{rest}\n"


def page(report: SensitivityReport, max_drop: float | None = None) -> str:
    """The plot and the table as one HTML file, with no script and no request in it."""
    return template("sensitivity.html").render(
        css=css(), report=report, drawing=drawing(report, max_drop), steps=_steps(report)
    )


def _steps(report: SensitivityReport) -> tuple[Step, ...]:
    recipe = f"{'prune50-int8' if report.kind == 'weights' else 'channels50-int8'}:by-sensitivity"
    bound = ["--max-drop", drop(report.metric, report.baseline, 0.01)] if report.metric and report.baseline else []
    command = ["optimize", "MODEL", "--data", "DATA", "-r", recipe, *bound, "-o", "OUT"]
    return (step("Prune, train and judge by a recipe", *command),)


def _value(report: SensitivityReport, layer: LayerSensitivity, place: int) -> float:
    harm = layer.harms[place]
    return harm.change if harm.value is None else harm.value


def _row(report: SensitivityReport, layer: LayerSensitivity, number: int, across: Scale, start: float) -> Markup:
    y = _TOP + _ROW * (number + 0.5)
    shown = [_value(report, layer, place) for place in range(len(report.shares))]
    said = ", ".join(f"{share:.0%} gone: {value:.4g}" for share, value in zip(report.shares, shown, strict=True))
    ends = [across(value) for value in (start, *shown)]
    line = Markup('<line class="reached" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
        digits(min(ends)), digits(max(ends)), y=digits(y)
    )
    band = Markup('<rect class="band" x="0" y="{}" width="{}" height="{}"/>').format(
        digits(y - _ROW / 2), digits(_WIDTH), digits(_ROW)
    )
    dots = [_dot(x, y, place, len(shown)) for place, x in enumerate(ends[1:])]
    return Markup('<g class="layer"><title>{}: {}</title>{}{}{}{}{}</g>').format(
        layer.name,
        said,
        band if number % 2 else "",
        text("name", _NAME, y + 4, labels.clip(layer.name, _LETTERS), "end"),
        text("words", _WIDTH, y + 4, format_count(layer.weights), "end"),
        line,
        Markup("").join(reversed(dots)),
    )


def _dot(x: float, y: float, place: int, count: int) -> Markup:
    """Darker for a greater share."""
    dot = Markup('<circle class="dot" cx="{}" cy="{}" r="4.5" fill-opacity="{}"/>')
    return dot.format(digits(x), digits(y), digits(_strength(place, count)))


def _strength(place: int, count: int) -> float:
    return 1.0 if count == 1 else 0.2 + 0.8 * place / (count - 1)


def _legend(report: SensitivityReport) -> Iterator[Markup]:
    yield text("words", 0, 14, "share that goes")
    for place, share in enumerate(report.shares):
        x = 100 + 56.0 * place
        yield _dot(x, 10, place, len(report.shares))
        yield text("words", x + 9, 14, f"{share:.0%}")


def _rule(x: float, bottom: float, kind: str, name: str) -> Markup:
    line = Markup('<g class="rule {}"><line x1="{x}" x2="{x}" y1="{}" y2="{}"/>{}</g>')
    height = _TOP - (30 if kind == "gate" else 14)
    said = text("words", min(x + 30, _END + 20), height, name, "end")
    return line.format(kind, digits(height + 4), digits(bottom), said, x=digits(x))


def _style() -> str:
    """The colours and the rules of charts, for a file without a page around it."""
    sheet = css()
    colours = sheet[: sheet.index("* {")]
    return colours + "\n".join(re.findall(r"^\.chart.*$", sheet, re.MULTILINE))
