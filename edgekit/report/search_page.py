"""The page of a search: the front on axes of choice, what each decision bought, every trial; no script, no request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgekit.metrics import Difference, higher_is_better
from edgekit.report import plots, words
from edgekit.report.axes import BYTES, PERCENT, SECONDS, Axis
from edgekit.report.commands import Step, drop, found_steps, step
from edgekit.report.comparison import FILE, LATENCY, Compared, amounts, scores
from edgekit.report.plots import Limit, Point, Rule
from edgekit.report.template import css, template
from edgekit.units import format_count

if TYPE_CHECKING:
    from edgekit.search.found import Found, Kept
    from edgekit.search.point import Cost
    from edgekit.search.point import Point as Judged
    from edgekit.search.trial import Tried


@dataclass(frozen=True)
class Side:
    """What an axis of the charts can show: its word, how it is drawn, its value of a point, and where its budget is."""

    key: str
    axis: Axis
    of: Callable[[Judged], float | None]
    budget: float | None = None


@dataclass(frozen=True)
class Drawing:
    """A chart of one pair of axes."""

    x: Side
    y: Side
    drawing: Markup


@dataclass(frozen=True)
class Effect:
    """What trials with one value of a decision had on average; None where none was judged."""

    decision: str
    value: str
    trials: int
    accepted: int
    loss: float | None
    size: float | None
    pace: float | None


def search_page(found: Found, family: str = "host") -> str:
    """The page as HTML text; `family` is what kind of board the target is."""
    drawings = list(_drawings(found))
    return template("search.html").render(
        css=css(),
        found=found,
        best=found.recommended,
        drawings=drawings,
        xs=_unique([one.x for one in drawings]),
        ys=_unique([one.y for one in drawings]),
        compared=list(_compared(found)),
        steps=_steps(found, family),
        effects=list(effects(found)),
        importances=found.importances,
        loss=lambda value: "-" if value is None else words.change(found.metric, value).removeprefix("+"),
        pace_of=lambda cost: _pace_of(found, cost),
        pace=format_count if found.latency == "unknown" else words.seconds,
        bar=plots.bar,
    )


def _compared(found: Found) -> Iterator[Compared]:
    """The recommended point beside the float model, and beside the float32 file where that was tried."""
    best = found.recommended
    if best is None:
        return
    loss, sign = best.point.loss, _sign(found)
    ends = sorted((sign * loss.low, sign * loss.high))
    change = Difference(sign * loss.value, ends[0], ends[1], "paired", loss.samples)
    note = "on the validation part"
    yield scores(found.reference[loss.head], best.point.score, change, sign * found.floor, loss.low > 0, note)
    before = next((one.cost for one in found.tried if one.recipe == "float32"), None)
    if before and before is not best.point.cost:
        yield from _costs(before, best.point.cost)


def _costs(before: Cost, after: Cost) -> Iterator[Compared]:
    yield amounts(FILE, before.file_bytes, after.file_bytes, words.size, ("smaller", "larger", "as large"))
    if before.latency and after.latency:
        how = "measured" if after.timing else "estimated"
        yield amounts(LATENCY, before.latency, after.latency, words.seconds, ("faster", "slower", "as fast"), how)
    if before.arena_bytes and after.arena_bytes:
        ways = ("less", "more", "as much")
        yield amounts("Working memory", before.arena_bytes, after.arena_bytes, words.size, ways, "between operators")


def _steps(found: Found, family: str) -> tuple[Step, ...]:
    given = ["MODEL", "--data", "DATA", "-t", found.target]
    if found.runs_nothing:
        return (step("See what pays on this target, and what it refuses", "recommend", "MODEL", "-t", found.target),)
    if found.best is None:
        wider = ["--max-drop", drop(found.metric, found.reference[0].value, 0.05), "--time", "1h", "-o", "OUT"]
        return (step("Search longer, or with a wider budget", "search", *given, *wider),)
    return (
        *found_steps(family, found.target),
        step("Or make it again, and alone", "optimize", *given, "-r", found.best, "-o", "OUT"),
    )


def effects(found: Found) -> Iterator[Effect]:
    """For each decision and each of its values the averages of the trials that took it."""
    names = dict.fromkeys(name for one in found.tried for name in one.choices)
    for name in names:
        took = [one for one in found.tried if name in one.choices]
        for value in sorted({one.choices[name] for one in took}, key=lambda one: (str(type(one)), one)):
            yield _effect(found, name, value, [one for one in took if one.choices[name] == value])


def _effect(found: Found, name: str, value: object, took: list[Tried]) -> Effect:
    judged = [point for one in took if (point := one.point or one.proxy)]
    costs = [one.cost for one in took if one.cost]
    paces = [pace for cost in costs if (pace := _pace_of(found, cost)) is not None]
    accepted = sum(one.point is not None and not one.reason for one in took)
    return Effect(
        name,
        str(value),
        len(took),
        accepted,
        fmean(point.loss.value for point in judged) if judged else None,
        fmean(cost.file_bytes for cost in costs) if costs else None,
        fmean(paces) if paces else None,
    )


def _pace_of(found: Found, cost: Cost) -> float | None:
    """Seconds of one inference, None where they are not known; multiply-accumulates where no file's are."""
    return cost.macs if found.latency == "unknown" else cost.latency


def _drawings(found: Found) -> Iterator[Drawing]:
    """Each pair of axes for which there is data: the score or the size upwards, what is taken to the right."""
    sides = _sides(found)
    for x in sides[1:]:
        for y in sides[:2]:
            if x.key != y.key and (points := list(_points(found, x, y))):
                limits = [Limit(x.budget, "budget")] if x.budget else []
                yield Drawing(x, y, plots.scatter(points, x.axis, y.axis, _rules(found, y), limits))


def _sides(found: Found) -> list[Side]:
    metric, budget = found.metric, found.budget
    share = words.is_share(metric)
    how = {"measured": "measured latency", "estimated": "estimated latency"}.get(found.latency)
    title = words.metric_title(metric) + (", by the output that loses most" if len(found.reference) > 1 else "")
    scores = Axis(title, PERCENT, 1.0) if share else Axis(title)
    size = Side("size", Axis("file size", BYTES), lambda one: float(one.cost.file_bytes), budget.max_bytes)
    load = Side("download", Axis("deflated size", BYTES), lambda one: one.cost.deflated_bytes, budget.max_download)
    work = Side("work", Axis("multiply-accumulates", ((1.0, ""), (1e3, "K"), (1e6, "M"), (1e9, "G"))), _macs)
    time = Side("latency", Axis(how or "", SECONDS), lambda one: one.cost.latency, budget.max_latency)
    ram = Side("memory", Axis("working memory", BYTES), lambda one: one.cost.arena_bytes, budget.max_ram)
    return [
        Side("score", scores, lambda one: found.reference[0].value + _sign(found) * one.loss.value),
        size,
        time if how else work,
        ram,
        *([load] if budget.max_download else []),
    ]


def _sign(found: Found) -> int:
    """Which way a loss changes the score."""
    return -1 if higher_is_better(found.metric) else 1


def _macs(point: Judged) -> float:
    return float(point.cost.macs)


def _rules(found: Found, y: Side) -> list[Rule]:
    if y.key != "score":
        return [Rule(y.budget, "budget", "gate")] if y.budget else []
    reference = found.reference[0].value
    least = reference + _sign(found) * found.floor
    return [Rule(reference, "float model"), Rule(least, "floor", "gate")]


def _points(found: Found, x: Side, y: Side) -> Iterator[Point]:
    front = {kept.point.recipe: kept for kept in found.front}
    for one in found.tried:
        point = one.point or one.proxy
        if point is None:
            continue
        across, up = x.of(point), y.of(point)
        if across is not None and up is not None:
            yield _drawn(found, one, point, front.get(one.recipe), across, up, y.key == "score")


def _drawn(
    found: Found, one: Tried, point: Judged, kept: Kept | None, across: float, up: float, whisker: bool
) -> Point:
    kind = "variant" if kept else "missed" if one.reason else "reference"
    ends = _interval(found, point) if kept and whisker else None
    label = ("★ " if one.recipe == found.best else "") + one.recipe if kept else ""
    return Point(label, across, up, None, ends, kind, note(found, one, point))


def _interval(found: Found, point: Judged) -> tuple[float, float] | None:
    """The paired interval of the loss, put where the float model's value is its zero."""
    zero, sign = found.reference[0].value, _sign(found)
    ends = sorted((zero + sign * point.loss.low, zero + sign * point.loss.high))
    return (ends[0], ends[1]) if all(map(math.isfinite, ends)) else None


def note(found: Found, one: Tried, point: Judged) -> str:
    """What the tooltip of a point says."""
    cost = point.cost
    score = point.score
    said = [f"{one.recipe}: {words.metric_title(score.name)} {words.number(score.name, score.value)}"]
    said += [words.size(cost.file_bytes), f"{words.size(cost.deflated_bytes)} deflated"]
    if cost.latency:
        said.append(f"{words.seconds(cost.latency)} {'measured' if cost.timing else 'estimated'}")
    said += [f"{words.size(cost.arena_bytes)} of memory"] if cost.arena_bytes else []
    said += [f"after a share of its epochs: {one.reason}"] if not one.point else [one.reason] if one.reason else []
    return ", ".join(said)


def _unique(sides: list[Side]) -> list[Side]:
    return list({side.key: side for side in sides}.values())
