"""Train: one loop for every stage that learns, which stops early, keeps the best weights, and goes on after a kill.

The step is compiled once; what a stage adds to it (masks, ranges) is a `Callback`, what it minimises an `Objective`.
The same seed gives the same weights on a CPU, also when the training was interrupted between two epochs or inside one.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset, Part
from edgekit.errors import DataError, ModelError, RecipeError, RunError
from edgekit.graph.rebuild import copy
from edgekit.metrics import load_metric, mean_value
from edgekit.python_reference import code_digest
from edgekit.stages import checkpoint as checkpoints
from edgekit.stages import losses
from edgekit.stages.fused import fused_adam, training_twin
from edgekit.talk import Line, Say
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]

_EVERY_SECONDS = 2.0


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
        Meta(
            pattern=r"^(auto|crossentropy|mse|mae|[^:]+:[^:]+)$",
            description="`auto` is by task; `module:function` takes (labels, outputs) of a batch.",
        ),
    ] = "auto"
    monitor: Annotated[
        Literal["metric", "loss"], Meta(description="What of the validation part chooses the best weights.")
    ] = "metric"
    patience: Annotated[int, Meta(ge=0, description="Epochs without a better one before it stops; 0: never.")] = 5
    unfreeze: Annotated[bool, Meta(description="Train the layers that the model has frozen, too.")] = False

    @property
    def code(self) -> str:
        """Digest of the code of a loss of one's own; empty for the others."""
        return code_digest(self.loss) if ":" in self.loss else ""

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


def labels_objective(model: Any, data: Dataset, config: Training) -> Objective:
    """The loss against the labels, by task. Raises DataError without training data, RecipeError for a misfit."""
    loss = losses.hard_loss(model, data, config.loss, next(data.part("train").batches(32)))
    return Objective(
        network=model,
        targets=lambda part: losses.hard_targets(data, part),
        loss=lambda outputs, targets, _: loss(outputs, targets),
    )


def fine_tune(
    model: Any,
    data: Dataset,
    config: Training | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    objective: Callable[[Any, Dataset, Training], Objective] = labels_objective,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
    stage: str = "training",
) -> Trained:
    """Train a copy of a Keras model on data that was matched to it, and give back the copy with its best weights.

    Best is by the metric of the validation part, then by its loss; the model as it came in counts, too. Without a
    validation part the last weights stay. A repeated call with the same `checkpoint` goes on where the first one
    ended; the caller removes the file.

    Raises DataError without training data or labels, RecipeError where nothing can be trained, TrainingDiverged for a
    loss that is no number or what a callback finds unsound.
    """
    config = config or Training()
    data.part("train")
    _refuse_fixed_batch(model)
    trained = copy_of(model, seed)
    if config.unfreeze:
        _unfreeze(trained)
    return train_in_place(
        trained,
        data,
        config,
        callbacks=callbacks,
        objective=objective,
        checkpoint=checkpoint,
        say=say,
        seed=seed,
        stage=stage,
    )


def train_in_place(
    model: Any,
    data: Dataset,
    config: Training,
    *,
    callbacks: Sequence[Callback] = (),
    objective: Callable[[Any, Dataset, Training], Objective] = labels_objective,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
    stage: str = "training",
) -> Trained:
    """What `fine_tune` does, with the model itself: for one that nobody else has."""
    if not model.trainable_variables:
        raise RecipeError(f"{stage}: every weight of {model.name!r} is frozen", "say training.unfreeze = true")
    loop = _Loop(model, data, config, objective(model, data, config), tuple(callbacks), say, seed, stage)
    return loop.run(checkpoint)


def copy_of(model: Any, seed: int = 0) -> Any:
    """A copy with the same weights, whose random layers (dropout, noise) draw by `seed`.

    Raises ModelError for a model whose calls cannot be seen, or a layer that cannot be made from its configuration.
    """
    twin = copy(model)
    states = [variable for variable in twin.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(np.array([np.random.default_rng((seed, number)).integers(2**31), 0], state.dtype))
    return twin


def unfrozen(model: Any) -> Any:
    """A copy whose layers all train."""
    twin = copy(model)
    _unfreeze(twin)
    return twin


def _unfreeze(model: Any) -> None:
    for layer in model.layers:
        layer.trainable = False  # Keras passes a flag on to inner layers only where it changes
        layer.trainable = True


def _refuse_fixed_batch(model: Any) -> None:
    fixed = [tensor for tensor in model.inputs if tensor.shape[0] is not None]
    if fixed:
        raise ModelError(
            f"input {fixed[0].name!r} of {model.name!r} has a fixed batch of {fixed[0].shape[0]}",
            "build it with keras.Input(shape), which leaves the batch open; the deployed file gets a fixed one anyway",
        )


class Record(Struct, frozen=True):
    """What a checkpoint says beside the arrays."""

    history: tuple[Epoch, ...]
    best: int
    rank: tuple[float, ...]
    finished: bool


class _Loop:
    """State of one training."""

    def __init__(
        self,
        model: Any,
        data: Dataset,
        config: Training,
        objective: Objective,
        callbacks: tuple[Callback, ...],
        say: Say,
        seed: int,
        stage: str,
    ) -> None:
        self.model, self.data, self.config, self.objective = model, data, config, objective
        self.callbacks, self.say, self.seed, self.stage = callbacks, say, seed, stage
        self.train, self.validation = data.part("train"), data.validation
        self.targets = objective.targets(self.train)
        self.size = min(config.batch_size, len(self.train))
        self.steps = len(self.train) // self.size
        self.metric = monitored(data, config)
        self.optimizer = _optimizer(config, self.steps * config.epochs)
        self.trained = [*model.trainable_variables, *objective.variables]
        self.optimizer.build(self.trained)
        for callback in callbacks:
            callback.start(model, self.steps * config.epochs)
        self.history: list[Epoch] = []
        self.best, self.best_weights = 0, self._values(model.variables)
        self.rank: tuple[float, ...] = ()
        self._compile()

    def run(self, path: Path | None) -> Trained:
        """Train to the end, from the checkpoint if there is one of this very training."""
        key = self._key() if path else ""
        finished = self._resume(path, key) if path else False
        with losses.named(self.config.loss):
            self._train(path, key, finished)
        if self.validation is not None and not self.best and self._settled_at(0):
            self.say(Line(f"{self.stage}: no epoch was better than the weights it began with, and these stay"))
        return self._result()

    def _train(self, path: Path | None, key: str, finished: bool) -> None:
        if not self.history:
            self._finish_epoch(0, None, time.monotonic())
        while not finished and len(self.history) <= self.config.epochs:
            number, started = len(self.history), time.monotonic()
            self._finish_epoch(number, self._epoch(number), started)
            finished = self._out_of_patience()
            if path:
                record = Record(tuple(self.history), self.best, tuple(self.rank), finished)
                checkpoints.save(path, key, record, self._state())

    # One epoch.

    def _epoch(self, number: int) -> float:
        order = np.random.default_rng((self.seed, number)).permutation(len(self.train))
        total, said = 0.0, time.monotonic()
        for index in range(self.steps):
            rows = np.sort(order[index * self.size : (index + 1) * self.size])
            for callback in self.callbacks:
                callback.before_step((number - 1) * self.steps + index)
            loss = float(self._step(*self._batch(self.train, self.targets, rows)))
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss} in epoch {number}, step {index + 1} of {self.steps}")
            total += loss
            if time.monotonic() - said > _EVERY_SECONDS:
                said = time.monotonic()
                where = f"epoch {number}/{self.config.epochs}, step {index + 1}/{self.steps}"
                self.say(f"{self.stage}: {where}, loss {total / (index + 1):.4g}")
        return total / self.steps

    def _finish_epoch(self, number: int, loss: float | None, started: float) -> None:
        """Judge the weights, keep them if they are the best that may be kept, and say so."""
        self._refuse_unsound(number)
        validation_loss, value = self._judge(number)
        epoch = Epoch(number, loss, validation_loss, value, time.monotonic() - started)
        rank = rank_of(epoch, self.metric, self.config)
        if self._settled_at(number) and rank > self.rank:
            self.best, self.rank, self.best_weights = number, rank, self._values(self.model.variables)
            epoch = msgspec.structs.replace(epoch, best=True)
        self.history.append(epoch)
        self.say(Line(line_of(epoch, self.stage, self.config, self.metric)))

    def _refuse_unsound(self, number: int) -> None:
        """Stop where weights are no numbers, which an activation may hide from the loss, or a callback says so."""
        for variable in self.model.weights:
            value = variable.numpy()
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise self._diverged(f"the weights {variable.path} are not finite {_after(number)}")
        for problem in filter(None, (callback.unsound() for callback in self.callbacks)):
            raise self._diverged(f"{problem} {_after(number)}")

    def _judge(self, number: int) -> tuple[float | None, float | None]:
        """Loss and metric of the validation part."""
        part = self.validation
        if part is None or not len(part):
            return None, None
        targets, total, found = self.objective.targets(part), 0.0, []
        for start in range(0, len(part), self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, len(part)))
            outputs, loss = self._measure(*self._batch(part, targets, rows))
            total += float(loss) * len(rows)
            found.append([output.numpy() for output in outputs])
        loss = total / len(part)
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} {_after(number)}")
        return loss, self._value(part, [np.concatenate(output) for output in zip(*found, strict=True)])

    def _value(self, part: Part, outputs: list[Array]) -> float | None:
        judged = self.data.judged(part, outputs) if self.metric else None
        if judged is None or self.metric is None:
            return None
        value = mean_value(self.metric, *judged)
        if not math.isfinite(value):
            raise DataError(
                f"{self.stage}: metric {self.metric} of the validation part is {value}", 'say training.monitor = "loss"'
            )
        return value

    # Best weights and patience.

    def _out_of_patience(self) -> bool:
        last, patience = self.history[-1].number, self.config.patience
        if not patience or self.validation is None or not self.rank or last - self.best < patience:
            return False
        begun = next((e.number for e in self.history if self._settled_at(e.number)), last)
        if last - begun < patience:
            return False
        if last < self.config.epochs:
            self.say(Line(f"{self.stage}: stopped after epoch {last}, none was better than epoch {self.best}"))
        return True

    def _settled_at(self, number: int) -> bool:
        return all(callback.settled(number * self.steps) for callback in self.callbacks)

    def _result(self) -> Trained:
        for variable, value in zip(self.model.variables, self.best_weights, strict=True):
            variable.assign(value)
        return Trained(self.model, tuple(self.history), self.best, self.metric)

    def _diverged(self, problem: str) -> TrainingDiverged:
        lower = f"lower learning_rate below {self.config.learning_rate:g}, look for huge values in data and weights"
        mend = lower if self.history else "look for huge values in the model and in the data, and at a loss of your own"
        return TrainingDiverged(f"{self.stage}: {problem}", mend, self._result())

    # What is compiled.

    def _compile(self) -> None:
        tf = import_tensorflow()
        objective, total = self.objective, float(self.steps * self.config.epochs)
        network, twin = objective.network, training_twin(objective.network)

        def step(inputs: list[Any], targets: list[Any]) -> Any:
            progress = tf.cast(self.optimizer.iterations, "float32") / total
            with tf.GradientTape() as tape:
                outputs = losses.call(twin, inputs, training=True)
                loss = objective.loss(outputs, targets, progress)
                loss = tf.add_n([loss, *(tf.cast(extra, loss.dtype) for extra in twin.losses)])
            self.optimizer.apply(tape.gradient(loss, self.trained), self.trained)
            for callback in self.callbacks:
                callback.after_update()
            return loss

        def measure(inputs: list[Any], targets: list[Any]) -> Any:
            outputs = losses.call(network, inputs, training=False)
            return outputs[: len(self.model.outputs)], objective.loss(outputs, targets, tf.constant(1.0))

        first = self._batch(self.train, self.targets, np.arange(1))
        whole, any_size = ([[_spec(array, size) for array in arrays] for arrays in first] for size in (self.size, None))
        self._step = tf.function(step, input_signature=whole, autograph=False)
        self._measure = tf.function(measure, input_signature=any_size, autograph=False)

    def _batch(self, part: Part, targets: Sequence[Array], rows: Array) -> tuple[list[Array], list[Array]]:
        inputs = [np.asarray(x) for x in part.select(rows).array()]
        return inputs, [np.asarray(target[rows]) for target in targets]

    # Checkpoints.

    def _key(self) -> str:
        """Digest of everything that the result depends on."""
        from edgekit.model.live import digest

        settings = msgspec.json.encode(
            [self.config, self.config.code, self.data.fingerprint, self.seed, self.stage, self.objective.key]
        )
        sha = hashlib.sha256(settings + digest(self.model).encode())
        for callback in self.callbacks:
            sha.update(f"{type(callback).__name__} {callback.key}".encode())
        return sha.hexdigest()

    def _groups(self) -> dict[str, list[Any]]:
        return {
            "model": list(self.model.variables),
            "objective": list(self.objective.variables),
            "optimizer": list(self.optimizer.variables),
            "callbacks": [variable for callback in self.callbacks for variable in callback.variables],
        }

    def _state(self) -> dict[str, list[Array]]:
        groups = {name: self._values(variables) for name, variables in self._groups().items()}
        return {**groups, "best": self.best_weights}

    def _resume(self, path: Path, key: str) -> bool:
        """Take over the state of a checkpoint; whether that training had come to its end."""
        found = checkpoints.load(path, key, Record)
        if found is None:
            if path.exists():
                what = f"the checkpoint {path.name} is damaged, or of another training"
                self.say(Line(f"{self.stage}: {what}, so it begins anew"))
            return False
        record, arrays = found
        for name, variables in self._groups().items():
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)
        self.history, self.best, self.rank = list(record.history), record.best, record.rank
        self.best_weights = arrays["best"]
        self.say(Line(f"{self.stage}: goes on after epoch {self.history[-1].number} of {self.config.epochs}"))
        return bool(record.finished)

    @staticmethod
    def _values(variables: Sequence[Any]) -> list[Array]:
        return [variable.numpy().copy() for variable in variables]


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


def _after(number: int) -> str:
    return f"after epoch {number}" if number else "before any training"


def monitored(data: Dataset, config: Training) -> str | None:
    """The metric that is watched; an autoencoder is watched by its loss, as anomalies are not for training."""
    return None if config.monitor == "loss" or data.task in ("autoencoder", "none") else data.metric


def _optimizer(config: Training, steps: int) -> Any:
    keras = import_keras()
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    return fused_adam()(rate)


def _spec(array: Array, batch: int | None) -> Any:
    tf = import_tensorflow()
    return tf.TensorSpec([batch, *array.shape[1:]], array.dtype)
