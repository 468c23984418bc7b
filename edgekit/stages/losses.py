"""Losses: what the outputs of a network mean, and what to minimise for a task.

Classification and masks use the cross-entropy of logits; probabilities are turned back into logits first
(`as_logits`), which is exact: softmax(log p) = p.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Dataset, Part
from edgekit.errors import DataError, RecipeError
from edgekit.formulas import alike
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]
Kind = Literal["logits", "softmax", "sigmoid"]

_EPSILON = 1e-7  # what float32 tells from 1
_TINY = 1e-30  # not more: below it there is no gradient, and a sure network goes below 1e-7 all the time
_TRANSPARENT = {"Reshape", "Flatten", "Dropout", "Identity", "Permute", "Squeeze", "ExpandDims", "Cast", "Transpose"}


def output_kinds(model: Any, samples: Sequence[Array], quantities: Container[int] = ()) -> tuple[Kind, ...]:
    """What each output gives: read from the last activation in the graph, else from the outputs for some samples.

    `quantities` are places of outputs that measure something: lying between 0 and 1 makes no probabilities of them.
    """
    kinds = [_last_activation(tensor) for tensor in model.outputs]
    if None in kinds:
        values = [np.asarray(output) for output in call(model, samples, training=False)]
        kinds = [kind or _seen(values[place], place in quantities) for place, kind in enumerate(kinds)]
    return tuple(kind or "logits" for kind in kinds)


def call(model: Any, tensors: Sequence[Any], *, training: bool) -> list[Any]:
    """Outputs of a Keras model as a flat list, from inputs in the order of `model.inputs`."""
    keras = import_keras()
    packed = tensors[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, [*tensors])
    outputs: list[Any] = keras.tree.flatten(model(packed, training=training))
    return outputs


def as_logits(output: Any, kind: Kind) -> Any:
    """Logits of a tensor of outputs; a constant of each sample is lost, which no softmax sees."""
    log = import_tensorflow().math.log
    if kind == "softmax":
        return log(output + _TINY)
    return log(output + _TINY) - log(1 - output + _EPSILON) if kind == "sigmoid" else output


def hard_targets(data: Dataset, part: Part) -> tuple[Array, ...]:
    """What the judged outputs should be: the labels, or the inputs themselves for an autoencoder.

    Raises DataError for a part without labels.
    """
    if data.task == "autoencoder":
        return part.array()
    if part.labels is None:
        raise DataError(f"the {part.name} part has no labels, and training needs them", f"give y_{part.name}")
    return part.labels


def hard_loss(model: Any, data: Dataset, name: str, samples: Sequence[Array]) -> Callable[[list[Any], list[Any]], Any]:
    """A function from outputs and targets to the sum of the judged outputs' mean losses, each with its weight.

    `name` is `auto` (by task), `crossentropy`, `mse`, `mae`, or `module:function`, which takes labels and outputs of a
    batch; a head that names a loss has that one. Raises RecipeError where loss and task do not go together, DataError
    where the task is a guess.
    """
    data.refuse_guess()
    kinds = output_kinds(model, samples)
    judged = data.labelled_outputs or tuple(range(len(model.outputs)))
    ones = {index: loss_of(data.loss_of(index, name), data.task_of(index)) for index in judged}

    def loss(outputs: list[Any], targets: list[Any]) -> Any:
        found = [
            data.head(index).loss_weight * ones[index](target, outputs[index], kinds[index])
            for index, target in zip(judged, targets, strict=True)
        ]
        return import_tensorflow().add_n(found)

    return loss


def refuse_misfit(name: str, task: str) -> None:
    """Raise RecipeError for a named loss that does not go with a task, DataError for a function that does not exist."""
    if name != "auto" and task != "none":
        loss_of(name, task)


def loss_of(name: str, task: str) -> Callable[[Any, Any, Kind], Any]:
    """A function from targets, an output and its kind to the mean loss; `name` is as for `hard_loss`.

    Raises RecipeError where loss and task do not go together, DataError for a task without labels.
    """
    tf = import_tensorflow()
    classes = task in ("classification", "segmentation")
    if ":" in name:
        return _own(name)
    if task == "none":
        raise DataError(
            "the data says task = 'none', so there is nothing to train towards",
            "give labels and a task, or learn from the float model alone: alpha = 1 of distill, else teacher = 1",
        )
    if classes != (name in ("auto", "crossentropy")) and name != "auto":
        fitting = "crossentropy" if classes else "mse or mae"
        mend = f"use {fitting}, or module:function; heads may name their own (docs/data.md)"
        raise RecipeError(f"loss {name!r} does not go with {task}", mend)
    if classes:
        return crossentropy
    if name == "mae":
        return lambda target, output, _: tf.reduce_mean(tf.abs(_shaped(target, output) - output))
    return lambda target, output, _: tf.reduce_mean(tf.square(_shaped(target, output) - output))


def _own(name: str) -> Callable[[Any, Any, Kind], Any]:
    """The user's function, whatever it raises named."""
    from edgekit.data.reference import resolve

    tf, function = import_tensorflow(), resolve(name)

    def loss(target: Any, output: Any, _: Kind) -> Any:
        try:
            return tf.reduce_mean(tf.convert_to_tensor(function(*alike(target, output))))
        except Exception as cause:  # code of the user's raises anything
            raise _failed(name, cause) from cause

    return loss


@contextmanager
def named(name: str) -> Iterator[None]:
    """Name a loss of one's own where its operations fail in a compiled step."""
    try:
        yield
    except import_tensorflow().errors.OpError as cause:
        if ":" not in name:
            raise
        raise _failed(name, cause) from cause


def _failed(name: str, cause: Exception) -> RecipeError:
    said = next(iter(str(cause).splitlines()), "")
    return RecipeError(
        f"loss {name} raised {type(cause).__name__}: {said}",
        "it takes the labels and the outputs of a batch as tensors, and gives a number, or one a sample; "
        "outputs of one value a sample come in the shape of the labels, one-hot labels as class numbers "
        "(task = 'regression' leaves them)",
    )


def crossentropy(target: Any, output: Any, kind: Kind) -> Any:
    """Mean cross-entropy of class numbers `[samples]` or masks, with outputs `[..., classes]`.

    One class is a yes-or-no question; several with a sigmoid are one such question each, and so are targets of the
    outputs' shape, a 0 or 1 for each class.
    """
    tf = import_tensorflow()
    classes = output.shape[-1]
    if classes > 1 and answers_each(target, output):
        logits = as_logits(output, "logits" if kind == "logits" else "sigmoid")
        return tf.reduce_mean(tf.reduce_sum(_binary(tf.cast(target, logits.dtype), logits), axis=-1))
    logits = tf.reshape(as_logits(output, kind), [-1, classes])
    flat = tf.reshape(target, [-1])
    if classes == 1:
        return tf.reduce_mean(_binary(tf.cast(flat, logits.dtype)[:, None], logits))
    if kind == "sigmoid":
        return tf.reduce_mean(tf.reduce_sum(_binary(tf.one_hot(flat, classes, dtype=logits.dtype), logits), axis=-1))
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=flat, logits=logits))


def answers_each(target: Any, output: Any) -> bool:
    """Whether class labels have a 0 or 1 for each value of an output: several classes may be there at once."""
    return len(target.shape) == len(output.shape) and target.shape[-1] == output.shape[-1]


def _binary(target: Any, logits: Any) -> Any:
    return import_tensorflow().nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)


def _shaped(target: Any, output: Any) -> Any:
    tf = import_tensorflow()
    return tf.reshape(tf.cast(target, output.dtype), tf.shape(output))


def _last_activation(tensor: Any) -> Kind | None:
    """What the operation that made a symbolic tensor says; None where it says nothing."""
    operation, node, index = tensor._keras_history
    if isinstance(operation, import_keras().Model):
        return _last_activation(operation.outputs[index]) if getattr(operation, "outputs", None) else None
    name = type(operation).__name__
    activation = getattr(getattr(operation, "activation", None), "__name__", name).lower()
    if activation in ("softmax", "sigmoid"):
        return activation  # type: ignore[return-value]
    if name in _TRANSPARENT or (name == "Activation" and activation == "linear"):
        return _last_activation(operation._inbound_nodes[node].input_tensors[0])
    return "logits" if activation == "linear" else None


def _seen(value: Array, quantity: bool) -> Kind:
    """What values look like: rows of shares that add up to 1, single values between 0 and 1, or anything."""
    if value.shape[-1] > 1 and value.min() >= 0 and np.allclose(value.sum(axis=-1), 1, atol=1e-3):
        return "softmax"
    return "sigmoid" if value.min() >= 0 and value.max() <= 1 and not quantity else "logits"
