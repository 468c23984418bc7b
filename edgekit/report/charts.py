"""The charts of a run: which file is which point, and what its tooltip says."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgekit.bench.statistics import Summary, summarize
from edgekit.report import plots, words
from edgekit.report.axes import BYTES, PERCENT, SECONDS, Axis
from edgekit.report.plots import Interval, Point, Rule, Samples

if TYPE_CHECKING:
    from edgekit.run import Run
    from edgekit.verify import Verification


@dataclass(frozen=True)
class Chart:
    """A drawing, its title and what one should know to read it."""

    title: str
    caption: str
    drawing: Markup


@dataclass(frozen=True)
class File:
    """One distinct file of a run: several targets may share it."""

    sha256: str
    label: str
    kind: str
    file_bytes: int
    verification: Verification | None
    summary: Summary | None


def distinct_files(run: Run) -> dict[str, File]:
    """The float32 files, then every variant, by sha256; a file that serves several targets once."""
    sums = {digest: summarize(measurement) for digest, measurement in run.measurements.items()}
    found = {
        digest: File(
            sha256=digest,
            label="float32" if len(run.reference.sha256) == 1 else f"float32, batch {batch}",
            kind="reference",
            file_bytes=run.reference.files[batch].file_bytes or 0,
            verification=run.reference.tflite.get(batch),
            summary=sums.get(digest),
        )
        for batch, digest in run.reference.sha256.items()
    }
    for manifest in run.artifacts:
        if manifest.sha256 not in found:
            kind = "missed" if words.verdict(run, manifest).kind == "bad" else "variant"
            label, digest = _label(run, manifest.sha256), manifest.sha256
            found[digest] = File(
                digest, label, kind, manifest.file_bytes, manifest.verification, sums.get(manifest.sha256)
            )
    return found


def _label(run: Run, digest: str) -> str:
    """The recipe's name, and the target where another file has the same name."""
    mine = [manifest for manifest in run.artifacts if manifest.sha256 == digest]
    names = list(dict.fromkeys(manifest.recipe.name for manifest in mine))
    targets = list(dict.fromkeys(manifest.target for manifest in mine))
    label = " = ".join(names)
    if all(other.recipe.name not in names for other in run.artifacts if other.sha256 != digest):
        return label
    return f"{label} · {targets[0]}" + (f" +{len(targets) - 1}" if len(targets) > 1 else "")


def charts(run: Run, files: Collection[File]) -> list[Chart]:
    """Quality against size, quality against latency, and latency itself; those for which there is data."""
    judged = [file for file in files if file.verification]
    timed = [file for file in files if file.summary]
    made = []
    if judged:
        made.append(_against_size(run, judged))
    if judged and timed:
        made.append(_against_latency(run, [file for file in judged if file.summary]))
    if timed:
        made.append(_latency(run, timed))
    return made


def _against_size(run: Run, files: list[File]) -> Chart:
    axis = _quality_axis(run)
    points = [_point(run, file, float(file.file_bytes)) for file in files]
    drawing = plots.scatter(points, Axis("file size", BYTES), axis, _rules(run))
    caption = "Up and to the left is better." if _upwards(run) else "Down and to the left is better."
    return Chart(f"{words.capital(axis.title)} against file size", caption + _whiskers(run), drawing)


def _against_latency(run: Run, files: list[File]) -> Chart:
    axis = _quality_axis(run)
    points = []
    for file in files:
        if file.summary:
            p50 = file.summary.p50_seconds
            points.append(_point(run, file, p50.value, (p50.low, p50.high)))
    drawing = plots.scatter(points, Axis("median latency", SECONDS), axis, _rules(run))
    caption = f"Measured on {_where(run)}." + _whiskers(run)
    return Chart(f"{words.capital(axis.title)} against latency", caption, drawing)


def _latency(run: Run, files: list[File]) -> Chart:
    rows = []
    for file in files:
        if file.summary:
            p50, p90 = file.summary.p50_seconds.value, file.summary.p90_seconds.value
            nanoseconds = run.measurements[file.sha256].steady_ns
            said = f"p50 {words.seconds(p50)} · p90 {words.seconds(p90)}"
            rows.append(Samples(file.label, [sample * 1e-9 for sample in nanoseconds], said, file.kind))
    drawing = plots.distributions(rows, Axis("latency of one inference", SECONDS))
    caption = (
        f"How often each latency was seen on {_where(run)}, without the slowest 2.5 %. Long tick: p50, short: p90."
    )
    return Chart("Latency, run by run", caption, drawing)


def _point(run: Run, file: File, x: float, x_interval: Interval | None = None) -> Point:
    """A file's point; its whisker is the paired interval, put where the float model's value is its zero."""
    found = file.verification
    assert found is not None
    if not found.scores:
        return Point(file.label, x, found.agreement.rate, x_interval, None, file.kind, _note(file))
    zero, difference = run.reference.scores[0].value, found.differences[0]
    ends = (zero + difference.low, zero + difference.high)
    whisker = ends if all(map(math.isfinite, ends)) else None
    return Point(file.label, x, found.scores[0].value, x_interval, whisker, file.kind, _note(file))


def _note(file: File) -> str:
    """What the tooltip says."""
    said = [f"{file.label}: {words.size(file.file_bytes)}"]
    if file.summary:
        said.append(f"p50 {words.seconds(file.summary.p50_seconds.value)}")
    if file.verification and file.verification.scores:
        score, difference = file.verification.scores[0], file.verification.differences[0]
        said.append(f"{words.metric_title(score.name)} {words.number(score.name, score.value)}")
        ends = words.interval(score.name, difference, as_change=True)
        said.append(f"against float {words.change(score.name, difference.value)} ({ends})")
    elif file.verification:
        said.append(f"agreement {words.share(file.verification.agreement.rate)}")
    return ", ".join(said)


def _quality_axis(run: Run) -> Axis:
    if not run.reference.scores:
        return Axis("agreement with the float model", PERCENT, 1.0)
    name = run.reference.scores[0].name
    return Axis(words.metric_title(name), PERCENT, 1.0) if words.is_share(name) else Axis(words.metric_title(name))


def _rules(run: Run) -> list[Rule]:
    if not run.reference.scores:
        return []
    rules = [Rule(run.reference.scores[0].value, "float model")]
    least = words.least_accepted(run)
    return rules if least is None else [*rules, Rule(least, "gate", "gate")]


def _upwards(run: Run) -> bool:
    return not run.reference.scores or words.more_is_better(run.reference.scores[0].name)


def _whiskers(run: Run) -> str:
    return (
        " Whiskers: 95 % interval of the change against the float model, on the same samples."
        if run.reference.scores
        else ""
    )


def _where(run: Run) -> str:
    return " and ".join(dict.fromkeys(map(words.place, run.measurements.values())))
