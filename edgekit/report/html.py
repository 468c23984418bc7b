"""The report: one HTML file that needs nothing else, with no script and no request in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.answer_findings import class_name
from edgekit.bench.disturbances import warnings
from edgekit.bench.statistics import Summary
from edgekit.errors import RecipeError
from edgekit.recipe import Recipe
from edgekit.report import words
from edgekit.report.charts import File, charts, distinct_files
from edgekit.report.doctor import decibels, noise_bar
from edgekit.report.layers import Layers, layers
from edgekit.report.snippet import snippet
from edgekit.report.template import css, template
from edgekit.report.training import TrainingStage, training_stage
from edgekit.report.words import Verdict
from edgekit.tflite.inspect import ModelSummary, inspect_model

if TYPE_CHECKING:
    from edgekit.artifact import Manifest, StageRecord
    from edgekit.bench.result import Measurement
    from edgekit.doctor.diagnosis import Diagnosis
    from edgekit.estimate import Estimate, Forecast
    from edgekit.run import Run
    from edgekit.verify import Verification


def render_report(
    run: Run, files: Mapping[str, bytes] | None = None, forecasts: Mapping[str, Forecast] | None = None
) -> str:
    """The report of a run as HTML text.

    `files` are the `.tflite` files by sha256, the float32 ones too; without a file its layers are not shown.
    `forecasts` are by the name of the artifact.
    Raises ModelError if one of them is not a sound TFLite file.
    """
    summaries = {digest: inspect_model(data) for digest, data in (files or {}).items()}
    known = distinct_files(run)
    indices, guesses = range(len(run.artifacts)), forecasts or {}
    variants = [_variant(run, index, known, summaries, guesses) for index in indices]
    return template("report.html").render(
        run=run,
        css=css(),
        cards=_cards(variants),
        charts=charts(run, known.values()),
        references=_references(run, known),
        rows=_rows(variants),
        variants=variants,
        estimated=any(variant.estimates for variant in variants),
        warnings=_warnings(run, known),
        class_name=class_name,
        decibels=decibels,
        noise_bar=noise_bar,
        commands=reproduce(run),
        machines=list(dict.fromkeys(map(words.machine, run.measurements.values()))),
        where=" and ".join(dict.fromkeys(map(words.place, run.measurements.values()))),
        started=min((measured.started for measured in run.measurements.values()), default=""),
        versions=run.artifacts[0].versions if run.artifacts else {},
    )


@dataclass(frozen=True)
class Variant:
    """A manifest with what the report adds to it; `twin` is an earlier variant with the very same file.

    `forecast` is what published figures say of the file on its target, None where there are no figures.
    """

    anchor: str
    manifest: Manifest
    verdict: Verdict
    headline: str
    measured: Summary | None
    measurement: Measurement | None
    twin: str
    layers: Layers | None
    float_line: StageRecord
    snippet: str
    stages: tuple[TrainingStage, ...]
    forecast: Forecast | None
    diagnosis: Diagnosis | None

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Its estimated latencies, one for each series of figures."""
        return self.forecast.estimates if self.forecast else ()


@dataclass(frozen=True)
class Card:
    """One target: the smallest variant that passed (or the first), and how many there are."""

    target: str
    best: Variant
    others: tuple[Variant, ...]


@dataclass(frozen=True)
class ReferenceRow:
    """A float32 file in the summary table."""

    label: str
    line: StageRecord
    verification: Verification | None
    measured: Summary | None


def _variant(
    run: Run,
    index: int,
    known: Mapping[str, File],
    summaries: Mapping[str, ModelSummary],
    forecasts: Mapping[str, Forecast],
) -> Variant:
    manifest = run.artifacts[index]
    measurement = run.measurements.get(manifest.sha256)
    measured = known[manifest.sha256].summary
    latency = measured.p50_seconds.value if measured else None
    batch, own = manifest.recipe.convert.batch, summaries.get(manifest.sha256)
    return Variant(
        anchor=f"variant-{index + 1}",
        manifest=manifest,
        verdict=words.verdict(run, manifest),
        headline=words.headline(run, manifest, latency, words.place(measurement) if measurement else ""),
        measured=measured,
        measurement=measurement,
        twin=next((m.name for m in run.artifacts[:index] if m.sha256 == manifest.sha256), ""),
        layers=layers(own, summaries.get(run.reference.sha256[batch])) if own else None,
        float_line=run.reference.files[batch],
        snippet=snippet(manifest),
        stages=tuple(map(training_stage, run.compression.get(manifest.name, ()))),
        forecast=forecasts.get(manifest.name),
        diagnosis=run.diagnoses.get(manifest.name),
    )


def _cards(variants: list[Variant]) -> list[Card]:
    by_target: dict[str, list[Variant]] = {}
    for variant in variants:
        by_target.setdefault(variant.manifest.target, []).append(variant)
    return [_card(target, found) for target, found in by_target.items()]


def _card(target: str, found: list[Variant]) -> Card:
    best = min(found, key=lambda variant: (variant.verdict.kind != "good", variant.manifest.file_bytes))
    return Card(target, best, tuple(variant for variant in found if variant is not best))


def _rows(variants: list[Variant]) -> list[tuple[Variant, ...]]:
    """Variants by what the summary table says of them: one file that serves several targets is one row."""
    rows: dict[tuple[str, str, str], list[Variant]] = {}
    for variant in variants:
        manifest = variant.manifest
        rows.setdefault((manifest.recipe.name, manifest.sha256, variant.verdict.word), []).append(variant)
    return [tuple(row) for row in rows.values()]


def _references(run: Run, known: Mapping[str, File]) -> list[ReferenceRow]:
    return [
        ReferenceRow(known[digest].label, run.reference.files[batch], known[digest].verification, known[digest].summary)
        for batch, digest in run.reference.sha256.items()
    ]


def _warnings(run: Run, known: Mapping[str, File]) -> list[str]:
    """What may mislead: of the run, then of each measurement."""
    noisy: dict[str, list[str]] = {}
    for digest, measurement in run.measurements.items():
        for warning in warnings(measurement):
            noisy.setdefault(warning, []).append(known[digest].label)
    return [*run.warnings, *(f"latency of {', '.join(names)}: {warning}" for warning, names in noisy.items())]


def reproduce(run: Run) -> list[str]:
    """Shell commands that do this run again: one for the versions, one for each set of recipes."""
    versions = run.artifacts[0].versions if run.artifacts else {}
    pins = [f"{name}=={number}" for name, number in versions.items()]
    groups: dict[tuple[str, ...], list[str]] = {}
    recipes: dict[str, list[str]] = {}
    for manifest in run.artifacts:
        recipes.setdefault(manifest.target, []).append(_recipe_word(manifest))
    for target, names in recipes.items():
        groups.setdefault(tuple(names), []).append(target)
    lines = [
        _optimize(run, targets, names, index if len(groups) > 1 else 0)
        for index, (names, targets) in enumerate(groups.items(), 1)
    ]
    return [shlex.join(["pip", "install", *pins]), *lines]


def _optimize(run: Run, targets: list[str], recipes: tuple[str, ...], number: int) -> str:
    parts = ["edgekit", "optimize", run.model.origin]
    parts += ["--data", "DATA"] if run.data else []
    parts += [word for target in targets for word in ("--target", target)]
    parts += [word for recipe in recipes for word in ("--recipe", recipe)]
    parts += ["--max-drop", f"{run.max_drop:g}"] if run.max_drop is not None else []
    parts += [] if run.measurements else ["--no-benchmark"]
    return shlex.join([*parts, "--out", f"OUT{number or ''}"])


def _recipe_word(manifest: Manifest) -> str:
    """The recipe's phrase, or where its file lies beside the artifact."""
    try:
        Recipe.parse(manifest.recipe.name)
    except RecipeError:
        return f"{manifest.target}/{manifest.recipe.slug}/recipe.toml"
    return manifest.recipe.name
