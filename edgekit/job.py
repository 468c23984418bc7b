"""Job: every variant of one run, made stage after stage, judged, measured and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekit import artifact as artifacts
from edgekit.artifact import DataRecord, Manifest, ModelRecord, StageRecord
from edgekit.bench.plan import RuntimeName
from edgekit.bench.result import Measurement
from edgekit.compress import doubts
from edgekit.dataset import DataSpec
from edgekit.doctor.diagnosis import Diagnosis, diagnose
from edgekit.errors import EdgekitError
from edgekit.gate import Gate, unrunnable
from edgekit.graph.unroll import MOST_STEPS
from edgekit.makings import Makings
from edgekit.metrics import scores
from edgekit.recipe import Recipe
from edgekit.request import Request
from edgekit.robustness import hidden_losses
from edgekit.run import Reference, Run, Settled
from edgekit.source_check import check_file
from edgekit.speed.settle import slower, unmeasured
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import CALIBRATED
from edgekit.step import StageReport, name_of
from edgekit.target import Target
from edgekit.tflite.inspect import inspect_model, looped, read_contents
from edgekit.verify import Verification
from edgekit.versions import SECOND_ENGINE, version, versions


@dataclass(frozen=True)
class _Made:
    """The file after a stage, and what the stage did to the network where it did."""

    stage: str
    detail: str
    file: bytes
    report: StageReport | None = None


class Job:
    """One run: every variant made, judged, measured and written down."""

    def __init__(self, makings: Makings) -> None:
        self.makings, self.model, self.dataset = makings, makings.model, makings.dataset
        self.files: dict[str, bytes] = {}

    def run(self, request: Request, gate: Gate | None, benchmark: bool, settled: Sequence[Settled] = ()) -> Run:
        """Make, judge and measure every variant that the request names, whose recommended recipes are `settled`."""
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
                *self.float_loops(manifests),
                *hidden_losses(manifests),
                *self.slow(request, manifests, reference, measurements, settled),
                *unexplained,
            ),
            gates=tuple(fault for manifest in manifests for fault in self.unmet(manifest, gate)),
            max_drop=gate.max_drop if gate else None,
            head_drops={name: one.max_drop for name, one in gate.heads.items() if one.max_drop is not None}
            if gate
            else {},
            compression={
                manifest.name: tuple(step.report for step in self.made(target, recipe) if step.report)
                for manifest, (target, recipe) in zip(manifests, request.pairs, strict=True)
                if recipe.trained
            },
            diagnoses=diagnoses,
            settled=tuple(settled),
        )

    def slow(
        self,
        request: Request,
        manifests: Sequence[Manifest],
        reference: Reference,
        measurements: Mapping[str, Measurement],
        settled: Sequence[Settled],
    ) -> list[str]:
        """Where int8 is slower than float32, or may be: what was done instead, what is faster, what nobody measured."""
        if not request.recommended:
            return slower(self.makings, manifests, reference, measurements)
        if settled:
            return [str(one) for one in settled if one.reason]
        made = zip(request.pairs, manifests, strict=True)
        return [text for pair, one in made if (text := unmeasured(*pair, self.files[one.sha256]))]

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
        judged = (
            dataset.judged(self.makings.part(self.makings.judge), self.makings.float_outputs()) if dataset else None
        )
        files = {batch: self.makings.float_file(self.model, batch) for batch in batches}
        checked = {batch: self.makings.verification(file, "float32", runtime) for batch, file in files.items()}
        return Reference(
            scores=tuple(scores(dataset.metrics, *judged, dataset.output_names))
            if dataset and dataset.metrics and judged
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
            operators=artifacts.operator_table(summary),
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
        found = doubts(self.model, self.dataset)
        if self.dataset is None:
            found.append("nothing was verified: no data was given")
        found += self.short_calibration(request)
        if self.makings.silent:
            first = [repr(name.partition(";")[0]) for name in self.makings.silent][:3]
            more = f" and {len(self.makings.silent) - 3} more" if len(self.makings.silent) > 3 else ""
            found.append(f"zero on all calibration samples: {', '.join(first)}{more}: dead layers, or data beside them")
        found += foreign_runtimes([target for target, _ in request.pairs])
        return list(dict.fromkeys(found))

    def float_loops(self, manifests: Sequence[Manifest]) -> list[str]:
        """A warning where integer files leave recurrent layers in float."""
        integer = [one for one in manifests if one.recipe.quantize.scheme in CALIBRATED]
        names = [one.name for one in integer if _has_float_loops(self.files[one.sha256])]
        return [f"{', '.join(names)}: {_FLOAT_LOOPS}"] if names else []

    def unmet(self, manifest: Manifest, gate: Gate | None) -> list[str]:
        """What of a variant is not acceptable."""
        return unrunnable(manifest) + self.lost(manifest, gate)

    def lost(self, manifest: Manifest, gate: Gate | None) -> list[str]:
        """What of a variant loses more than is accepted."""
        data = self.dataset
        return gate.unmet(manifest, data.metrics, data.output_names) if gate and data and data.metrics else []

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


_FLOAT_LOOPS = (
    f"recurrent layers run as loops, which stay in float: `-r qat-int8` unrolls them (up to {MOST_STEPS} steps), or "
    "build the layer with unroll=True"
)


def _has_float_loops(file: bytes) -> bool:
    """Whether the steps of a loop are computed in float."""
    return any(op.dtype == "float32" for op in looped(read_contents(file)))


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
