"""What a run makes: each stage's result at most once, remembered in the workspace under all that it depends on."""

from __future__ import annotations

import io
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from edgekit import artifact as artifacts
from edgekit.bench.plan import Plan, RuntimeName
from edgekit.bench.result import Measurement
from edgekit.bench.run import measure
from edgekit.bench.statistics import summarize
from edgekit.dataset import Dataset, Part
from edgekit.environment import usable_cores
from edgekit.errors import RecipeError, RunError
from edgekit.model import Model
from edgekit.model.live import from_keras
from edgekit.recipe import Compression, Recipe
from edgekit.run_stage import run_stage, second_engine, train_integers
from edgekit.stages.calibrate import Observed, Ranges, observe, ranges
from edgekit.stages.calibration_methods import needs_histograms
from edgekit.stages.convert import Exported, export, take_tflite
from edgekit.stages.numerics import Quantize
from edgekit.stages.observed import observed_from
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.quantize import CALIBRATED, Source, quantize, refuse_rounded_ids, silent
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import own_code
from edgekit.step import StageReport, Step, Surroundings, keeping
from edgekit.surgery.rewrite import Rewritten, rewrite, rules_for
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.tflite.inspect import inspect_model
from edgekit.verify import Verification, run_file, verify
from edgekit.versions import versions
from edgekit.workspace import Workspace

Array = np.ndarray[Any, Any]


class _Integers(Struct, frozen=True):
    """A trained integer file, and what the training did."""

    file: bytes
    report: StageReport


class Makings:
    """What came in, for which targets and recipes, and all that is made of it.

    `silent` gathers layers that were zero on all calibration samples, `tools` are the versions of what makes. `judge`
    is the part of the data that judges: the test part, unless choices are made by what is found.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset | None,
        work: Workspace,
        pairs: Sequence[tuple[Target, Recipe]],
        say: Say,
        trust: bool = False,
        judge: str = "test",
    ) -> None:
        self.model, self.dataset, self.work, self.pairs = model, dataset, work, tuple(pairs)
        self.say, self.trust, self.judge = say, trust, judge
        self.silent: dict[str, None] = {}
        self.tools = versions()
        self._steps: dict[bytes, tuple[Model, StageReport]] = {}

    def compressed(self, target: Target, recipe: Recipe) -> tuple[tuple[Model, StageReport], ...]:
        """The model after each stage that works on Keras, and what the stage did; recipes that begin alike share it.

        Models are not stored: the checkpoints of their trainings are, from which a repeated call goes on.
        """
        found: list[tuple[Model, StageReport]] = []
        for place, stage in enumerate(recipe.compression):
            begun = msgspec.json.encode([begins(target, recipe, place), recipe.seed])
            if begun not in self._steps:
                before = found[-1][0] if found else self.model
                self._steps[begun] = self.step(before, stage, target, recipe, place)
            found.append(self._steps[begun])
        return tuple(found)

    def step(
        self, before: Model, stage: Compression, target: Target, recipe: Recipe, place: int
    ) -> tuple[Model, StageReport]:
        """The model after one stage, for all targets whose recipe begins like this one and cuts alike."""
        begun = begins(target, recipe, place)
        alike = (each for each, other in self.pairs if begins(each, other, place) == begun)
        key = [self.model.sha256, begun, recipe.seed, self.fingerprint, self.tools]
        folder = self.work.path("compress", key)
        around = Surroundings(
            self.model.keras,
            self.dataset,
            tuple(alike),
            recipe.seed,
            folder,
            self.trust,
            self.say,
            latency=lambda network: self.seconds(network, recipe),
            file=before.path if recipe.engine == "tfmot" else None,
            teachers=self.work.stages / "teachers",
        )
        with keeping(stage, self.work.stages):
            done: Step = run_stage(before.keras, stage, around)
        return self.made_by(done), done.report

    def made_by(self, step: Step) -> Model:
        """The model that a stage made."""
        return replace(from_keras(step.model, self.model.origin, self.model.name, None), path=step.file)

    def seconds(self, network: Any, recipe: Recipe) -> float:
        """The median latency of a Keras model on this host, as the file that the recipe makes of it."""
        model = from_keras(network, self.model.origin, self.model.name, None)
        file = self.quantized(model, recipe.convert.batch, recipe.quantize)
        return float(summarize(self.measurement(file)).p50_seconds.value)

    def exported(self, model: Model, batch: int) -> Exported:
        """The SavedModel with a static batch."""
        folder = self.work.path("export", [model.sha256, batch, self.tools])
        if folder.exists():
            return Exported(folder, model.inputs, model.outputs)
        return export(model, batch, folder)

    def float_file(self, model: Model, batch: int) -> bytes:
        """The float32 TFLite file of the model that came in, or of a compressed one."""
        if model.kind == "tflite":
            return take_tflite(model, batch)
        key = [model.sha256, batch, self.tools]
        return self.work.remember("convert to float32", key, lambda: self.exported(model, batch).lower(), bytes)

    def ranges(self, file: bytes, stage: Quantize) -> Ranges:
        """The ranges of all activations of a float32 file. Raises ModelError where its input would be rounded."""
        refuse_rounded_ids(file)
        found = self.observed(file, stage.calibration_samples)
        self.silent.update(dict.fromkeys(silent(file, ranges(found))))
        return ranges(found, stage.calibration, 16 if stage.scheme == "int16x8" else 8)

    def observed(self, file: bytes, samples: int) -> Observed:
        """What the activations of a float32 file were, in as much detail as the recipes ask for."""
        part = self.part("calibration").take(samples)
        histograms = any(needs_histograms(recipe.quantize.calibration) for _, recipe in self.pairs)
        key = [artifacts.sha256(file), self.fingerprint, samples, histograms, self.tools]
        title = f"calibrate on {len(part)} samples"

        def seen() -> bytes:
            found = observe(file, part.array(), histograms=histograms)
            if found.slow:
                self.say(f"calibration {found.slow}")
            return found.to_bytes()

        return observed_from(self.work.remember(title, key, seen, bytes), file)

    def integers(self, model: Model, recipe: Recipe, stage: QuantizeAware) -> _Integers:
        """The quantized file after its quantization-aware training."""
        trained = [stage, stage.training.code, self.metric_code, recipe.engine, recipe.seed, self.fingerprint]
        key = [self.model.sha256, model.sha256, recipe.quantize, *trained, self.tools]
        folder, file = self.work.path("integers", key), self.float_file(model, 1)
        around = Surroundings(self.model.keras, self.dataset, (), recipe.seed, folder, self.trust, self.say)

        def train() -> _Integers:
            if recipe.engine == "tfmot":
                done = second_engine(model.keras, stage, replace(around, file=model.path))
                return _Integers(self.quantized(self.made_by(done), 1, recipe.quantize), done.report)
            ranges = self.ranges(file, recipe.quantize)
            with keeping(stage, self.work.stages):
                return _Integers(*train_integers(model.keras, stage, around, recipe.quantize, file, ranges))

        return self.work.remember("train the integer file", key, train, _Integers)

    def quantized(self, model: Model, batch: int, stage: Quantize) -> bytes:
        """The quantized file."""
        file = self.float_file(model, batch)
        if stage.scheme == "float32":
            return file
        calibrated = stage.scheme in CALIBRATED
        source = Source(
            model=file,
            ranges=self.ranges(file, stage) if calibrated else {},
            exported=None if model.kind == "tflite" else lambda: self.exported(model, batch),
            samples=self.part("calibration").take(stage.calibration_samples).array() if calibrated else (),
        )
        key = [artifacts.sha256(file), self.fingerprint if calibrated else "", stage, self.tools]
        title = f"quantize to {stage.scheme} ({stage.engine})"
        return self.work.remember(title, key, lambda: quantize(source, stage), bytes)

    def finished(self, target: Target, recipe: Recipe) -> bytes:
        """The file that ships, after all stages of a recipe."""
        steps, aware = self.compressed(target, recipe), recipe.quantize_aware
        model = steps[-1][0] if steps else self.model
        batch = recipe.convert.batch
        file = self.integers(model, recipe, aware).file if aware else self.quantized(model, batch, recipe.quantize)
        return self.rewritten(file, target).file if recipe.convert.rewrite else file

    def rewritten(self, file: bytes, target: Target) -> Rewritten:
        """The file in the operators that the target's runtime runs fastest."""
        rules = rules_for(target)
        if not rules:
            return Rewritten(file)
        key = [artifacts.sha256(file), [rule.name for rule in rules], self.tools]
        return self.work.remember("rewrite the graph", key, lambda: rewrite(file, rules), Rewritten)

    def float_outputs(self) -> tuple[Array, ...]:
        """What the float model says about the part that judges."""
        part = self.part(self.judge)

        def predict() -> bytes:
            return _packed(self.model.predict(part.array()))

        key = [self.model.sha256, self.fingerprint, self.tools]
        return _unpacked(
            self.work.remember(f"run the float model on {len(part)} {part.name} samples", key, predict, bytes)
        )

    def verification(self, file: bytes, title: str, runtime: RuntimeName) -> Verification | None:
        """A file judged beside the float model on the whole of the part that judges; None without data."""
        if self.dataset is None:
            return None
        dataset, part, reference = self.dataset, self.part(self.judge), self.float_outputs()

        def judge() -> Verification:
            try:
                return verify(dataset, part, reference, run_file(file, part, plan=Plan(runtime=runtime)))
            except RunError as cause:
                raise _explained(cause, title) from cause

        key = [artifacts.sha256(file), self.fingerprint, self.metric_code, runtime, self.tools]
        return self.work.remember(f"verify {title} on {len(part)} {part.name} samples", key, judge, Verification)

    def measurement(self, file: bytes) -> Measurement:
        """Latency and memory on this host."""
        title = f"measure {inspect_model(file).numeric} file on this host"
        key = [artifacts.sha256(file), self.here]
        return self.work.remember(title, key, lambda: measure(file, Plan()), Measurement)

    def part(self, name: str) -> Part:
        """A part of the data, which `_refuse_early` has made sure of."""
        assert self.dataset is not None
        return self.dataset.part(name)

    @property
    def fingerprint(self) -> str:
        """What the data is."""
        return self.dataset.fingerprint if self.dataset else ""

    @property
    def here(self) -> list[Any]:
        """What a time that is measured on this host depends on beside the file."""
        return [self.tools, platform.node(), platform.machine(), usable_cores()]

    @property
    def metric_code(self) -> list[str]:
        """The code of the metrics and losses that the user wrote, of which the fingerprint has the names."""
        return [code for name in self.dataset.spec.named if (code := own_code(name))] if self.dataset else []


def begins(target: Target, recipe: Recipe, place: int) -> tuple[object, ...]:
    """What decides the model after the stage at a place: recipes that begin alike share it."""
    return recipe.compression[: place + 1], recipe.engine, *cut_by(target, recipe)


def cut_by(target: Target, recipe: Recipe) -> tuple[object, ...]:
    """What of the target and the file to be made decides which channels go, where channels go."""
    cuts = [stage for stage in recipe.compression if isinstance(stage, PruneChannels)]
    likes = target.numerics.channel_multiple if any(cut.multiple is None for cut in cuts) else None
    return likes, (recipe.quantize, recipe.convert.batch) if any(cut.latency for cut in cuts) else None


def _explained(cause: RunError, recipe: str) -> RunError:
    """Which variant cannot be run, and, where the runtime names an operator, how to keep that one in float."""
    named = re.search(r"\(([A-Z0-9_]+)\) failed to (?:invoke|prepare)", cause.problem)
    word = _keeping(recipe, named[1]) if named else ""
    mend = f"keep this operator in float: --recipe {word}" if word else cause.mend
    return RunError(f"the file made by recipe {recipe!r}: {cause.problem}", mend)


def _keeping(recipe: str, operator: str) -> str:
    """The phrase with one more operator in float; empty where that is none."""
    word, kept = re.subn(r"keep-float=[^,]+", rf"\g<0>+{operator}", recipe)
    word = word if kept else f"{recipe}{',' if ':' in recipe else ':'}keep-float={operator}"
    try:
        Recipe.parse(word)
    except RecipeError:
        return ""
    return word


def _packed(arrays: Sequence[Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> tuple[Array, ...]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return tuple(stored[f"arr_{index}"] for index in range(len(stored.files)))
