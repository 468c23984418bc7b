"""Run one stage of a recipe on a Keras model, and write down what it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from edgekit.errors import DataError, ModelError
from edgekit.model import load_model
from edgekit.python_reference import split
from edgekit.recipe import Compression
from edgekit.stages import cluster, drop_layers, factorize, prune_channels, prune_weights
from edgekit.stages.calibrate import Ranges
from edgekit.stages.centroids import ClusterPreserve
from edgekit.stages.cluster import Cluster
from edgekit.stages.distill import Distill, distill
from edgekit.stages.drop_layers import DropLayers
from edgekit.stages.factorize import Factorize
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.integer_report import HEADER
from edgekit.stages.masks import Preserve
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware, quantize_aware
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Callback, Epoch
from edgekit.step import StageReport, Step, Surroundings, name_of
from edgekit.talk import Line
from edgekit.tf import import_keras
from edgekit.tfmot import engine
from edgekit.units import format_count, format_seconds

Rows = Sequence[tuple[str, ...]]


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
    drawn = stage.width is not None and stage.weights is None  # its zeros are where its training begins
    done = distill(
        [around.original, *(_other(name, around) for name in stage.teachers)],
        _student(model, stage, around),
        stage,
        around.training_data(stage),
        pretrained=None if stage.weights is None else _other(stage.weights, around),
        callbacks=[] if drawn else _keeping(),
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
    """A Keras model beside the one that came in; weights that Python draws for it are those of the seed."""
    if split(reference):
        import_keras().utils.set_random_seed(around.seed)
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
        freeze=stage.freeze,
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
