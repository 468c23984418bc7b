"""The report: one HTML file that needs nothing else, with no script and no request in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.answer_findings import class_name
from edgekit.bench.disturbances import warnings
from edgekit.bench.statistics import Summary
from edgekit.report import words
from edgekit.report.charts import File, charts, distinct_files
from edgekit.report.commands import reproduce
from edgekit.report.network import DRAWN
from edgekit.report.template import css, template
from edgekit.report.variants import Card, Known, cards, rows, variants
from edgekit.tflite.inspect import inspect_model

if TYPE_CHECKING:
    from edgekit.artifact import StageRecord
    from edgekit.estimate import Forecast
    from edgekit.run import Run
    from edgekit.verify import Verification


def render_report(
    run: Run,
    files: Mapping[str, bytes] | None = None,
    forecasts: Mapping[str, Forecast] | None = None,
    families: Mapping[str, str] | None = None,
) -> str:
    """The report of a run as HTML text.

    `files` are the `.tflite` files by sha256, the float32 ones too; without a file its layers are not shown.
    `forecasts` are by the name of the artifact, `families` by the name of the target: what kind of board it is.
    Raises ModelError if one of the files is not a sound TFLite file.
    """
    summaries = {digest: inspect_model(data) for digest, data in (files or {}).items()}
    known = distinct_files(run)
    found = variants(run, Known(known, summaries, forecasts or {}))
    made = cards(run, found, families or {})
    return template("report.html").render(
        run=run,
        css=css(),
        cards=made,
        bottom_line=bottom_line(made),
        charts=charts(run, known.values()),
        references=_references(run, known),
        rows=rows(found),
        variants=found,
        estimated=any(variant.estimates for variant in found),
        disturbed=_disturbed(run, known),
        class_name=class_name,
        **DRAWN,
        commands=reproduce(run),
        machines=list(dict.fromkeys(map(words.machine, run.measurements.values()))),
        where=" and ".join(dict.fromkeys(map(words.place, run.measurements.values()))),
        started=min((measured.started for measured in run.measurements.values()), default=""),
        versions=run.artifacts[0].versions if run.artifacts else {},
    )


def bottom_line(made: Sequence[Card]) -> str:
    """What came of the run in one sentence."""
    count = Counter(card.best.verdict.word for card in made)
    if len(made) == 1:
        return f"A file for {made[0].target}: {made[0].best.verdict.word}."
    said = [f"{'all' if number == len(made) else number} {word}" for word, number in count.most_common()]
    return f"A file for each of {len(made)} targets: {', '.join(said)}."


@dataclass(frozen=True)
class ReferenceRow:
    """A float32 file in the summary table."""

    label: str
    line: StageRecord
    verification: Verification | None
    measured: Summary | None


def _references(run: Run, known: Mapping[str, File]) -> list[ReferenceRow]:
    return [
        ReferenceRow(known[digest].label, run.reference.files[batch], known[digest].verification, known[digest].summary)
        for batch, digest in run.reference.sha256.items()
    ]


def _disturbed(run: Run, known: Mapping[str, File]) -> dict[str, list[str]]:
    """{name of a file: what disturbed its measurement}."""
    noisy = {known[digest].label: list(warnings(found)) for digest, found in run.measurements.items()}
    return {label: said for label, said in noisy.items() if said}
