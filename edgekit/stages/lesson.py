"""Lesson: the loss of a network that learns from teachers and from labels, each with a share.

alpha T^2 KL(teachers || network) + (1 - alpha) loss of the labels (Hinton et al. 2015, arXiv:1503.02531). Every stage
that trains can take the float model as its teacher (`taught`): that holds what the float model knew better than labels
alone do (benchmarks/results/compression.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
from msgspec import Meta

from edgekit.data.parts import Dataset, Part
from edgekit.model.live import digest
from edgekit.stages.losses import answers_each, hard_loss, hard_targets, output_kinds
from edgekit.stages.soft_losses import Form, form_of, soft_loss
from edgekit.stages.teacher import answers
from edgekit.stages.train import labels_objective
from edgekit.stages.training import Objective, Training
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]
TeacherShare = Annotated[
    float,
    Meta(ge=0, le=1, description="Share of the float model's answers in the loss; with 1 no labels are needed."),
]

TEMPERATURE = 4.0
_DECIDING = ("classification", "segmentation")
_MEASURING = ("regression", "autoencoder")


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained Keras model that teaches, and the folder that keeps what it said, if one does."""

    model: Any
    cache: Path | None = None


@dataclass(frozen=True)
class Blend:
    """The teachers' share of the loss from the first step to the last, and how much their answers are softened."""

    alpha: float
    alpha_end: float
    temperature: float = TEMPERATURE


class Lesson:
    """The loss of the outputs: the teachers' share and the labels' share. `loss` names that of the labels."""

    def __init__(self, teachers: Sequence[Any], model: Any, data: Dataset, blend: Blend, loss: str) -> None:
        self.data, self.blend = data, blend
        samples = next(data.part("train").batches(32))
        judged = data.labelled_outputs or tuple(range(len(model.outputs)))
        quantities = {index for index in judged if data.task_of(index) in _MEASURING}
        self.kinds = output_kinds(model, samples, quantities)
        self.theirs = [output_kinds(teacher, samples, quantities) for teacher in teachers]
        labels = dict(zip(judged, data.part("train").labels or (), strict=False))
        self.forms: list[Form] = [
            "values"
            if index in quantities
            else form_of(
                kind,
                1 if index in labels and answers_each(labels[index], output) else int(output.shape[-1]),
                index in judged and data.task_of(index) in _DECIDING,
            )
            for index, (kind, output) in enumerate(zip(self.theirs[0], model.outputs, strict=True))
        ]
        self.hard = None if blend.alpha == blend.alpha_end == 1 else hard_loss(model, data, loss, samples)

    @property
    def guesses_logits(self) -> bool:
        """Whether a teacher gives probabilities, so that its logits have to be recovered."""
        pairs = (pair for kinds in self.theirs for pair in zip(kinds, self.forms, strict=True))
        return any(kind != "logits" and form != "values" for kind, form in pairs)

    def labels(self, part: Part) -> tuple[Array, ...]:
        """The labels, where they have a share."""
        return () if self.hard is None else hard_targets(self.data, part)

    def loss(self, outputs: list[Any], targets: list[Any], progress: Any) -> Any:
        """The weighted sum of both shares; `targets` are the labels, then the answers of each teacher in turn."""
        said = targets[len(targets) - len(outputs) * len(self.theirs) :]
        soft = [
            self.data.head(index).loss_weight
            * soft_loss(
                said[index :: len(outputs)],
                [kinds[index] for kinds in self.theirs],
                output,
                self.kinds[index],
                self.forms[index],
                self.blend.temperature,
            )
            for index, output in enumerate(outputs)
        ]
        total = import_tensorflow().add_n(soft)
        if self.hard is None:
            return total
        alpha = self.blend.alpha + (self.blend.alpha_end - self.blend.alpha) * progress
        return alpha * total + (1 - alpha) * self.hard(outputs, targets[: len(targets) - len(said)])


def taught(teacher: Teacher, share: float) -> Callable[[Any, Dataset, Training], Objective]:
    """What a network minimises that learns a share of its loss from a teacher of the same outputs.

    The objective raises what `labels_objective` raises, where labels have a share.
    """

    def objective(model: Any, data: Dataset, config: Training) -> Objective:
        if not share:
            return labels_objective(model, data, config)
        lesson = Lesson([teacher.model], model, data, Blend(share, share), config.loss)
        seen: dict[str, tuple[Array, ...]] = {}

        def targets(part: Part) -> tuple[Array, ...]:
            if part.name not in seen:
                seen[part.name] = (*lesson.labels(part), *answers(teacher.model, part, folder=teacher.cache))
            return seen[part.name]

        return Objective(model, targets, lesson.loss, key=f"{share:g} by {digest(teacher.model)}")

    return objective
