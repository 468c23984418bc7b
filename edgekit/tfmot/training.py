"""Train a tf_keras model with the wrappers of tensorflow-model-optimization, by `stages.training_loop`. Child side.

Losses, order of the samples, choice of the best epoch and patience are those of edgekit's own training.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit.errors import RunError
from edgekit.metrics import mean_value
from edgekit.stages import checkpoint as checkpoints
from edgekit.stages.epoch import mean_loss
from edgekit.stages.losses import loss_of
from edgekit.stages.training import Epoch, Record, line_of, rank_of
from edgekit.talk import Line, Say
from edgekit.tf import import_tensorflow
from edgekit.tfmot.job import Schooling
from edgekit.tfmot.wrapping import Wrapped

Array = npt.NDArray[Any]


class Samples:
    """Inputs and targets of a part, read from the arrays of a job: `x0`, ... and `y0`, ... behind a prefix."""

    def __init__(self, stored: Any, prefix: str) -> None:
        self.inputs, self.targets = (self._all(stored, f"{prefix}{kind}") for kind in "xy")

    @staticmethod
    def _all(stored: Any, prefix: str) -> list[Array]:
        count = sum(name.startswith(prefix) for name in stored.files)
        return [stored[f"{prefix}{place}"] for place in range(count)]

    def __len__(self) -> int:
        return len(self.inputs[0]) if self.inputs else 0

    def rows(self, rows: Any) -> tuple[list[Array], list[Array]]:
        """A batch: the inputs and the targets of these rows."""
        return [x[rows] for x in self.inputs], [y[rows] for y in self.targets]


class Loop:
    """One training of a wrapped model; `run` leaves the best weights in it."""

    def __init__(self, wrapped: Wrapped, how: Schooling, train: Samples, validation: Samples, say: Say) -> None:
        self.wrapped, self.model, self.how, self.say = wrapped, wrapped.model, how, say
        self.train, self.validation = train, validation
        self.size = min(how.training.batch_size, len(train))
        self.steps = len(train) // self.size
        fixed = {id(variable) for variable in wrapped.fixed}
        self.variables = [variable for variable in self.model.trainable_variables if id(variable) not in fixed]
        self.optimizer = _optimizer(how, self.steps * how.training.epochs)
        self.optimizer.build(self.variables)
        self.history: list[Epoch] = []
        self.best, self.best_weights = 0, list(self.model.get_weights())
        self.rank: tuple[float, ...] = ()
        self._compile()

    def run(self, path: Path | None, key: str) -> tuple[Epoch, ...]:
        """Train to the end, from the checkpoint if there is one of this very training."""
        self.wrapped.begin()
        finished = self._resumed(path, key) if path else False
        while not finished and len(self.history) < self.how.training.epochs:
            self._finish(len(self.history) + 1)
            finished = self._out_of_patience()
            if path:
                record = Record(tuple(self.history), self.best, tuple(self.rank), finished)
                checkpoints.save(path, key, record, self._state())
        self.model.set_weights(self.best_weights)
        return tuple(self.history)

    def _finish(self, number: int) -> None:
        """Train an epoch, judge the weights, and keep them if they are the best that may be kept."""
        started = time.monotonic()
        loss = self._epoch(number)
        self.wrapped.end_epoch()
        validation_loss, value = self._judge(number)
        epoch = Epoch(number, loss, validation_loss, value, time.monotonic() - started)
        rank = rank_of(epoch, self.how.metric, self.how.training)
        if number * self.steps > self.wrapped.settled and rank > self.rank:
            self.best, self.rank, self.best_weights = number, rank, self.model.get_weights()
            epoch = msgspec.structs.replace(epoch, best=True)
        self.history.append(epoch)
        self.say(Line(line_of(epoch, self.how.stage, self.how.training, self.how.metric)))

    def _epoch(self, number: int) -> float:
        order, how = np.random.default_rng((self.how.seed, number)).permutation(len(self.train)), self.how

        def step(index: int) -> float:
            return float(self._step(*self.train.rows(np.sort(order[index * self.size : (index + 1) * self.size]))))

        return mean_loss(step, self.steps, f"{number}/{how.training.epochs}", how.stage, self.say, self._diverged)

    def _judge(self, number: int) -> tuple[float | None, float | None]:
        """Loss and metric of the validation part."""
        if not len(self.validation):
            return None, None
        total, found = 0.0, []
        for start in range(0, len(self.validation), self.size):
            batch = self.validation.rows(slice(start, start + self.size))
            outputs, loss = self._measure(*batch)
            total += float(loss) * len(batch[0][0])
            found.append([output.numpy() for output in outputs])
        loss = total / len(self.validation)
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} after epoch {number}")
        whole = [np.concatenate(output) for output in zip(*found, strict=True)]
        judged = [whole[place] for place in self.how.judged]
        return loss, mean_value(self.how.metric, self.validation.targets, judged) if self.how.metric else None

    def _out_of_patience(self) -> bool:
        last, patience = len(self.history), self.how.training.patience
        if not patience or not len(self.validation) or not self.best or last - self.best < patience:
            return False
        if last < self.how.training.epochs:
            self.say(Line(f"{self.how.stage}: stopped after epoch {last}, none was better than epoch {self.best}"))
        return True

    # What is compiled.

    def _compile(self) -> None:
        tf = import_tensorflow()
        one = loss_of(self.how.training.loss, self.how.task)

        def loss(outputs: Sequence[Any], targets: Sequence[Any]) -> Any:
            judged = zip(self.how.judged, targets, strict=True)
            return tf.add_n([one(target, outputs[place], self.how.kinds[place]) for place, target in judged])

        def step(inputs: list[Any], targets: list[Any]) -> Any:
            with tf.GradientTape() as tape:
                found = loss(self._called(inputs, training=True), targets)
                found = tf.add_n([found, *(tf.cast(extra, found.dtype) for extra in self.model.losses)])
            pairs = zip(tape.gradient(found, self.variables), self.variables, strict=True)
            self.optimizer.apply_gradients([pair for pair in pairs if pair[0] is not None])
            for weights, mask in self.wrapped.masked:
                weights.assign(weights * tf.cast(mask, weights.dtype))
            return found

        def measure(inputs: list[Any], targets: list[Any]) -> Any:
            outputs = self._called(inputs, training=False)
            return outputs, loss(outputs, targets)

        self._step = self._traced(step, self.size)
        self._measure = self._traced(measure, None)

    def _traced(self, function: Callable[..., Any], size: int | None) -> Any:
        tf = import_tensorflow()
        given = (self.train.inputs, self.train.targets)
        specs = [[tf.TensorSpec([size, *array.shape[1:]], array.dtype) for array in arrays] for arrays in given]
        return tf.function(function, input_signature=specs, autograph=False)

    def _called(self, inputs: list[Any], training: bool) -> list[Any]:
        found = self.model(inputs[0] if len(inputs) == 1 else inputs, training=training)
        return list(import_tensorflow().nest.flatten(found))

    # Checkpoints.

    def _state(self) -> dict[str, list[Array]]:
        optimizer = [variable.numpy() for variable in self.optimizer.variables]
        return {"model": self.model.get_weights(), "optimizer": optimizer, "best": self.best_weights}

    def _resumed(self, path: Path, key: str) -> bool:
        """Take over the state of a checkpoint; whether that training had come to its end."""
        found = checkpoints.load(path, key, Record)
        if found is None:
            return False
        record, arrays = found
        self.model.set_weights(arrays["model"])
        for variable, value in zip(self.optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(value)
        self.history, self.best, self.rank = list(record.history), record.best, record.rank
        self.best_weights = arrays["best"]
        epochs = self.how.training.epochs
        self.say(Line(f"{self.how.stage}: goes on after epoch {len(self.history)} of {epochs}"))
        return bool(record.finished)

    def _diverged(self, problem: str) -> RunError:
        return RunError(
            f"{self.how.stage}: {problem}",
            f"use a lower learning_rate than {self.how.training.learning_rate:g}, and look for huge values in the data",
        )


def _optimizer(how: Schooling, steps: int) -> Any:
    optimizers = importlib.import_module("tf_keras").optimizers
    rate: Any = how.training.learning_rate
    if how.training.schedule == "cosine":
        rate = optimizers.schedules.CosineDecay(rate, steps)
    if how.training.optimizer == "sgd":
        return optimizers.SGD(rate, momentum=0.9, nesterov=True)
    return optimizers.Adam(rate, epsilon=1e-7)
