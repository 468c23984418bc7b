"""The stages that changed the network, as the report shows them: words, a table, and the curve of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgekit.report import words
from edgekit.report.axes import Axis
from edgekit.report.plots import Curve, Point, curves

if TYPE_CHECKING:
    from edgekit.stages.training import Epoch
    from edgekit.step import StageReport


@dataclass(frozen=True)
class TrainingStage:
    """A stage, the curve of its training if there was one, and a sentence about it."""

    report: StageReport
    drawing: Markup | None
    caption: str


def training_stage(report: StageReport) -> TrainingStage:
    """What the report shows of a stage."""
    trained = [epoch for epoch in report.epochs if epoch.loss is not None]
    return TrainingStage(report, _drawing(report.epochs) if trained else None, _caption(report) if trained else "")


def _drawing(epochs: Sequence[Epoch]) -> Markup | None:
    own = [(float(epoch.number), epoch.loss) for epoch in epochs if epoch.loss is not None]
    judged = [(float(e.number), e.validation_loss) for e in epochs if e.validation_loss is not None and e.number]
    best = next((epoch for epoch in reversed(epochs) if epoch.best), None)
    lines = [Curve("training", own, "reference"), *([Curve("validation", judged)] if judged else [])]
    marks = []
    if best and best.number and best.validation_loss is not None:
        marks = [Point("best", best.number, best.validation_loss, note=f"epoch {best.number}: its weights were taken")]
    return curves(lines, Axis("epoch"), Axis("loss"), marks)


def _caption(report: StageReport) -> str:
    last, best = report.epochs[-1], next((epoch for epoch in reversed(report.epochs) if epoch.best), None)
    count = f"{last.number} epoch{'s' if last.number > 1 else ''}"
    parts = [f"{count} in {words.seconds(sum(epoch.seconds for epoch in report.epochs))}"]
    if best:
        taken = f"the weights are those of epoch {best.number}" if best.number else "none was better than before it"
        judged = report.metric and best.value is not None
        value = f", {words.metric_title(report.metric or '')} {words.number(report.metric or '', best.value or 0)}"
        parts.append(taken + (f"{value} on the validation part" if judged else ""))
    return words.sentence("; ".join(parts))
