"""The summary of a run as a table: the float model first, then every variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.bench.statistics import summarize
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgekit.artifact import Manifest, StageRecord
    from edgekit.metrics import Difference, Score
    from edgekit.run import Run
    from edgekit.verify import Verification


def summary_table(run: Run) -> str:
    """Score, change against the float model, size and median latency of every variant; 80 columns in the usual case.

    The deflated size is shown where weights were pruned or clustered, whose gain is there and nowhere else.
    """
    metric = run.metric or "score"
    judged = bool(run.reference.scores)
    header = ["target", "recipe", metric, "change [95 % interval]", "size", "p50 here"]
    deflated = any(manifest.recipe.trained for manifest in run.artifacts)
    header[-1:-1] = ["deflated"] if deflated else []
    if not judged:
        header[2:4] = ["agreement"]
    rows = [["(float model)", "-", *_float(run, judged), *[""] * (3 if deflated else 2)]]
    for batch, verification in run.reference.tflite.items():
        sizes = _sizes(run.reference.files[batch], deflated)
        name = "float32" if batch == 1 else f"float32, batch {batch}"
        rows.append(["(converted)", name, *_judged(verification), *sizes, _latency(run, run.reference.sha256[batch])])
    for manifest in run.artifacts:
        cells = _judged(manifest.verification) if run.data else ["-"]
        row = [manifest.target, manifest.recipe.name, *cells, *_sizes(manifest, deflated)]
        rows.append([*row, _latency(run, manifest.sha256)])
    table = render_table(header, rows)
    return f"{table}\n\nchange: file minus float model, on the same test samples" if judged else table


def _sizes(found: StageRecord | Manifest, deflated: bool) -> list[str]:
    return [format_bytes(found.file_bytes), *([format_bytes(found.deflated_bytes)] if deflated else [])]


def _float(run: Run, judged: bool) -> list[str]:
    return [_scores(run.reference.scores), ""] if judged else [""]


def _judged(verification: Verification | None) -> list[str]:
    if verification is None:
        return ["-"]
    if not verification.scores:
        return [f"{verification.agreement.rate:.2%}"]
    return [_scores(verification.scores), _differences(verification.differences)]


def _scores(scores: tuple[Score, ...]) -> str:
    named = len({score.name.rpartition(":")[0] for score in scores}) > 1
    return ", ".join(
        f"{score.name} {score.value:.{_decimals(score.value)}f}"
        if named
        else f"{score.value:.{_decimals(score.value)}f}"
        for score in scores
    )


def _differences(differences: tuple[Difference, ...]) -> str:
    return ", ".join(f"{_signed(d.value)} [{_signed(d.low)}, {_signed(d.high)}]" for d in differences)


def _signed(value: float) -> str:
    digits = _decimals(value)
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # adding zero turns a negative zero into a positive one


def _decimals(value: float) -> int:
    return 4 if abs(value) < 10 else 2


def _latency(run: Run, digest: str) -> str:
    measurement = run.measurements.get(digest)
    return format_seconds(summarize(measurement).p50_seconds.value) if measurement else "-"
