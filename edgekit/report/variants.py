"""The variants of a run as its report shows them, and for each target the one that is recommended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.bench.statistics import Summary
from edgekit.report import words
from edgekit.report.charts import File
from edgekit.report.commands import Step, next_steps, path
from edgekit.report.comparison import FILE, LATENCY, Compared, comparison
from edgekit.report.layers import Layers, layers
from edgekit.report.snippet import snippet
from edgekit.report.training import TrainingStage, training_stage
from edgekit.report.words import Verdict
from edgekit.tflite.inspect import ModelSummary

if TYPE_CHECKING:
    from edgekit.artifact import Manifest, StageRecord
    from edgekit.bench.result import Measurement
    from edgekit.doctor.diagnosis import Diagnosis
    from edgekit.estimate import Estimate, Forecast
    from edgekit.run import Run

_RANK = {"good": 0, "warn": 1, "bad": 2}


@dataclass(frozen=True)
class Variant:
    """A manifest with what the report adds to it; `twin` is an earlier variant with the very same file.

    `forecast` is what published figures say of the file on its target, None where there are no figures.
    """

    anchor: str
    manifest: Manifest
    verdict: Verdict
    headline: str
    brief: str
    measured: Summary | None
    twin: str
    layers: Layers | None
    float_line: StageRecord
    compared: tuple[Compared, ...]
    snippet: str
    stages: tuple[TrainingStage, ...]
    forecast: Forecast | None
    diagnosis: Diagnosis | None

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Its estimated latencies, one for each series of figures."""
        return self.forecast.estimates if self.forecast else ()

    @property
    def path(self) -> str:
        """Where the file lies beside the report."""
        return path(self.manifest)


@dataclass(frozen=True)
class Card:
    """One target: the smallest variant of those with the best verdict, the others, and what to do next."""

    target: str
    best: Variant
    others: tuple[Variant, ...]
    steps: tuple[Step, ...]

    @property
    def standing(self) -> str:
        """Of which variants the best is the smallest."""
        all_of_them = f"of {len(self.others) + 1} variants"
        if self.best.verdict.kind == "good":
            return f"that passed {all_of_them}"
        if self.best.verdict.kind == "bad":
            return f"{all_of_them}, and none passed"
        if any(other.verdict.kind == "bad" for other in self.others):
            return f"{all_of_them} that was not refused, and was not judged"
        return f"{all_of_them}, and none was judged"


@dataclass(frozen=True)
class Known:
    """What was found of a run's files, by sha256, and what figures say, by the name of the artifact."""

    files: Mapping[str, File]
    summaries: Mapping[str, ModelSummary]
    forecasts: Mapping[str, Forecast]


def variants(run: Run, known: Known) -> list[Variant]:
    """All variants, in the order of the run."""
    return [_variant(run, index, known) for index in range(len(run.artifacts))]


def cards(run: Run, found: list[Variant], families: Mapping[str, str]) -> list[Card]:
    """A card for each target, in the order of the run."""
    by_target: dict[str, list[Variant]] = {}
    for variant in found:
        by_target.setdefault(variant.manifest.target, []).append(variant)
    return [_card(run, target, made, families.get(target, "host")) for target, made in by_target.items()]


def rows(found: list[Variant]) -> list[tuple[Variant, ...]]:
    """Variants by what the summary table says of them: one file that serves several targets is one row."""
    grouped: dict[tuple[str, str, str], list[Variant]] = {}
    for variant in found:
        manifest = variant.manifest
        grouped.setdefault((manifest.recipe.name, manifest.sha256, variant.verdict.word), []).append(variant)
    return [tuple(row) for row in grouped.values()]


def _variant(run: Run, index: int, known: Known) -> Variant:
    manifest = run.artifacts[index]
    measurement = run.measurements.get(manifest.sha256)
    measured, where = known.files[manifest.sha256].summary, words.place(measurement) if measurement else ""
    batch, own = manifest.recipe.convert.batch, known.summaries.get(manifest.sha256)
    digest, line = run.reference.sha256[batch], run.reference.files[batch]
    compared = comparison(run, manifest, line, known.files[digest].summary, measured, _on(manifest, measurement))
    return Variant(
        anchor=f"variant-{index + 1}",
        manifest=manifest,
        verdict=words.verdict(run, manifest),
        headline=words.headline(manifest, measured.p50_seconds.value if measured else None, where),
        brief=words.brief(manifest, [one.change for one in compared if one.title in (FILE, LATENCY)]),
        measured=measured,
        twin=next((m.name for m in run.artifacts[:index] if m.sha256 == manifest.sha256), ""),
        layers=layers(own, known.summaries.get(digest)) if own else None,
        float_line=line,
        compared=compared,
        snippet=snippet(manifest),
        stages=tuple(map(training_stage, run.compression.get(manifest.name, ()))),
        forecast=known.forecasts.get(manifest.name),
        diagnosis=run.diagnoses.get(manifest.name),
    )


def _on(manifest: Manifest, measurement: Measurement | None) -> str:
    """Where the latency was measured, and that this is not the target where it is not."""
    if measurement is None:
        return ""
    other = manifest.target != "host" and measurement.device == "local"
    return f"on {words.place(measurement)}" + (", not the board" if other else "")


def _card(run: Run, target: str, made: list[Variant], family: str) -> Card:
    best = min(made, key=lambda variant: (_RANK[variant.verdict.kind], variant.manifest.file_bytes))
    steps = next_steps(run, best.manifest, best.verdict, family)
    return Card(target, best, tuple(variant for variant in made if variant is not best), steps)
