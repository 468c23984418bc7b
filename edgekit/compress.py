"""Compress: the stages of a recipe that work on the Keras model, in order, each keeping what the earlier ones did.

    found = compress_model("model.keras", "channels50", data="data.npz")
    found.model.save("smaller.keras")

A stage that trains keeps a checkpoint, and planning is deterministic: a repeated call after an interruption goes on at
the epoch it was in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edgekit.dataset import Dataset, load_for
from edgekit.errors import DataError, ModelError, RecipeError, RunError
from edgekit.latency import host_latency
from edgekit.model import Model, load_model
from edgekit.recipe import Compression, Recipe
from edgekit.stages import cluster, drop_layers, factorize, losses, prune_channels, prune_weights
from edgekit.stages.calibrate import Ranges
from edgekit.stages.centroids import ClusterPreserve
from edgekit.stages.cluster import Cluster
from edgekit.stages.distill import Distill, distill
from edgekit.stages.drop_layers import DropLayers
from edgekit.stages.factorize import Factorize
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.integer_report import HEADER
from edgekit.stages.lesson import Teacher
from edgekit.stages.masks import Preserve
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware, quantize_aware, refuse_few_steps
from edgekit.stages.sensitivity import Sensitivity, SensitivityReport, sensitivity
from edgekit.stages.train import Callback, Epoch, Training, TrainingDiverged, fine_tune
from edgekit.talk import Line, Say
from edgekit.target import Target, load_target
from edgekit.tfmot import engine
from edgekit.tfmot.process import shared
from edgekit.tfmot.source import open_model
from edgekit.units import format_count, format_seconds

Rows = Sequence[tuple[str, ...]]


class StageReport(Struct, frozen=True):
    """What a stage did: a table (`header` over `rows`), `notes` in words, and the epochs of its training."""

    stage: str
    detail: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    metric: str | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """The Keras model after a stage, and what the stage did to it; `file` is its `.h5` where tf_keras trained it."""

    model: Any
    report: StageReport
    file: Path | None = None


@dataclass(frozen=True, eq=False)
class Compressed:
    """The Keras model after all stages, and each stage in order."""

    model: Any
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What stages need beside the model and their settings.

    `original` is the model that came in, which teaches; `folder` keeps checkpoints and what teachers said; `latency`
    measures a Keras model, in seconds. `file` is the model before the stage as `.h5`, where tf_keras is to train it.
    """

    original: Any
    data: Dataset | None
    targets: tuple[Target, ...] = ()
    seed: int = 0
    folder: Path | None = None
    trust: bool = False
    say: Say = lambda _: None
    latency: Callable[[Any], float] | None = None
    file: Path | None = None

    def training_data(self, stage: Compression | QuantizeAware) -> Dataset:
        """The data, with a training part. Raises DataError where there is none."""
        refuse_without_training(stage, self.data)
        assert self.data is not None
        return self.data

    @property
    def teacher(self) -> Teacher:
        """The model that came in, and where what it said is kept."""
        return Teacher(self.original, self.folder / "teachers" if self.folder else None)

    def of_training(self, place: int) -> dict[str, Any]:
        """What every stage takes that trains, for stage number `place`, which keeps its state in a checkpoint."""
        checkpoint = self.folder / f"{place}.checkpoint.npz" if self.folder else None
        return {"checkpoint": checkpoint, "say": self.say, "seed": self.seed}


def compress_model(
    model: str | Path | Any,
    recipe: str | Path | Recipe,
    *,
    data: str | Path | Dataset | None = None,
    data_options: Mapping[str, object] | None = None,
    target: str | Path = "host",
    folder: str | Path | None = None,
    trust: bool = False,
    say: Say = lambda _: None,
) -> Compressed:
    """Run the stages of a recipe that come before conversion, and give the smaller Keras model.

    A phrase needs no number format here (`channels50`). `folder` keeps what an interrupted call goes on from. Raises
    what `optimize` raises.
    """
    board, asked = load_target(target), recipe if isinstance(recipe, Recipe) else Recipe.parse(recipe, "float32")
    if asked.quantize_aware:
        raise RecipeError(f"recipe {asked.name!r}: qat trains the integer file", "leave qat out, or use optimize")
    if not asked.compression:
        raise RecipeError(f"recipe {asked.name!r} changes nothing in the network", "name a step, such as channels50")
    with _home(folder, asked) as home, shared():
        source = model_for([asked], model, home, trust, say)
        refuse_without_keras(source, asked)
        dataset = None if data is None else load_for(source.inputs, source.outputs, data, data_options or {})
        for stage in asked.compression:
            refuse_without_training(stage, dataset)
        resolved = asked.resolve(board)
        calibration = dataset.calibration.array() if dataset and dataset.calibration else ()
        clock = host_latency(resolved.quantize, calibration, batch=resolved.convert.batch)
        around = Surroundings(source.keras, dataset, (board,), asked.seed, home, trust, say, clock)
        steps: list[Step] = [Step(source.keras, StageReport("", ""), source.path)]
        for place, stage in enumerate(resolved.compression):
            with keeping(stage, home):
                file = steps[-1].file if asked.engine == "tfmot" else None
                steps.append(run_stage(steps[-1].model, stage, replace(around, file=file), place))
    return Compressed(steps[-1].model, tuple(steps[1:]))


@contextmanager
def _home(folder: str | Path | None, recipe: Recipe) -> Iterator[Path | None]:
    """The folder for what is kept; the second engine needs one, which is gone afterwards where none is given."""
    if folder or recipe.engine == "native":
        yield Path(folder) if folder else None
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        yield Path(name)


def model_for(recipes: Sequence[Recipe], model: str | Path | Any, folder: Path | None, trust: bool, say: Say) -> Model:
    """The model as its recipes need it: opened by tf_keras, too, where one of them has the second engine.

    Raises what `load_model` and `tfmot.source.open_model` raise.
    """
    if all(recipe.engine == "native" for recipe in recipes):
        return load_model(model, trust=trust)
    assert folder is not None
    return open_model(model, folder / "source", trust=trust, say=say)


def sensitivity_of(
    model: str | Path | Any,
    data: str | Path | Dataset,
    config: Sensitivity | None = None,
    *,
    data_options: Mapping[str, object] | None = None,
    trust: bool = False,
    say: Say = lambda _: None,
) -> SensitivityReport:
    """What each layer of a Keras model costs when a share of it goes; `model` and `data` are as for `optimize`.

    Raises ModelError for a model that is no Keras one, and what `stages.sensitivity.sensitivity` raises.
    """
    source = load_model(model, trust=trust)
    if source.keras is None:
        raise ModelError(
            f"{source.origin}: sensitivity works on a Keras model, and this is a {source.kind}",
            "give the .keras or .h5 file, or module:function, that it was made from",
        )
    dataset = load_for(source.inputs, source.outputs, data, data_options or {})
    return sensitivity(source.keras, config or Sensitivity(), dataset, say=say)


def run_stage(model: Any, stage: Compression, around: Surroundings, place: int = 0) -> Step:
    """The model after one stage. Raises what the stage raises, naming it."""
    if around.file:
        return second_engine(model, stage, around)
    around.say(Line(f"{name_of(stage)}: {stage.detail}"))
    return _RUN[type(stage)](model, stage, around, place)


def second_engine(model: Any, stage: Compression | QuantizeAware, around: Surroundings) -> Step:
    """The model after one stage that tensorflow-model-optimization trained. Raises what `tfmot.engine.train` raises."""
    assert isinstance(stage, PruneWeights | Cluster | QuantizeAware)  # Recipe has no other with this engine
    assert around.file is not None
    assert around.folder is not None
    around.say(Line(f"{name_of(stage)}: {engine.detail_of(stage)}"))
    data = around.training_data(stage)
    setting = engine.Setting(data, around.folder, around.targets, around.seed, around.trust, around.say)
    done = engine.train(model, around.file, stage, setting)
    step = _step(stage, done.model, around, done.header, done.rows, done.notes, done.epochs)
    return replace(step, report=msgspec.structs.replace(step.report, detail=done.detail), file=done.file)


@contextmanager
def keeping(stage: Compression | QuantizeAware, folder: Path | None) -> Iterator[None]:
    """Save the last good weights of a training that diverges, in `folder` if there is one."""
    try:
        yield
    except TrainingDiverged as cause:
        if folder is None:
            raise
        folder.mkdir(parents=True, exist_ok=True)
        kept = cause.keep(folder / f"{name_of(stage)}-last-good")
        raise RunError(cause.problem, f"{cause.mend}; the last good weights are in {kept}") from cause


def name_of(stage: Compression | QuantizeAware) -> str:
    """The stage's word in a recipe."""
    return str(stage.__struct_config__.tag)


def _training_of(stage: Compression | QuantizeAware) -> Training | None:
    """How a stage trains; None where it does not."""
    return None if getattr(stage, "one_shot", False) else getattr(stage, "training", None)


def train_integers(
    model: Any, stage: QuantizeAware, around: Surroundings, numerics: Quantize, file: bytes, ranges: Ranges
) -> tuple[bytes, StageReport]:
    """The quantized file of a Keras model after its quantization-aware training, and what that did.

    `file` is the model's float32 file and `ranges` its calibration. Raises what `quantize_aware` raises.
    """
    done = quantize_aware(
        model,
        stage,
        around.training_data(stage),
        teacher=around.original,
        numerics=numerics,
        float_file=file,
        ranges=ranges,
        **around.of_training(0),
    )
    proof = done.report.agreement
    worst = min(output.within for output in proof.outputs)
    notes = [f"the file computes what was trained: {worst:.2%} of outputs within 2 quanta on {proof.samples} samples"]
    told = {
        "in float": done.report.float_operators,
        "kernels computed from weights, and trained as the file has them": done.report.derived,
        "frozen": done.report.frozen,
    }
    notes += [f"{words}: {', '.join(names)}" for words, names in told.items() if names]
    return done.file, _step(stage, None, around, HEADER, done.report.rows(), notes, done.history).report


def refuse_without_training(stage: Compression | QuantizeAware, data: Dataset | None) -> None:
    """Raise DataError where a stage trains and has no training part, RecipeError for a misfit of loss or steps."""
    training = _training_of(stage)
    if training is None:
        return
    if data is not None and data.train is not None and len(data.train):
        losses.refuse_misfit(training.loss, data.task)
        if isinstance(stage, QuantizeAware):
            refuse_few_steps(stage, len(data.train))
        return
    found = "no data was given" if data is None else f"the data has only {', '.join(part.name for part in data.parts)}"
    shot = ", or say one_shot = true" if hasattr(stage, "one_shot") else ""
    raise DataError(f"{name_of(stage)} trains, and {found}", f"give data with a training part (docs/data.md){shot}")


def refuse_without_keras(model: Model, recipe: Recipe) -> None:
    """Raise ModelError where a recipe changes the network and the model is not a Keras one."""
    if recipe.trained and model.keras is None:
        raise ModelError(
            f"{model.origin}: {name_of(recipe.trained[0])} works on a Keras model, and this is a {model.kind}",
            "give the .keras or .h5 file, or module:function, that it was made from",
        )


def _step(
    stage: Compression | QuantizeAware,
    model: Any,
    around: Surroundings,
    header: Sequence[str] = (),
    rows: Rows = (),
    notes: Sequence[str] = (),
    epochs: Sequence[Epoch] = (),
) -> Step:
    metric = around.data.metric if around.data else None
    return Step(
        model,
        StageReport(name_of(stage), stage.detail, tuple(header), tuple(rows), tuple(notes), tuple(epochs), metric),
    )


def _keeping() -> list[Callback]:
    """What keeps the zeros and the shared values of earlier stages while a later one trains."""
    return [Preserve(), ClusterPreserve()]


def _prune_weights(model: Any, stage: PruneWeights, around: Surroundings, place: int) -> Step:
    done = prune_weights.prune_weights(
        model,
        stage,
        around.data,
        targets=around.targets,
        teacher=around.teacher,
        **around.of_training(place),
    )
    gains: dict[str, list[str]] = {}
    for name, gain in done.report.gain.items():
        gains.setdefault(gain, []).append(name)
    notes = [
        f"{done.report.sparsity:.1%} of the weights are zero",
        *(f"{', '.join(names)}: {gain}" for gain, names in gains.items()),
    ]
    return _step(stage, done.model, around, prune_weights.HEADER, done.report.rows(), notes, done.history)


def _prune_channels(model: Any, stage: PruneChannels, around: Surroundings, _: int) -> Step:
    likes = around.targets[0].numerics.channel_multiple if around.targets else 8
    made = prune_channels.plan(model, stage, around.data, likes, latency=around.latency, say=around.say)
    report = prune_channels.report(made)
    notes = [_saved(report), f"channels in multiples of {report.multiple}"]
    if stage.multiple is None and report.multiple != likes:
        notes[1] += f": in those of {likes}, which {around.targets[0].name} likes, the budget cannot be met"
    notes += [
        f"measured: {one.macs:.1%} of the MACs take {format_seconds(one.seconds)}, {one.latency:.1%} of the latency"
        for one in report.candidates
    ]
    if report.uncounted:
        notes.append(f"multiply-accumulates are not known, and count zero, of {', '.join(report.uncounted)}")
    return _step(stage, prune_channels.apply(made), around, prune_channels.HEADER, report.rows(), notes)


def _drop_layers(model: Any, stage: DropLayers, around: Surroundings, _: int) -> Step:
    if around.data is None:
        raise DataError("drop_layers looks at outputs, and no data was given", "give the data")
    part = around.data.validation or around.data.part("train")
    made = drop_layers.plan(model, stage, part.take(stage.samples).array())
    report = drop_layers.report(made)
    return _step(stage, drop_layers.apply(made), around, drop_layers.HEADER, report.rows(), [_saved(report)])


def _factorize(model: Any, stage: Factorize, around: Surroundings, place: int) -> Step:
    done = factorize.factorize(
        model,
        stage,
        around.data,
        teacher=around.teacher,
        **around.of_training(place),
    )
    return _step(stage, done.model, around, factorize.HEADER, done.plan.rows(), [_saved(done.report)], done.history)


def _cluster(model: Any, stage: Cluster, around: Surroundings, place: int) -> Step:
    done = cluster.cluster(
        model,
        stage,
        around.data,
        teacher=around.teacher,
        **around.of_training(place),
    )
    return _step(stage, done.model, around, cluster.HEADER, done.report.rows(), [done.report.note], done.history)


def _distill(model: Any, stage: Distill, around: Surroundings, place: int) -> Step:
    done = distill(
        [around.original, *(_other(name, around) for name in stage.teachers)],
        _student(model, stage, around),
        stage,
        around.training_data(stage),
        callbacks=_keeping(),
        cache=around.teacher.cache,
        **around.of_training(place),
    )
    teacher, student = map(format_count, (done.report.teacher_parameters, done.report.student_parameters))
    sizes = f"parameters: teacher {teacher}, student {student}"
    alpha = [f"alpha {done.report.alpha:g} did best"] if stage.tune_alpha else []
    return _step(stage, done.model, around, notes=[sizes, *alpha, *done.report.notes], epochs=done.history)


def _student(model: Any, stage: Distill, around: Surroundings) -> Any | None:
    if stage.student is not None:
        return _other(stage.student, around)
    return None if stage.width is not None else model


def _other(reference: str, around: Surroundings) -> Any:
    found = load_model(reference, trust=around.trust)
    if found.keras is None:
        raise ModelError(f"{reference}: distill needs Keras models, and this is a {found.kind}", "give a .keras file")
    return found.keras


def _fine_tune(model: Any, stage: FineTune, around: Surroundings, place: int) -> Step:
    done = fine_tune(
        model,
        around.training_data(stage),
        stage.training,
        callbacks=_keeping(),
        **around.of_training(place),
        stage="fine_tune",
    )
    return _step(stage, done.model, around, epochs=done.history)


def _saved(report: Any) -> str:
    """What a stage took away, in multiply-accumulates and parameters."""
    return ", ".join(
        f"{words} {format_count(before)} -> {format_count(after)}{f' ({after / before:.0%})' if before else ''}"
        for words, before, after in (
            ("MACs", report.macs_before, report.macs_after),
            ("parameters", report.parameters_before, report.parameters_after),
        )
    )


_RUN: dict[type, Callable[[Any, Any, Surroundings, int], Step]] = {
    Cluster: _cluster,
    Distill: _distill,
    DropLayers: _drop_layers,
    Factorize: _factorize,
    FineTune: _fine_tune,
    PruneChannels: _prune_channels,
    PruneWeights: _prune_weights,
}
