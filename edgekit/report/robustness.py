"""What `edgekit evaluate --float` says on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.answer_findings import class_name
from edgekit.answers import Answers
from edgekit.report.table import render_table
from edgekit.robustness import Robustness, Trial


def robustness_text(found: Robustness) -> str:
    """Scores of both models, their answers, the corruptions, and the warnings."""
    parts = [_scores(found)]
    parts += [_answers(one, found.class_names) for one in found.clean.answers]
    parts += [_trials(found)] if found.trials else []
    return "\n\n".join([*parts, "\n".join(_warnings(found))])


def _scores(found: Robustness) -> str:
    rows = [
        (before.name, f"{before.value:.4f}", f"{after.value:.4f}", f"{d.value:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}")
        for before, after, d in zip(found.before, found.clean.scores, found.clean.differences, strict=True)
    ]
    head = render_table(("metric", "float", "file", "change", "95 %"), rows)
    return f"{head}\n{found.clean.samples} samples of the {found.part} part, the file run by {found.clean.runtime}"


def _answers(one: Answers, names: tuple[str, ...]) -> str:
    sure = one.confidence
    lines = [
        f"churn {one.churn:.2%}: right before and wrong after {one.broken:.2%}, the other way {one.mended:.2%}",
        f"expected calibration error {sure.before:.4f} in float, {sure.after:.4f} in the file "
        f"(change {sure.low:+.4f} to {sure.high:+.4f})",
    ]
    rows = [
        (
            class_name(each.label, names),
            str(each.samples),
            f"{each.before:.4f}",
            f"{each.after:.4f}",
            f"{each.after - each.before:+.4f}",
            f"{each.low:+.4f} to {each.high:+.4f}",
        )
        for each in one.worst
    ]
    table = render_table(("class", "samples", "float", "file", "change", "95 % for all classes"), rows)
    more = f"\nthe {len(rows)} of {one.classes} classes that lose most" if one.classes > len(rows) else ""
    return "\n".join([*lines, "", table + more])


def _trials(found: Robustness) -> str:
    header = ("corruption", "severity", "by", "float", "file", "change", "95 %", "behind clean", "95 % for all rows")
    rows = [row for trial in found.trials for row in _rows(trial)]
    return f"inputs taken as {found.kind}, seed {found.seed}\n{render_table(header, rows)}"


def _rows(trial: Trial) -> Iterator[tuple[str, ...]]:
    columns = zip(trial.before, trial.after, trial.differences, trial.behind, strict=True)
    for before, after, difference, behind in columns:
        yield (
            trial.corruption,
            str(trial.severity),
            trial.amount,
            f"{before.value:.4f}",
            f"{after.value:.4f}",
            f"{difference.value:+.4f}",
            f"{difference.low:+.4f} to {difference.high:+.4f}",
            f"{behind.value:+.4f}",
            f"{behind.low:+.4f} to {behind.high:+.4f}",
        )


def _warnings(found: Robustness) -> list[str]:
    lines = [f"warning: {one.subject}: {one.problem}\n  mend: {one.mend}" for one in found.findings]
    notes = [f"note: {warning}" for warning in found.warnings]
    return [*(lines or ["nothing that the average hides was found"]), *notes]
