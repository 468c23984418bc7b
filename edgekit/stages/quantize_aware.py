"""Quantization-aware training: train the network that the integer file computes, then write what it learned into it.

The float32 file is calibrated and quantized first, by the very engine and settings that the recipe names. What is
trained is that file (`integer_model`): its operators, its fused groups, its shared scales, its islands of float. So
normalizations are folded, nothing is guessed about the quantizer, and `integer_file` only replaces numbers. Weights and
ranges move together (Jacob et al. 2018, arXiv:1712.05877, section 3). `agreement` is the proof.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from edgekit.data.parts import Dataset, Part
from edgekit.errors import ModelError, RecipeError
from edgekit.graph.unroll import unrolled
from edgekit.graph.walk import walk
from edgekit.model.live import from_keras
from edgekit.stages.agreement import agreement
from edgekit.stages.calibrate import Ranges as Calibrated
from edgekit.stages.calibrate import calibrate
from edgekit.stages.centroids import ClusterPreserve
from edgekit.stages.convert import export
from edgekit.stages.integer_file import with_integers
from edgekit.stages.integer_graph import IntegerGraph, read_graph
from edgekit.stages.integer_model import RangeMode, bounds_of, integer_model, integers_of
from edgekit.stages.integer_names import operators_of_layers
from edgekit.stages.integer_report import QuantizeAwareReport, report
from edgekit.stages.integer_weights import weights_of
from edgekit.stages.lesson import Teacher, TeacherShare, taught
from edgekit.stages.masks import Preserve
from edgekit.stages.moved_ranges import SoundRanges, moved_ranges
from edgekit.stages.numerics import Quantize
from edgekit.stages.patterns import matching
from edgekit.stages.quantize import CALIBRATED, Source, quantize
from edgekit.stages.train import fine_tune, unfrozen
from edgekit.stages.training import Callback, Epoch, Objective, Trained, Training, TrainingDiverged
from edgekit.talk import Say
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.surgery import with_io_type, without_negation

FEWEST_STEPS = 50
_PROOF_SAMPLES = 512


class QuantizeLayers(Struct, frozen=True, forbid_unknown_fields=True):
    """Fewer bits for the weights of the layers that a pattern matches, or no quantization at all."""

    pattern: str
    bits: Annotated[
        Annotated[int, Meta(ge=2, le=8)] | None,
        Meta(description="Levels of the weights, as a power of two; they are stored as int8."),
    ] = None
    keep: Annotated[bool, Meta(description="Leave these layers in float.")] = False

    def __post_init__(self) -> None:
        if self.keep == (self.bits is not None):
            raise ValueError(f"layers {self.pattern!r}: give either `bits = N` or `keep = true`")
        if self.bits is not None and not 2 <= self.bits <= 8:
            raise ValueError(f"layers {self.pattern!r}: bits must be 2 to 8, not {self.bits}")


class QuantizeAware(Struct, frozen=True, forbid_unknown_fields=True, tag="quantize_aware", tag_field="stage"):
    """Train with the rounding of the integer file: what post-training quantization loses is learned back."""

    ranges: Annotated[
        RangeMode, Meta(description="Activation ranges are learned, follow the activations, or stay as calibrated.")
    ] = "learned"
    bits: Annotated[
        Annotated[int, Meta(ge=2, le=8)],
        Meta(description="Levels of all weights, as a power of two; they are stored as int8."),
    ] = 8
    layers: Annotated[tuple[QuantizeLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    teacher: TeacherShare = 0.0
    preserve: Annotated[bool, Meta(description="Zeros of pruned and values of clustered weights stay.")] = True
    training: Training = Training(epochs=5, learning_rate=1e-4)

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2 to 8, not {self.bits}")
        if not 0 <= self.teacher <= 1:
            raise ValueError(f"teacher is a share between 0 and 1, not {self.teacher:g}")

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        bits = f"{self.bits} bits, " if self.bits != 8 else ""
        taught = f"{self.teacher:.0%} by the float model, " if self.teacher else ""
        return f"{bits}{self.ranges} ranges, {taught}{self.training.detail}"


class KernelPlan(Struct, frozen=True):
    """What will be done to one kernel, by the tensor that its operator writes: bits, or `keep` for float."""

    tensor: str
    operator: str
    weights: int
    bits: int
    keep: bool


class QuantizePlan(Struct, frozen=True):
    """The stage and what it will do to each kernel; `kept` are the tensors whose operators stay in float."""

    stage: QuantizeAware
    kernels: tuple[KernelPlan, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class QuantizedAware:
    """The integer file, the simulation it was written from (a Keras model), what was done, and the history."""

    file: bytes
    model: Any
    report: QuantizeAwareReport
    history: tuple[Epoch, ...]


def quantize_aware(
    model: Any,
    stage: QuantizeAware,
    data: Dataset,
    *,
    teacher: Any | None = None,
    numerics: Quantize | None = None,
    float_file: bytes | None = None,
    ranges: Calibrated | None = None,
    callbacks: Sequence[Callback] = (),
    objective: Callable[[Any, Dataset, Training], Objective] | None = None,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
) -> QuantizedAware:
    """Train a Keras model as the integer file of `numerics` (resolved; int8 by the converter where None).

    `float_file` is the model as `convert` lowers it and `ranges` its calibration, both made here where None (with
    recurrent layers unrolled, as TFLite runs loops in float); `data` is matched to the model. `teacher` is the float
    model whose answers have a share in the loss, the model itself where None; `objective` replaces the loss by the
    labels and the float model.

    Raises RecipeError for a scheme that has no ranges, patterns that match nothing and too few steps, ModelError for a
    model that is quantized already and operators that cannot be trained, IntegerTrainingDiverged where the loss is no
    number or a range collapses or explodes, RunError where the file is not what was trained, and what `fine_tune`
    raises.
    """
    numerics = numerics or Quantize(
        "int8", granularity="per-channel", dense_granularity="per-channel", io="float32", engine="converter"
    )
    _refuse_scheme(numerics)
    refuse_few_steps(stage, len(data.part("train")))
    _refuse_quantized(model, float_file)
    flat = unrolled(model)
    if flat is not model and float_file is not None:
        say("quantize_aware: recurrent layers are unrolled, so the float32 file and its ranges are made anew")
        float_file = ranges = None
    start = without_negation(float_file or lowered(flat))
    made = plan(model, stage, start)
    width = 16 if numerics.scheme == "int16x8" else 8
    samples = data.part("calibration").take(numerics.calibration_samples)
    source = Source(start, ranges or calibrate(start, samples.array(), numerics.calibration, width), keep=made.kept)
    whole = structs.replace(numerics, io="int8" if numerics.scheme == "int8" else "int16")
    graph = read_graph(quantize(source, whole, rescaled=False), start)
    weights = weights_of(graph, unfrozen(model) if stage.training.unfreeze else model)
    bits = _bits(graph, made)
    network = integer_model(graph, weights, stage.ranges, bits)
    begun = bounds_of(network)
    with _last_good_file(graph, stage, numerics.io):
        trained = fine_tune(
            network,
            data,
            stage.training,
            callbacks=[*callbacks, *((Preserve(), ClusterPreserve()) if stage.preserve else ()), SoundRanges(graph)],
            objective=objective or _objective(model, teacher or model, stage),
            checkpoint=checkpoint,
            say=say,
            seed=seed,
            stage="quantize_aware",
            in_place=True,
        )
    moved = moved_ranges(graph, begun, bounds_of(trained.model))
    file = with_integers(graph, integers_of(trained.model))
    proof = agreement(trained.model, file, graph, _proof_samples(data).array())
    proof.accept()
    found = report(graph, file, model, weights, bits, moved, proof)
    return QuantizedAware(with_io_type(file, numerics.io), trained.model, found, trained.history)


def plan(model: Any, stage: QuantizeAware, float_file: bytes) -> QuantizePlan:
    """Bits of each kernel and the operators that stay in float, by the names of the Keras layers in the file.

    Raises RecipeError for a pattern that matches nothing.
    """
    layers = operators_of_layers(read_contents(float_file), model)
    bits: dict[str, int] = {}
    kept: dict[str, None] = {}
    for rule in stage.layers:
        for layer in sorted(_matching(rule.pattern, layers, model)):
            for tensor in layers[layer]:
                kept.pop(tensor, None)
                if rule.keep:
                    kept[tensor] = None
                else:
                    bits[tensor] = rule.bits or stage.bits
    contents = read_contents(float_file)
    kernels = tuple(
        KernelPlan(
            operator.output_name,
            operator.name,
            operator.weight_bytes // 4,
            bits.get(operator.output_name, stage.bits),
            operator.output_name in kept,
        )
        for operator in contents.operators
        if operator.weight_dtype and operator.macs
    )
    return QuantizePlan(stage, kernels, tuple(kept))


def _matching(pattern: str, operators: dict[str, list[str]], model: Any) -> set[str]:
    """The layers that a pattern matches. Raises RecipeError, also for layers that have become part of others."""
    if not (found := {name for name in operators if fnmatchcase(name, pattern)}):
        merged = sorted(matching(pattern, walk(model).layers, "quantize_aware"))
        raise RecipeError(
            f"quantize_aware: layer {merged[0]!r} ({pattern!r}) has no operator of its own in the file",
            f"name the layer that it was merged into; those with operators: {', '.join(sorted(operators))}",
        )
    return found


def lowered(model: Any) -> bytes:
    """The float32 file of a Keras model, for one sample at a time."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        return export(from_keras(model, model.name, model.name, None), 1, Path(folder) / "export").lower()


def _bits(graph: IntegerGraph, plan: QuantizePlan) -> dict[int, int]:
    wished = {kernel.tensor: kernel.bits for kernel in plan.kernels}
    return {
        index: wished.get(graph.tensors[constant.operator.outputs[0]].name, plan.stage.bits)
        for index, constant in graph.constants.items()
        if constant.role == "kernel"
    }


def _objective(model: Any, teacher: Any, stage: QuantizeAware) -> Callable[[Any, Dataset, Training], Objective]:
    """The loss of the integer network, whose outputs are those of the float model."""
    of_float = taught(Teacher(teacher), stage.teacher)
    return lambda network, data, config: dataclasses.replace(of_float(model, data, config), network=network)


def _proof_samples(data: Dataset) -> Part:
    part = data.test or data.validation or data.part("train")
    return part.take(_PROOF_SAMPLES)


# What goes wrong.


class IntegerTrainingDiverged(TrainingDiverged):
    """The training of an integer file diverged; `file` has the last good weights, in the types that were asked for."""

    def __init__(self, problem: str, mend: str, trained: Trained, file: bytes) -> None:
        super().__init__(problem, mend, trained)
        self.file = file

    def keep(self, place: Path) -> Path:
        """Write `file` beside `place`; where it is now."""
        kept = place.with_name(f"{place.name}.tflite")
        kept.write_bytes(self.file)
        return kept


@contextmanager
def _last_good_file(graph: IntegerGraph, stage: QuantizeAware, io: str) -> Iterator[None]:
    try:
        yield
    except TrainingDiverged as cause:
        file = with_io_type(with_integers(graph, integers_of(cause.trained.model)), io)
        mend = cause.mend if stage.ranges == "calibrated" else f"{cause.mend}, or say ranges = 'calibrated'"
        raise IntegerTrainingDiverged(cause.problem, mend, cause.trained, file) from cause


def _refuse_scheme(numerics: Quantize) -> None:
    if numerics.scheme not in CALIBRATED:
        raise RecipeError(
            f"quantize_aware trains the integers of int8 and int16x8 files, not {numerics.scheme}",
            "quantize to int8, or leave this stage out",
        )
    if (numerics.scheme, numerics.engine) == ("int16x8", "converter"):
        raise RecipeError(
            "quantize_aware starts from a float32 file, of which engine 'converter' makes no int16x8",
            "use engine=litert",
        )


def refuse_few_steps(stage: QuantizeAware, samples: int) -> None:
    """Raise RecipeError where so many samples give too few steps to learn ranges."""
    training = stage.training
    steps = training.epochs * max(samples // training.batch_size, 1)
    if stage.ranges != "calibrated" and steps < FEWEST_STEPS:
        raise RecipeError(
            f"quantize_aware: {steps} steps are too few to learn ranges, {FEWEST_STEPS} are needed",
            "raise training.epochs or lower training.batch_size (or, but for engine=tfmot, say ranges = 'calibrated')",
        )


def _refuse_quantized(model: Any, float_file: bytes | None) -> None:
    layers = [layer.name for layer in model._flatten_layers() if getattr(layer, "quantization_mode", None)]
    if layers:
        raise ModelError(f"layer {layers[0]!r} of {model.name!r} is quantized already", "give the float model")
    found = read_contents(float_file).numeric if float_file else "float32"
    if found != "float32":
        raise ModelError(f"the file is {found} already, and training starts from float32", "give the float32 file")
