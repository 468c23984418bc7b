"""Training: its settings, what is said and kept of it, and what a stage may add to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import LOSSES
from edgekit.errors import RunError
from edgekit.metrics import load_metric
from edgekit.python_reference import code_digest

Array = npt.NDArray[Any]


def own_code(name: str | None) -> str:
    """Digest of the code of a loss or a metric of one's own; empty for the others."""
    return code_digest(name) if name and ":" in name else ""


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How a stage trains."""

    epochs: Annotated[int, Meta(ge=1, description="Most times each training sample is seen.")] = 10
    batch_size: Annotated[int, Meta(ge=1, description="Samples in a step.")] = 64
    learning_rate: Annotated[float, Meta(gt=0, lt=1e3, description="Learning rate of the first step.")] = 1e-3
    schedule: Annotated[
        Literal["cosine", "constant"], Meta(description="The learning rate falls to zero as a cosine, or stays.")
    ] = "cosine"
    optimizer: Annotated[Literal["adam", "sgd"], Meta(description="Adam, or SGD with Nesterov momentum 0.9.")] = "adam"
    loss: Annotated[
        str,
        Meta(pattern=LOSSES, description="`auto` is by task; `module:function` takes (labels, outputs) of a batch."),
    ] = "auto"
    monitor: Annotated[
        Literal["metric", "loss"], Meta(description="What of the validation part chooses the best weights.")
    ] = "metric"
    patience: Annotated[int, Meta(ge=0, description="Epochs without a better one before it stops; 0: never.")] = 5
    unfreeze: Annotated[bool, Meta(description="Train the layers that the model has frozen, too.")] = False

    @property
    def code(self) -> str:
        """Digest of the code of a loss of one's own; empty for the others."""
        return own_code(self.loss)

    @property
    def detail(self) -> str:
        """The training in a few words."""
        return f"at most {self.epochs} epoch{'s' if self.epochs > 1 else ''}"


class Epoch(Struct, frozen=True):
    """One line of the history; number 0 is the model as it came in, which has no training loss.

    `best` says whether its weights were kept as the best so far; `value` is the metric of the validation part.
    """

    number: int
    loss: float | None
    validation_loss: float | None
    value: float | None
    seconds: float
    best: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """The trained copy with its best weights, what happened, and the epoch those weights are of."""

    model: Any
    history: tuple[Epoch, ...]
    best: int
    metric: str | None


class TrainingDiverged(RunError):  # noqa: N818 - it says what happened
    """The loss became NaN or infinite, or a callback found the weights unsound; `trained` holds the last good ones."""

    def __init__(self, problem: str, mend: str, trained: Trained) -> None:
        super().__init__(problem, mend)
        self.trained = trained

    def keep(self, place: Path) -> Path:
        """Save the last good weights beside `place`, with the suffix of their kind; where they are now."""
        kept = place.with_name(f"{place.name}.keras")
        self.trained.model.save(kept)
        return kept


class Callback:
    """What a stage does beside the gradient step. `variables` are kept in checkpoints, `key` says what it does."""

    key: str = ""
    variables: Sequence[Any] = ()

    def start(self, model: Any, steps: int) -> None:
        """Meet the copy that is trained, and hear how many steps there will be at most."""

    def before_step(self, step: int) -> None:
        """Run in Python before a step, counted from 0."""

    def after_update(self) -> None:
        """Be traced into the compiled step, after the weights were updated."""

    def settled(self, step: int) -> bool:
        """Whether the weights after `step` steps may be the result."""
        return True

    def unsound(self) -> str | None:
        """What makes it useless to train on after an epoch, in words; None where all is well."""
        return None


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: `loss(outputs of network, targets, progress 0..1)`, a scalar tensor; judged at progress 1.

    `targets(part)` gives arrays `[samples, ...]` that are fed beside the inputs. `network` is the model that is called
    (the first outputs are the trained model's), `variables` are trained with it, `key` says what it is.
    """

    network: Any
    targets: Callable[[Part], tuple[Array, ...]]
    loss: Callable[[list[Any], list[Any], Any], Any]
    variables: tuple[Any, ...] = ()
    key: str = ""


class Record(Struct, frozen=True):
    """What a checkpoint says beside the arrays."""

    history: tuple[Epoch, ...]
    best: int
    rank: tuple[float, ...]
    finished: bool


def rank_of(epoch: Epoch, metric: str | None, config: Training) -> tuple[float, ...]:
    """What makes an epoch better than another: the metric, then the loss; the number where nothing is known."""
    if epoch.validation_loss is None:
        return (float(epoch.number),)
    if epoch.value is None or config.monitor == "loss" or metric is None:
        return (-epoch.validation_loss,)
    return (epoch.value if load_metric(metric).higher_is_better else -epoch.value, -epoch.validation_loss)


def line_of(epoch: Epoch, stage: str, config: Training, metric: str | None) -> str:
    """An epoch as it is told while the stage trains."""
    words = [f"loss {epoch.loss:.4g}"] if epoch.loss is not None else []
    if epoch.validation_loss is not None:
        words.append(f"validation loss {epoch.validation_loss:.4g}")
    if epoch.value is not None:
        words.append(f"{metric} {epoch.value:.4f}")
    mark = " (best)" if epoch.best and epoch.validation_loss is not None else ""
    head = f"{stage}: epoch {epoch.number}/{config.epochs}" if epoch.number else f"{stage}: before"
    return f"{head}: {', '.join([*words, f'{epoch.seconds:.1f} s'])}{mark}"


def monitored(data: Dataset, config: Training) -> str | None:
    """The metric that is watched; an autoencoder is watched by its loss, as anomalies are not for training."""
    return None if config.monitor == "loss" or data.task in ("autoencoder", "none") else data.metric
