"""Distill: a student learns what a teacher says, not only what the labels say.

    L = alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + (1 - alpha) L_labels

Hinton et al. 2015, arXiv:1503.02531. With several teachers the soft targets are averaged; yes-or-no outputs use the
binary form; quantities the mean square to the teacher's. Hints add, for pairs of layers, half the mean square between
features, the student's projected by a 1x1 convolution where channels differ (Romero et al. 2015, arXiv:1412.6550,
eq. 3), or half the distance between attention maps (Zagoruyko & Komodakis 2017, arXiv:1612.03928, eq. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset, Part
from edgekit.errors import RecipeError
from edgekit.graph.rebuild import same
from edgekit.metrics import load_metric
from edgekit.model.live import contract, digest
from edgekit.stages.freezing import Freeze
from edgekit.stages.lesson import TEMPERATURE, Blend, Lesson
from edgekit.stages.soft_losses import attention_loss, feature_loss, projection_for
from edgekit.stages.student import narrowed
from edgekit.stages.teacher import Look, answers, with_features
from edgekit.stages.train import copy_of, fine_tune
from edgekit.stages.training import Callback, Epoch, Objective, Trained, Training, monitored
from edgekit.stages.transfer import transfer
from edgekit.talk import Say

Array = npt.NDArray[Any]
Weight = Annotated[float, Meta(ge=0, le=1)]


class Hint(Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of layers whose outputs should be alike."""

    teacher: Annotated[str, Meta(min_length=1, description="Name of a layer of the (first) teacher.")]
    student: Annotated[str, Meta(min_length=1, description="Name of a layer of the student.")]
    kind: Annotated[
        Literal["attention", "feature"], Meta(description="Where it looks, or what it finds in each channel.")
    ] = "attention"
    weight: Annotated[float, Meta(gt=0, description="Factor of this term in the loss.")] = 1.0


class Distill(Struct, frozen=True, forbid_unknown_fields=True, tag="distill", tag_field="stage"):
    """Train a smaller network to say what a larger one says."""

    temperature: Annotated[float, Meta(gt=0, le=100, description="How much the soft targets are softened.")] = (
        TEMPERATURE
    )
    alpha: Annotated[Weight, Meta(description="Share of the teacher in the loss; the rest are the labels.")] = 0.7
    alpha_end: Annotated[Weight | None, Meta(description="Alpha at the end, if it changes while training.")] = None
    tune_alpha: Annotated[
        tuple[Weight, ...], Meta(description="Values to try for a quarter of the epochs; the best one is taken.")
    ] = ()
    width: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Derive the student: this many times the channels of the teacher in each layer."),
    ] = None
    student: Annotated[
        str | None, Meta(description="Instead of a width: a model file, or module:function, of the same contract.")
    ] = None
    teachers: Annotated[
        tuple[str, ...], Meta(description="More teachers beside the model that came in: files, or module:function.")
    ] = ()
    multiple: Annotated[int, Meta(ge=1, le=256, description="Channels of a derived student are multiples.")] = 8
    hints: tuple[Hint, ...] = ()
    weights: Annotated[
        str | None,
        Meta(description="A model file whose weights the student begins with, in layers of the same name and shape."),
    ] = None
    freeze: Freeze = ()
    training: Training = Training(epochs=30)

    def __post_init__(self) -> None:
        if self.tune_alpha and (self.alpha_end is not None or len(set(self.tune_alpha)) < 2):
            raise ValueError("tune_alpha takes two values or more, and no alpha_end")
        if not self.tune_alpha and not self.alpha and not self.alpha_end and not self.hints:
            raise ValueError("alpha 0 without hints asks the teacher nothing: give alpha above 0, or hints")
        if self.width is not None and self.student is not None:
            raise ValueError("give a `width` to derive the student, or a `student` of your own, not both")
        if self.weights is not None and self.width is None and self.student is None:
            raise ValueError("`weights` are for a new student: give a `width` or a `student`, too")

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        who = f"a student of {self.width:.0%} width" if self.width else self.student or "the smaller model"
        alpha = "tuned" if self.tune_alpha else f"{self.alpha:g}"
        return f"{who}, temperature {self.temperature:g}, alpha {alpha}, {self.training.detail}"


class DistillReport(Struct, frozen=True):
    """Sizes of teachers and student, the alpha that was used, and what should be known about the result."""

    teachers: tuple[str, ...]
    teacher_parameters: int
    student_parameters: int
    alpha: float
    best_epoch: int
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Distilled:
    """The trained student, what was done, and the history of its training."""

    model: Any
    report: DistillReport
    history: tuple[Epoch, ...]


def distill(
    teachers: Any,
    student: Any | None,
    stage: Distill,
    data: Dataset,
    *,
    pretrained: Any | None = None,
    callbacks: Sequence[Callback] = (),
    cache: Path | None = None,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
) -> Distilled:
    """Train a copy of `student`, or of one derived from the first teacher, on what the teachers say about the data.

    `teachers` is a Keras model or a sequence of them; none of them is changed. `pretrained` is the model whose weights
    the student begins with, where names and shapes fit. `cache` is a folder that keeps what the teachers said. Raises
    RecipeError where teachers and student do not fit, a hint names no layer or no weights fit, and what `fine_tune`
    raises.
    """
    several = tuple(teachers) if isinstance(teachers, Sequence) else (teachers,)
    pupil = _student(several, student, stage, seed)
    begun: tuple[str, ...] = ()
    if pretrained is not None:
        pupil = copy_of(pupil, seed)
        begun = transfer(pupil, pretrained).notes()
    for teacher in several:
        _refuse_misfit(teacher, pupil)
    room = _Room(several, cache, say)

    def run(alpha: float, training: Training, path: Path | None) -> Trained:
        chosen = msgspec.structs.replace(stage, alpha=alpha, training=training)
        return fine_tune(
            pupil,
            data,
            training,
            callbacks=callbacks,
            objective=lambda model, data, _: room.objective(model, data, chosen),
            checkpoint=path,
            say=say,
            seed=seed,
            stage="distill",
            freeze=stage.freeze,
        )

    alpha = _tuned(stage, data, run, say) if stage.tune_alpha else stage.alpha
    trained = run(alpha, stage.training, checkpoint)
    report = DistillReport(
        teachers=tuple(teacher.name for teacher in several),
        teacher_parameters=int(several[0].count_params()),
        student_parameters=int(trained.model.count_params()),
        alpha=alpha,
        best_epoch=trained.best,
        notes=(*begun, *dict.fromkeys(room.notes)),
    )
    return Distilled(trained.model, report, trained.history)


def _student(teachers: tuple[Any, ...], student: Any | None, stage: Distill, seed: int) -> Any:
    if not teachers:
        raise RecipeError("distill: no teacher was given", "give one trained model or several")
    if (student is None) == (stage.width is None):
        found = "both a student and a width" if student is not None else "neither a student nor a width"
        raise RecipeError(f"distill: {found}", "give a student model, or width = 0.5 to derive one from the teacher")
    if student is not None:
        return student
    assert stage.width is not None
    return narrowed(teachers[0], stage.width, multiple=stage.multiple, seed=seed)


def _refuse_misfit(teacher: Any, student: Any) -> None:
    for what, *both in zip(("takes", "gives"), contract(teacher), contract(student), strict=True):
        shapes = [[spec.shape[1:] for spec in specs] for specs in both]
        if len(shapes[0]) != len(shapes[1]) or not all(map(_alike, *shapes)):
            raise RecipeError(
                f"teacher and student do not fit: teacher {teacher.name!r} {what} {shapes[0]}, "
                f"student {student.name!r} {what} {shapes[1]}",
                "give a student with the inputs and outputs of the teacher",
            )
        theirs, ours = ([spec.name for spec in specs] for specs in both)
        if theirs != ours and sorted(theirs) == sorted(ours):
            raise RecipeError(
                f"the student {what} {', '.join(ours)}, the teacher {what} {', '.join(theirs)}",
                "give them in the teacher's order",
            )


def _alike(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> bool:
    return len(first) == len(second) and all(None in pair or pair[0] == pair[1] for pair in zip(first, second))  # noqa: B905


def _tuned(stage: Distill, data: Dataset, run: Any, say: Say) -> float:
    """The alpha whose student does best on the validation part after a quarter of the epochs."""
    metric = monitored(data, stage.training)
    if metric is None or data.validation is None or data.validation.labels is None:
        raise RecipeError("tune_alpha chooses by a metric on the validation part, and there is none", "give alpha")
    short = msgspec.structs.replace(stage.training, epochs=max(1, stage.training.epochs // 4), patience=0)
    sign = 1 if load_metric(metric).higher_is_better else -1
    found = {}
    for alpha in dict.fromkeys(stage.tune_alpha):
        trained = run(alpha, short, None)
        found[alpha] = sign * trained.history[trained.best].value
        say(f"distill: alpha {alpha:g} gives {metric} {trained.history[trained.best].value:.4f}")
    return max(found, key=lambda alpha: found[alpha])


def _size(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """A size that is known in full, or nothing."""
    return tuple(side for side in shape if side is not None) if None not in shape else ()


class _Room:
    """The teachers, and what they said so far."""

    def __init__(self, teachers: tuple[Any, ...], cache: Path | None, say: Say) -> None:
        self.teachers, self.cache, self.say = teachers, cache, say
        self.notes: list[str] = []
        self._digests = [digest(teacher) for teacher in teachers]
        self._said: dict[Any, tuple[Array, ...]] = {}

    def objective(self, model: Any, data: Dataset, stage: Distill) -> Objective:
        """What the copy of the student that is trained minimises."""
        end = stage.alpha if stage.alpha_end is None else stage.alpha_end
        blend = Blend(stage.alpha, end, stage.temperature)
        lesson = Lesson(self.teachers, model, data, blend, stage.training.loss)
        if lesson.guesses_logits:
            self.notes.append("a teacher gives probabilities: their logits were recovered as logarithms")
        hints = _Hints(model, stage.hints)
        targets = {
            part.name: (*lesson.labels(part), *self._answers(part, hints.looks))
            for part in (data.part("train"), data.validation)
            if part is not None
        }
        hints.meet(targets["train"][len(targets["train"]) - len(stage.hints) :])
        inner = len(stage.hints)

        def loss(outputs: list[Any], found: list[Any], progress: Any) -> Any:
            total = lesson.loss(outputs[: len(outputs) - inner], found[: len(found) - inner], progress)
            return total + hints.loss(outputs[len(outputs) - inner :], found[len(found) - inner :])

        return Objective(
            network=hints.network,
            targets=lambda part: targets[part.name],
            loss=loss,
            variables=hints.variables,
            key=f"{stage!r} {self._digests}",
        )

    def _answers(self, part: Part, looks: tuple[Look, ...]) -> tuple[Array, ...]:
        """The outputs of each teacher in turn, then what the hints see in the first."""
        said = [self._answer(part, number, looks if number == 0 else ()) for number in range(len(self.teachers))]
        count = len(said[0]) - len(looks)
        return (*said[0][:count], *(array for other in said[1:] for array in other), *said[0][count:])

    def _answer(self, part: Part, number: int, looks: tuple[Look, ...]) -> tuple[Array, ...]:
        place = (part.name, number, looks)
        if place not in self._said:
            self._said[place] = answers(self.teachers[number], part, looks, folder=self.cache, say=self.say)
        return self._said[place]


class _Hints:
    """The loss between pairs of layers, and the projections that are trained with it."""

    def __init__(self, model: Any, hints: tuple[Hint, ...]) -> None:
        self.hints = hints
        self.network = with_features(model, [hint.student for hint in hints], same) if hints else model
        self.features = self.network.outputs[len(model.outputs) :]
        for hint, feature in zip(hints, self.features, strict=True):
            if hint.kind == "attention" and len(feature.shape) < 3:
                raise RecipeError(
                    f"hint {hint.student!r}: its output {list(feature.shape[1:])} has no positions to attend to",
                    'name a convolution, or say kind = "feature"',
                )
        self.looks = tuple(
            Look(hint.teacher, hint.kind == "attention", _size(feature.shape[1:-1]))
            for hint, feature in zip(hints, self.features, strict=True)
        )
        self._projections: list[Any] = []

    def meet(self, seen: Sequence[Array]) -> None:
        """Make the projections that what was seen in the teacher asks for."""
        for hint, feature, array in zip(self.hints, self.features, seen, strict=True):
            name = f"{hint.teacher!r} to {hint.student!r}"
            feature_to_feature = hint.kind == "feature"
            self._projections.append(projection_for(name, feature.shape, array.shape) if feature_to_feature else None)

    @property
    def variables(self) -> tuple[Any, ...]:
        """The projections."""
        return tuple(projection for projection in self._projections if projection is not None)

    def loss(self, features: list[Any], targets: list[Any]) -> Any:
        """The weighted sum over the pairs."""
        total: Any = 0.0
        for hint, feature, target, projection in zip(self.hints, features, targets, self._projections, strict=True):
            if hint.kind == "attention":
                total += hint.weight * attention_loss(target, feature)
            else:
                total += hint.weight * feature_loss(target, feature, projection)
        return total
