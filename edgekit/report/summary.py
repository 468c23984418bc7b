"""The summary of a run as a table: the float model first, then every variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.bench.statistics import summarize
from edgekit.report.table import render_table
from edgekit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgekit.metrics import Difference, Score
    from edgekit.pipeline import Run
    from edgekit.verify import Verification

HEADER = ("target", "recipe", "score", "against float [95 %]", "agreement", "size", "deflated", "p50 here", "peak RAM")


def summary_table(run: Run) -> str:
    """Score, difference, agreement, size, latency and memory of every variant."""
    rows = [["(float model)", "-", _scores(run.reference.scores), "", "", "", "", "", ""]]
    for batch, verification in run.reference.tflite.items():
        line = run.reference.files[batch]
        rows.append(["(converted)", f"float32, batch {batch}", *_judged(verification), format_bytes(line.file_bytes)])
        rows[-1] += [format_bytes(line.deflated_bytes), *_measured(run, run.reference.sha256[batch])]
    for manifest in run.artifacts:
        rows.append([manifest.target, manifest.recipe.name, *_judged(manifest.verification)])
        rows[-1] += [format_bytes(manifest.file_bytes), format_bytes(manifest.deflated_bytes)]
        rows[-1] += _measured(run, manifest.sha256)
    return render_table(HEADER, rows)


def _judged(verification: Verification | None) -> list[str]:
    if verification is None:
        return ["-", "-", "-"]
    rate = f"{verification.agreement.rate:.2%}"
    return [_scores(verification.scores), _differences(verification.differences), rate]


def _scores(scores: tuple[Score, ...]) -> str:
    return ", ".join(f"{score.name} {score.value:.4f}" for score in scores) or "-"


def _differences(differences: tuple[Difference, ...]) -> str:
    return ", ".join(f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]" for d in differences) or "-"


def _measured(run: Run, digest: str) -> list[str]:
    measurement = run.measurements.get(digest)
    if measurement is None:
        return ["-", "-"]
    found = summarize(measurement)
    return [format_seconds(found.p50_seconds.value), format_bytes(found.peak_bytes)]
