"""The arena drawn: operators across, bytes up, each tensor a box for as long as it lives."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from edgekit.report import words
from edgekit.report.axes import BYTES, Axis, Scale, digits, x_axis, y_axis
from edgekit.report.template import css, template
from edgekit.tflite.inspect import ModelContents
from edgekit.tflite.memory_plan import MemoryPlan, Placed

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM, _UNDER = 760.0, 56.0, 748.0, 26.0, 330.0, 42.0


def arena(plan: MemoryPlan) -> Markup:
    """The plan as an SVG; the operator at which most lives is marked, and so are the tensors that live there."""
    end = max((one.last for one in plan.tensors), default=0) + 1
    across = Scale(0.0, float(end), _LEFT, _RIGHT)
    up = Scale(0.0, float(max(plan.arena_bytes, 1)), _BOTTOM, _TOP)
    parts = [
        *x_axis(Axis("operator"), across, _TOP - 8, _BOTTOM),
        *y_axis(Axis("offset", BYTES), up, _LEFT, _RIGHT),
        Markup('<rect class="peak" x="{}" y="{}" width="{}" height="{}"/>').format(
            *map(digits, (across(plan.peak), _TOP - 8, across(plan.peak + 1) - across(plan.peak), _BOTTOM - _TOP + 8))
        ),
        *(_box(one, plan, across, up) for one in plan.tensors),
    ]
    svg = Markup('<svg class="chart arena" viewBox="0 0 {} {}" role="img" aria-label="arena">{}</svg>')
    return svg.format(digits(_WIDTH), digits(_BOTTOM + _UNDER), Markup("").join(parts))


def _box(one: Placed, plan: MemoryPlan, across: Scale, up: Scale) -> Markup:
    left, right = across(one.first), across(one.last + 1)
    top, bottom = up(one.offset + one.bytes), up(one.offset)
    kind = "at" if one.first <= plan.peak <= one.last else "other"
    note = f"{one.tensor}: {words.size(one.bytes)} at {words.size(one.offset)}, operators {one.first} to {one.last}"
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        kind, *map(digits, (left, top, right - left, bottom - top)), note
    )


def page(name: str, contents: ModelContents, plans: Sequence[tuple[str, MemoryPlan]]) -> str:
    """A page with the plan of each runtime, as HTML text without script or request."""
    main = [op for op in contents.operators if op.subgraph == 0]
    shown = [(title, plan, arena(plan), main[plan.peak] if main else None) for title, plan in plans]
    return template("arena.html").render(css=css(), name=name, shown=shown)
