"""Part and Dataset: the user's data, split for good, with what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.spec import DataSpec, Head, Preprocessing
from edgekit.data.split import draw
from edgekit.errors import DataError

Array = npt.NDArray[Any]

SEVERAL = "several"
"""Task of data whose labelled outputs have tasks of their own."""
PART_NAMES = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of a data set, raw, with what makes model inputs of them.

    `inputs` has one array for each model input and `labels` one for each labelled output, samples along axis 0.
    `input_types` says which inputs the model takes as integers (empty: all are float32).
    """

    name: str
    inputs: tuple[Array, ...]
    labels: tuple[Array, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    input_types: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs[0])

    def batches(self, size: int) -> Iterator[tuple[Array, ...]]:
        """Model inputs, `size` samples at a time; the last batch may be shorter."""
        if size < 1:
            raise ValueError(f"batch size must be at least 1, not {size}")
        for start in range(0, len(self), size):
            yield self._ready(slice(start, start + size))

    def array(self) -> tuple[Array, ...]:
        """Model inputs of all samples at once."""
        return self._ready(slice(None))

    def take(self, count: int) -> Part:
        """At most `count` samples drawn at random, stratified by class, in their old order; always the same ones."""
        if count >= len(self):
            return self
        return self.select(draw(strata(self.labels, len(self)), count, 0))

    def select(self, positions: npt.NDArray[np.int64]) -> Part:
        """The samples at these positions."""
        labels = None if self.labels is None else tuple(label[positions] for label in self.labels)
        return replace(self, inputs=tuple(x[positions] for x in self.inputs), labels=labels)

    def _ready(self, rows: slice) -> tuple[Array, ...]:
        types = self.input_types or ("float32",) * len(self.inputs)
        return tuple(
            self.preprocessing.apply(x[rows]) if kind == "float32" else x[rows].astype(kind)
            for x, kind in zip(self.inputs, types, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """The four parts, which share no sample; `load_dataset` makes one.

    `fingerprint` is the sha256 of all parts and of the specification without its source: the same data gives the
    same value wherever it lies. `warnings` are what may make a result misleading, `notes` what was decided.
    `labelled_outputs` are the positions of the model outputs that the labels belong to, once `match` has said so.
    `heads` are those outputs with their own tasks and metrics, in the order of the labels; empty where all are alike.
    """

    train: Part | None
    validation: Part | None
    calibration: Part | None
    test: Part | None
    spec: DataSpec
    fingerprint: str
    task: str
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labelled_outputs: tuple[int, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that exist, in the order train, validation, calibration, test."""
        return tuple(part for name in PART_NAMES if (part := getattr(self, name)) is not None)

    def part(self, name: str) -> Part:
        """The part of this name. Raises DataError where the data set has none."""
        found: Part | None = getattr(self, name)
        if found is None:
            have = ", ".join(f"{part.name} ({len(part)})" for part in self.parts)
            raise DataError(
                f"the data has no {name} part, only {have}", f"give x_{name} (docs/data.md), or more samples"
            )
        return found

    @property
    def metric(self) -> str | None:
        """Name of the metric: the one in the specification, or that of the task.

        None where nothing is labelled, and where the heads have several.
        """
        from edgekit.metrics import default_metric

        if self.heads:
            return self.heads[0].metric if len({head.metric for head in self.heads}) == 1 else None

        if self.spec.metric != "auto":
            return self.spec.metric
        if self.task == "autoencoder" and any(part.labels is not None for part in self.parts):
            return "auc"
        return default_metric(self.task)

    @property
    def metrics(self) -> str | tuple[str, ...] | None:
        """The metric of each labelled output where they are heads, else the one of all."""
        return tuple(head.metric for head in self.heads) or self.metric

    def one_metric(self, what: str) -> str:
        """The metric of all labelled outputs, for `what` ("a search") judges by one score.

        Raises DataError where nothing is labelled, and where the heads have several metrics.
        """
        self.refuse_guess()
        if self.metric is not None:
            return self.metric
        if self.heads:
            named = ", ".join(dict.fromkeys(head.metric for head in self.heads))
            mend = "give all heads the same metric, or labels of one of them only"
            raise DataError(f"{what} is judged by one score, and the heads have several metrics: {named}", mend)
        raise DataError(f"{what} is judged by a score, and the data has no labels", "give --data with labels")

    def refuse_guess(self) -> None:
        """Raise DataError where only the shape of its output says that a network should give its input."""
        if (self.spec.task, self.task) == ("auto", "autoencoder"):
            raise DataError(
                "there are no labels, and only an autoencoder is to give its input",
                'say task = "autoencoder" (--task autoencoder) if it is one, else give labels',
            )

    def head(self, output: int) -> Head:
        """What is said of a model output: by its place. One without labels has the task of all, and counts once."""
        places = self.labelled_outputs or tuple(range(len(self.heads)))
        return self.heads[places.index(output)] if self.heads and output in places else Head()

    def task_of(self, output: int) -> str:
        """The task of a model output; `none` for one without labels where the others are heads."""
        if not self.heads:
            return self.task
        found = self.head(output).task
        return "none" if found == "auto" else found

    def loss_of(self, output: int, recipe: str) -> str:
        """The loss of a model output in training: its head's, else that of the recipe."""
        found = self.head(output).loss
        return recipe if found == "auto" else found

    def judged(self, part: Part, outputs: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]] | None:
        """Labels and the outputs that belong to them, as `edgekit.metrics.score` wants them; None without labels.

        An autoencoder is compared with its own inputs; where it has labels (0 normal, 1 anomaly) they are compared
        with the mean square of the reconstruction error of each sample.
        """
        if self.task == "autoencoder":
            inputs = part.array()
            if part.labels is None:
                return inputs, tuple(outputs)
            square = (outputs[0].astype(np.float64) - inputs[0]) ** 2
            return part.labels, (square.reshape(len(square), -1).mean(axis=1),)
        if part.labels is None:
            return None
        chosen = self.labelled_outputs or range(len(part.labels))
        return part.labels, tuple(outputs[index] for index in chosen)


def strata(labels: tuple[Array, ...] | None, count: int) -> Array:
    """What to stratify by: the first labels that are one class number a sample, or nothing."""
    whole = [label for label in labels or () if label.ndim == 1 and label.dtype.kind in "iu"]
    return whole[0] if whole else np.zeros(count, np.int64)
