"""The loop of a training: one for every stage that learns.

It stops early, keeps the best weights, and goes on after a kill. The step is compiled once. The same seed gives the
same weights on a CPU, also when the training was interrupted between two epochs or inside one.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Dataset, Part
from edgekit.errors import DataError
from edgekit.metrics import mean_value
from edgekit.stages import checkpoint as checkpoints
from edgekit.stages import losses
from edgekit.stages.epoch import mean_loss
from edgekit.stages.fused import fused_adam, training_twin
from edgekit.stages.replicas import replicas
from edgekit.stages.training import (
    Callback,
    Epoch,
    Objective,
    Record,
    Trained,
    Training,
    TrainingDiverged,
    line_of,
    monitored,
    own_code,
    rank_of,
)
from edgekit.talk import Line, Say
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]


class Loop:
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
        self.replicas = replicas()
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
        key = self._key() if path or self.replicas.count > 1 else ""
        self.replicas.refuse(self.stage, self.size, key)
        finished = self._resume(path, key) if path else False
        with losses.named(self._own_losses), self.replicas.together():
            self._train(path, key, self._agreed(finished))
        if self.validation is not None and not self.best and self._settled_at(0):
            self.say(Line(f"{self.stage}: no epoch was better than the weights it began with, and these stay"))
        return self._result()

    @property
    def _own_losses(self) -> str:
        """The losses of one's own, any of which a failing step may be of."""
        named = (self.data.loss_of(place, self.config.loss) for place in self.data.labelled_outputs or (0,))
        return " or ".join(dict.fromkeys(name for name in named if ":" in name))

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

        def step(index: int) -> float:
            rows = self.replicas.share(np.sort(order[index * self.size : (index + 1) * self.size]))
            for callback in self.callbacks:
                callback.before_step((number - 1) * self.steps + index)
            return float(self._step(*self._batch(self.train, self.targets, rows)))

        return mean_loss(step, self.steps, f"{number}/{self.config.epochs}", self.stage, self.say, self._diverged)

    def _finish_epoch(self, number: int, loss: float | None, started: float) -> None:
        """Judge the weights, keep them if they are the best that may be kept, and say so."""
        self._average()
        self._refuse_unsound(number)
        validation_loss, value = self._judge(number)
        epoch = Epoch(number, loss, validation_loss, value, time.monotonic() - started)
        rank = rank_of(epoch, self.metric, self.config)
        if self._settled_at(number) and rank > self.rank:
            self.best, self.rank, self.best_weights = number, rank, self._values(self.model.variables)
            epoch = msgspec.structs.replace(epoch, best=True)
        self.history.append(epoch)
        self.say(Line(line_of(epoch, self.stage, self.config, self.metric)))

    def _average(self) -> None:
        """Give all replicas the mean of the statistics that each took of its own samples."""
        if self.replicas.count > 1:
            learned = [one for one in self.model.non_trainable_variables if one.dtype.startswith("float")]
            for variable, value in zip(learned, self.replicas.mean_of(self._values(learned)), strict=True):
                variable.assign(value)

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
        value = self._value(part, [np.concatenate(output) for output in zip(*found, strict=True)])
        judged = [np.array(one) for one in (loss, value) if one is not None]
        agreed = [float(one) for one in self.replicas.mean_of(judged)]  # so that all take the same decisions
        return agreed[0], None if value is None else agreed[1]

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
            gradients = tape.gradient(loss, self.trained)
            loss, *seen = self.replicas.mean([loss, *(one for one in gradients if one is not None)])
            self.optimizer.apply(_where_there_were(gradients, seen), self.trained)
            for callback in self.callbacks:
                callback.after_update()
            return loss

        def measure(inputs: list[Any], targets: list[Any]) -> Any:
            outputs = losses.call(network, inputs, training=False)
            return outputs[: len(self.model.outputs)], objective.loss(outputs, targets, tf.constant(1.0))

        first = self._batch(self.train, self.targets, np.arange(1))
        sizes = (self.size // self.replicas.count, None)
        whole, any_size = ([[_spec(array, size) for array in arrays] for arrays in first] for size in sizes)
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
            [
                self.config,
                self.config.code,
                own_code(self.metric),
                [own_code(head.loss) for head in self.data.heads],
                self.data.fingerprint,
                self.seed,
                self.stage,
                self.objective.key,
                _trained(self.model),
            ]
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

    def _agreed(self, finished: bool) -> bool:
        """Go on from where the first replica is, on all of them; whether that training had come to its end."""
        if self.replicas.count == 1:
            return finished
        own = Record(tuple(self.history), self.best, tuple(self.rank), finished)
        record = msgspec.json.decode(self.replicas.first_bytes(msgspec.json.encode(own)), type=Record)
        best = self.replicas.first(self.best_weights)
        for variables in self._groups().values():
            for variable, value in zip(variables, self.replicas.first(self._values(variables)), strict=True):
                variable.assign(value)
        self.history, self.best, self.rank, self.best_weights = list(record.history), record.best, record.rank, best
        return record.finished

    @staticmethod
    def _values(variables: Sequence[Any]) -> list[Array]:
        return [variable.numpy().copy() for variable in variables]


def _where_there_were(gradients: Sequence[Any], seen: Sequence[Any]) -> list[Any]:
    """The gradients in the places of those that were not None."""
    left = iter(seen)
    return [None if one is None else next(left) for one in gradients]


def _trained(model: Any) -> list[bool]:
    """Which of its variables are trained."""
    return [bool(variable.trainable) for variable in model.variables]


def _after(number: int) -> str:
    return f"after epoch {number}" if number else "before any training"


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
