"""The pipeline: the only place where stages are composed.

load -> plan -> compress -> convert -> calibrate -> quantize -> rewrite -> verify -> check -> measure
     -> artifacts and report

A model is compressed once for all recipes that begin alike, converted once and calibrated once; every variant is made
from that one float32 file. Variants that are equal for several targets are made, verified and measured once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from edgekit import artifact as artifacts
from edgekit.artifact import Artifact, DataRecord, Manifest, ModelRecord, StageRecord
from edgekit.bench.plan import RuntimeName
from edgekit.compress import (
    StageReport,
    model_for,
    name_of,
    refuse_without_keras,
    refuse_without_training,
)
from edgekit.dataset import Dataset, DataSpec, load_for
from edgekit.doctor.diagnosis import Diagnosis, diagnose
from edgekit.errors import DataError, EdgekitError, RecipeError
from edgekit.gate import Gate, unrunnable
from edgekit.makings import Makings
from edgekit.metrics import scores
from edgekit.model import Model
from edgekit.recipe import Recipe
from edgekit.report.estimates import forecasts
from edgekit.report.html import render_report
from edgekit.robustness import hidden_losses
from edgekit.run import Reference, Run
from edgekit.source_check import check_file
from edgekit.speed import slower
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import CALIBRATED
from edgekit.talk import Say
from edgekit.target import Target, load_target
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import ModelSummary, inspect_model
from edgekit.tfmot.process import shared
from edgekit.verify import Verification
from edgekit.versions import SECOND_ENGINE, version, versions
from edgekit.workspace import workspace

Array = np.ndarray[Any, Any]


class Request(Struct, frozen=True):
    """What is to be made: each target with each recipe, every choice decided."""

    pairs: tuple[tuple[Target, Recipe], ...]

    @classmethod
    def plan(cls, targets: Sequence[str | Path], recipes: Sequence[str | Path], from_tflite: bool = False) -> Request:
        """Decide everything that can be decided before any work. Raises TargetError or RecipeError."""
        loaded = [load_target(name) for name in dict.fromkeys(targets)]
        pairs = [
            (target, _with_engine(Recipe.parse(recipe), from_tflite).resolve(target))
            for target in loaded
            for recipe in dict.fromkeys(recipes or [target.numerics.recommended])
        ]
        places = [(target.name, recipe.slug) for target, recipe in pairs]
        if twice := sorted({f"{target}/{slug}" for target, slug in places if places.count((target, slug)) > 1}):
            raise RecipeError(
                f"two variants would be written to {twice[0]}", "give recipes and targets of your own different names"
            )
        return cls(tuple(pairs))

    @property
    def calibration_samples(self) -> int:
        """Samples that the recipe with the greatest need calibrates with; 0 where none calibrates."""
        stages = [recipe.quantize for _, recipe in self.pairs]
        return max((stage.calibration_samples for stage in stages if stage.scheme in CALIBRATED), default=0)


def _with_engine(recipe: Recipe, from_tflite: bool) -> Recipe:
    """The recipe with the engine that can start from a `.tflite`, where it leaves the choice."""
    stage = recipe.quantize
    if not from_tflite or stage.engine != "auto" or stage.scheme in ("float32", "int8"):
        return recipe
    return msgspec.structs.replace(recipe, stages=(recipe.convert, msgspec.structs.replace(stage, engine="litert")))


def optimize(
    model: str | Path | Any,
    *,
    out: str | Path,
    data: str | Path | Dataset | None = None,
    targets: Sequence[str | Path] = ("host",),
    recipes: Sequence[str | Path] = (),
    data_options: Mapping[str, object] | None = None,
    max_drop: str | float | None = None,
    overwrite: bool = False,
    trust: bool = False,
    benchmark: bool = True,
    say: Say = lambda text: None,
) -> Run:
    """Take a model to each target: convert, quantize, verify, check, measure; write artifacts and a report to `out`.

    `model` is a file, a folder, a reference `module:function`, or a Keras model in memory. Without `recipes` each
    target's recommended one is used. `max_drop` is the greatest loss of the metric that is accepted, in the metric's
    own unit, or in points (`"1%"`) for metrics between 0 and 1; see `Run.accept`. An interrupted call goes on at the
    first unfinished stage when it is repeated.

    Raises an InputError before any work for whatever cannot be used, RunError if a file cannot be run.
    """
    gate = None if max_drop is None else Gate.parse(max_drop)
    request = Request.plan(targets, recipes, isinstance(model, str | Path) and flatbuffer.is_tflite(Path(model)))
    with workspace(Path(out), overwrite, say) as work, shared():
        if data is None:
            _refuse_early(request, None, gate)  # before a model is loaded for nothing
        say("load the model")
        source = model_for([recipe for _, recipe in request.pairs], model, work.stages, trust, say)
        dataset = _data_for(source, data, request, data_options or {})
        for _, recipe in request.pairs:
            refuse_without_keras(source, recipe)
        _refuse_early(request, dataset, gate)
        job = _Job(Makings(source, dataset, work, request.pairs, say, trust))
        run = job.run(request, gate, benchmark)
        _write(run, job.files, work.folder, [target for target, _ in request.pairs])
    return run


def _data_for(
    model: Model, data: str | Path | Dataset | None, request: Request, options: Mapping[str, object]
) -> Dataset | None:
    """The data, with a calibration part as large as the recipes need unless the user has set its size."""
    if data is None:
        return None
    if request.calibration_samples > DataSpec().calibration_samples:
        options = {"calibration_samples": request.calibration_samples, **options}
    return load_for(model.inputs, model.outputs, data, options)


def _refuse_early(request: Request, dataset: Dataset | None, gate: Gate | None) -> None:
    for stage in (stage for _, recipe in request.pairs for stage in recipe.trained):
        refuse_without_training(stage, dataset)
    if request.calibration_samples and dataset is None:
        raise DataError("no calibration data", "full int8 needs samples: give --data, or a recipe like dynamic-int8")
    if request.calibration_samples and dataset and dataset.calibration is None:
        found = ", ".join(f"{part.name} ({len(part)})" for part in dataset.parts)
        raise DataError(
            f"no calibration data: the data has only {found}",
            "give x_train or x_calibration (docs/data.md), more samples, or a recipe like dynamic-int8",
        )
    if gate:
        gate.check(dataset.metric if dataset else None)


@dataclass(frozen=True)
class _Made:
    """The file after a stage, and what the stage did to the network where it did."""

    stage: str
    detail: str
    file: bytes
    report: StageReport | None = None


class _Job:
    """One run: every variant made, judged, measured and written down."""

    def __init__(self, makings: Makings) -> None:
        self.makings, self.model, self.dataset = makings, makings.model, makings.dataset
        self.files: dict[str, bytes] = {}

    def run(self, request: Request, gate: Gate | None, benchmark: bool) -> Run:
        """Make, judge and measure every variant that the request names."""
        batches = sorted({recipe.convert.batch for _, recipe in request.pairs})
        reference = self.reference(batches, runtime_for(request.pairs[0][0]))
        manifests = tuple(self.manifest(target, recipe, reference) for target, recipe in request.pairs)
        self.files.update(
            (digest, self.makings.float_file(self.model, batch)) for batch, digest in reference.sha256.items()
        )
        measurements = (
            {digest: self.makings.measurement(file) for digest, file in self.files.items()} if benchmark else {}
        )
        metric = self.dataset.metric if self.dataset else None
        diagnoses, unexplained = self.diagnoses(request, manifests, gate)
        return Run(
            model=self.model_record(),
            data=self.data_record(),
            metric=metric,
            reference=reference,
            artifacts=manifests,
            measurements=measurements,
            warnings=(
                *self.warnings(request),
                *hidden_losses(manifests),
                *slower(self.makings, manifests, reference, measurements, self.files),
                *unexplained,
            ),
            gates=tuple(fault for manifest in manifests for fault in self.unmet(manifest, gate)),
            max_drop=gate.max_drop if gate else None,
            compression={
                manifest.name: tuple(step.report for step in self.made(target, recipe) if step.report)
                for manifest, (target, recipe) in zip(manifests, request.pairs, strict=True)
                if recipe.trained
            },
            diagnoses=diagnoses,
        )

    def diagnoses(
        self, request: Request, manifests: Sequence[Manifest], gate: Gate | None
    ) -> tuple[dict[str, Diagnosis], list[str]]:
        """Why int8 files lose more than the gate lets, by name, and a warning for each that cannot be explained.

        A file that training went into has no float file to be held against.
        """
        found: dict[str, Diagnosis] = {}
        unexplained = []
        for manifest, (_, recipe) in zip(manifests, request.pairs, strict=True):
            trained = recipe.trained or recipe.compression or recipe.quantize.scheme != "int8"
            if self.dataset is None or trained or not self.lost(manifest, gate):
                continue
            source = self.makings.float_file(self.model, recipe.convert.batch)
            try:
                found[manifest.name] = diagnose(self.files[manifest.sha256], source, self.dataset)
            except EdgekitError as fault:
                unexplained.append(f"{manifest.name}: the doctor cannot say why it loses: {fault.problem}")
        return found, unexplained

    def reference(self, batches: Sequence[int], runtime: RuntimeName) -> Reference:
        """The float model and the float32 files."""
        dataset = self.dataset
        judged = dataset.judged(self.makings.part("test"), self.makings.float_outputs()) if dataset else None
        files = {batch: self.makings.float_file(self.model, batch) for batch in batches}
        checked = {batch: self.makings.verification(file, "float32", runtime) for batch, file in files.items()}
        return Reference(
            scores=tuple(scores(dataset.metric, *judged, dataset.output_names))
            if dataset and dataset.metric and judged
            else (),
            tflite={batch: found for batch, found in checked.items() if found},
            files={batch: artifacts.ledger_line("convert", f"float32, batch {batch}", f) for batch, f in files.items()},
            sha256={batch: artifacts.sha256(file) for batch, file in files.items()},
        )

    def manifest(self, target: Target, recipe: Recipe, reference: Reference) -> Manifest:
        """Make one variant and write down all about it."""
        made = self.made(target, recipe)
        file = made[-1].file
        digest, summary = artifacts.sha256(file), inspect_model(file)
        self.files[digest] = file
        verification = self.makings.verification(file, recipe.name, runtime_for(target))
        inputs, outputs = artifacts.contract(summary)
        return Manifest(
            name=f"{target.name}/{recipe.slug}",
            file=f"{self.model.name}-{recipe.slug}.tflite",
            sha256=digest,
            file_bytes=summary.file_bytes,
            deflated_bytes=summary.deflated_bytes,
            numeric=summary.numeric,
            target=target.name,
            target_sha256=artifacts.sha256(msgspec.json.encode(target)),
            recipe=recipe,
            model=self.model_record(),
            data=self.data_record(),
            inputs=inputs,
            outputs=outputs,
            history=self.history(target, recipe, made, reference, verification),
            operators=operator_table(summary),
            verification=verification,
            findings=check_file(file, [target])[0].findings,
            versions=self.makings.tools | (versions(SECOND_ENGINE) if recipe.engine == "tfmot" else {}),
        )

    def made(self, target: Target, recipe: Recipe) -> list[_Made]:
        """The file after each stage, that of a Keras stage being the float32 file of the model it gave."""
        batch, numerics, aware = recipe.convert.batch, recipe.quantize, recipe.quantize_aware
        make = self.makings
        steps = make.compressed(target, recipe)
        model = steps[-1][0] if steps else self.model
        found = [_Made("convert", f"float32, batch {batch}", make.float_file(self.model, batch))]
        found += [_Made(report.stage, report.detail, make.float_file(each, batch), report) for each, report in steps]
        if numerics.scheme != "float32":
            found.append(_Made("quantize", self.describe(numerics), make.quantized(model, batch, numerics)))
        if aware:
            done = make.integers(model, recipe, aware)
            found.append(_Made(name_of(aware), done.report.detail, done.file, done.report))
        return found + (self.rewritten(target, found[-1].file) if recipe.convert.rewrite else [])

    def rewritten(self, target: Target, file: bytes) -> list[_Made]:
        """The finished file in operators that the target runs faster, where there are any."""
        done = self.makings.rewritten(file, target)
        return [_Made("rewrite", str(done), done.file)] if done.applied else []

    def history(
        self,
        target: Target,
        recipe: Recipe,
        made: Sequence[_Made],
        reference: Reference,
        verification: Verification | None,
    ) -> tuple[StageRecord, ...]:
        """The savings ledger: a line after each stage."""
        judge, runtime = self.makings.verification, runtime_for(target)
        judged = [
            reference.tflite.get(recipe.convert.batch),
            *(judge(step.file, f"{recipe.name} after {step.stage}", runtime) for step in made[1:-1]),
            *([verification] if len(made) > 1 else []),
        ]
        return tuple(
            artifacts.scored(artifacts.ledger_line(step.stage, step.detail, step.file), found)
            for step, found in zip(made, judged, strict=True)
        )

    def describe(self, stage: Quantize) -> str:
        """A quantization stage in a few words."""
        words: list[str] = [stage.scheme]
        if stage.scheme != "float16":
            words.append(stage.granularity)
            if stage.dense_granularity != stage.granularity:
                words.append(f"dense {stage.dense_granularity}")
        if stage.scheme in CALIBRATED:
            samples = len(self.makings.part("calibration").take(stage.calibration_samples))
            method = "" if stage.calibration == "minmax" else f", {stage.calibration}"
            words += [f"{stage.io} in and out", f"{samples} calibration samples{method}"]
        if stage.keep_float:
            words.append(f"{' and '.join(stage.keep_float)} in float")
        return ", ".join([*words, stage.engine])

    def warnings(self, request: Request) -> list[str]:
        """What may mislead, said once."""
        found = [*self.model.healed, *(self.dataset.warnings if self.dataset else ())]
        if self.dataset is None:
            found.append("nothing was verified: no data was given")
        found += self.short_calibration(request)
        if self.makings.silent:
            first = [repr(name.partition(";")[0]) for name in self.makings.silent][:3]
            more = f" and {len(self.makings.silent) - 3} more" if len(self.makings.silent) > 3 else ""
            found.append(f"zero on all calibration samples: {', '.join(first)}{more}: dead layers, or data beside them")
        found += foreign_runtimes([target for target, _ in request.pairs])
        return list(dict.fromkeys(found))

    def unmet(self, manifest: Manifest, gate: Gate | None) -> list[str]:
        """What of a variant is not acceptable."""
        return unrunnable(manifest) + self.lost(manifest, gate)

    def lost(self, manifest: Manifest, gate: Gate | None) -> list[str]:
        """What of a variant loses more than is accepted."""
        metric = self.dataset.metric if self.dataset else None
        return gate.unmet(manifest, metric) if gate and metric else []

    def short_calibration(self, request: Request) -> list[str]:
        """A warning where fewer samples calibrate than a recipe asks for."""
        asked = request.calibration_samples
        have = len(self.makings.part("calibration")) if asked else 0
        if have >= asked or asked == DataSpec().calibration_samples:  # the default is a wish, not a demand
            return []
        return [f"calibrated on {have} samples, the recipe asks for {asked}: give more data"]

    def model_record(self) -> ModelRecord:
        """The model as the manifest names it."""
        model = self.model
        return ModelRecord(model.name, Path(model.origin).name, model.kind, model.sha256, model.healed)

    def data_record(self) -> DataRecord | None:
        """The data as the manifest names it."""
        data = self.dataset
        if data is None:
            return None
        return DataRecord(
            fingerprint=data.fingerprint,
            task=data.task,
            parts={part.name: len(part) for part in data.parts},
            preprocessing=data.parts[0].preprocessing,
            class_names=data.class_names,
        )


def runtime_for(target: Target) -> RuntimeName:
    """The runtime that verifies files for `target` on this machine: the target's own where it is installed."""
    own = target.runtime.packages[0]
    known: tuple[RuntimeName, ...] = ("ai-edge-litert", "tflite-runtime")
    here = [package for package in known if version(package)]
    return own if own in here else here[0] if here else "auto"


def foreign_runtimes(targets: Sequence[Target]) -> list[str]:
    """A note for each runtime of a target that was not the one that verified its files."""
    strange: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        own, ran = target.runtime.packages[0], runtime_for(target)
        if own != ran and target.name not in strange.setdefault((own, ran), []):
            strange[own, ran].append(target.name)
    return [
        f"verified here with {ran}, while {own} is what runs on {', '.join(names)}"
        for (own, ran), names in strange.items()
    ]


def operator_table(summary: ModelSummary) -> dict[str, dict[str, int]]:
    """Operator name -> type it computes in -> how often."""
    table: dict[str, dict[str, int]] = {}
    for operator in summary.operators:
        row = table.setdefault(operator.name, {})
        row[operator.dtype] = row.get(operator.dtype, 0) + 1
    return {name: dict(sorted(row.items())) for name, row in sorted(table.items())}


def _write(run: Run, files: dict[str, bytes], folder: Path, targets: Sequence[Target]) -> None:
    for manifest in run.artifacts:
        place = folder / manifest.target / manifest.recipe.slug
        shutil.rmtree(place, ignore_errors=True)
        Artifact(manifest, files[manifest.sha256]).save(place)
    (folder / "run.json").write_bytes(msgspec.json.encode(run))
    page = render_report(run, files, forecasts(run, files, targets))
    (folder / "report.html").write_text(page, encoding="utf-8")
