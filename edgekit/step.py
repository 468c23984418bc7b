"""Step: what a stage of a recipe needs beside the Keras model, what it demands before any work, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgekit.dataset import Dataset
from edgekit.errors import DataError, ModelError, RunError
from edgekit.model import Model
from edgekit.model.line import line_of
from edgekit.recipe import Compression, Recipe
from edgekit.stages import losses
from edgekit.stages.lesson import Teacher
from edgekit.stages.quantize_aware import QuantizeAware, refuse_few_steps
from edgekit.stages.training import Epoch, Training, TrainingDiverged
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.tf import import_tensorflow


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
class Surroundings:
    """What stages need beside the model and their settings.

    `original` is the model that came in, which teaches; `folder` keeps checkpoints, `teachers` what teachers said, of
    whatever stage; `latency` measures a Keras model, in seconds. `file` is the model before the stage as `.h5`, where
    tf_keras is to train it.
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
    teachers: Path | None = None

    def training_data(self, stage: Compression | QuantizeAware) -> Dataset:
        """The data, with a training part. Raises DataError where there is none."""
        refuse_without_training(stage, self.data)
        assert self.data is not None
        return self.data

    @property
    def teacher(self) -> Teacher:
        """The model that came in, and where what it said is kept."""
        return Teacher(self.original, self.teachers)

    def of_training(self, place: int) -> dict[str, Any]:
        """What every stage takes that trains, for stage number `place`, which keeps its state in a checkpoint."""
        checkpoint = self.folder / f"{place}.checkpoint.npz" if self.folder else None
        return {"checkpoint": checkpoint, "say": self.say, "seed": self.seed}


@contextmanager
def keeping(stage: Compression | QuantizeAware, folder: Path | None) -> Iterator[None]:
    """Save the last good weights of a training that diverges, in `folder` if there is one.

    Raises RunError for that, and for what TensorFlow refuses to compute.
    """
    try:
        yield
    except TrainingDiverged as cause:
        if folder is None:
            raise
        folder.mkdir(parents=True, exist_ok=True)
        kept = cause.keep(folder / f"{name_of(stage)}-last-good")
        raise RunError(cause.problem, f"{cause.mend}; the last good weights are in {kept}") from cause
    except import_tensorflow().errors.OpError as cause:
        full = isinstance(cause, import_tensorflow().errors.ResourceExhaustedError)
        mend = "lower training.batch_size" if full else "give data in the range the model was trained on"
        raise RunError(f"{name_of(stage)}: TensorFlow cannot run the network: {line_of(cause)}", mend) from cause


def name_of(stage: Compression | QuantizeAware) -> str:
    """The stage's word in a recipe."""
    return str(stage.__struct_config__.tag)


def _training_of(stage: Compression | QuantizeAware) -> Training | None:
    """How a stage trains; None where it does not."""
    return None if getattr(stage, "one_shot", False) else getattr(stage, "training", None)


def refuse_without_training(stage: Compression | QuantizeAware, data: Dataset | None) -> None:
    """Raise DataError where a stage trains and has no training part, RecipeError for a misfit of loss or steps."""
    training = _training_of(stage)
    if training is None:
        return
    if data is not None and data.train is not None and len(data.train):
        for output in data.labelled_outputs or (0,):
            losses.refuse_misfit(data.loss_of(output, training.loss), data.task_of(output))
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
