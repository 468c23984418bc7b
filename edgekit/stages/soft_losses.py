"""Losses between networks: soft targets (Hinton et al. 2015), features (FitNets), attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.errors import RecipeError
from edgekit.stages.losses import Kind, as_logits
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]
Form = Literal["classes", "yes or no", "values"]

_EPSILON = 1e-7


def form_of(kind: Kind, channels: int, decides: bool) -> Form:
    """How an output is compared: as shares of classes, as questions of yes or no, or as values.

    `channels` are the classes that it chooses among, `decides` says that it is judged by the one it decides for, so
    that logits are known to be logits.
    """
    if kind == "sigmoid" or (decides and channels == 1):
        return "yes or no"
    return "classes" if kind == "softmax" or decides else "values"


def soft_loss(answers: Sequence[Any], kinds: Sequence[Kind], output: Any, kind: Kind, form: Form, t: float) -> Any:
    """T^2 KL(mean of the teachers' soft targets || the student's) for outputs `[samples, ..., channels]`, a mean.

    For quantities the mean square to the mean of the teachers' values. `answers` holds one tensor for each teacher.
    """
    tf = import_tensorflow()
    if form == "values":
        return tf.reduce_mean(tf.square(tf.add_n(list(answers)) / len(answers) - output))
    logits = as_logits(output, kind) / t
    theirs = [as_logits(answer, theirs) / t for answer, theirs in zip(answers, kinds, strict=True)]
    if form == "classes":
        target = tf.add_n([tf.nn.softmax(found) for found in theirs]) / len(theirs)
        terms = target * (tf.math.log(target + _EPSILON) - tf.nn.log_softmax(logits))
        return t**2 * tf.reduce_mean(tf.reduce_sum(terms, axis=-1))
    target = tf.add_n([tf.nn.sigmoid(found) for found in theirs]) / len(theirs)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    own = target * tf.math.log(target + _EPSILON) + (1 - target) * tf.math.log(1 - target + _EPSILON)
    return t**2 * tf.reduce_mean(tf.reduce_sum(cross + own, axis=-1))


def attention_map(features: Any) -> Any:
    """The attention map `[samples, positions]` of features `[samples, ..., channels]`, of length 1.

    The sum of squares over the channels (arXiv:1612.03928, section 3.1, F_sum with p = 2).
    """
    tf = import_tensorflow()
    summed = tf.reduce_sum(tf.square(features), axis=-1)
    return tf.math.l2_normalize(tf.reshape(summed, [tf.shape(summed)[0], -1]), axis=-1)


def attention_loss(target: Any, features: Any) -> Any:
    """Half the distance between a map and that of features, a mean over samples (arXiv:1612.03928, eq. 2, beta 1)."""
    tf = import_tensorflow()
    square = tf.reduce_sum(tf.square(attention_map(features) - target), axis=-1)
    return tf.reduce_mean(tf.sqrt(square + _EPSILON**2)) / 2


def feature_loss(target: Any, features: Any, projection: Any | None) -> Any:
    """Half the mean square between features, after a 1x1 convolution of ours (arXiv:1412.6550, eq. 3)."""
    tf = import_tensorflow()
    ours = features if projection is None else tf.tensordot(features, tf.convert_to_tensor(projection.value), 1)
    return tf.reduce_mean(tf.square(target - ours)) / 2


def projection_for(name: str, ours: tuple[int | None, ...], theirs: tuple[int, ...]) -> Any | None:
    """A matrix `[our channels, their channels]` where they differ, always drawn alike; None where they do not.

    Raises RecipeError where features of these shapes `[samples, ..., channels]` cannot be compared.
    """
    if len(ours) != len(theirs) or any(a is not None and a != b for a, b in zip(ours[1:-1], theirs[1:-1], strict=True)):
        raise RecipeError(
            f"hint {name}: features of shape {list(ours[1:])} and {list(theirs[1:])} cannot be compared",
            "name two layers with features of one rank and, but for images, one size",
        )
    if ours[-1] == theirs[-1]:
        return None
    assert ours[-1] is not None  # channels are known where a layer has weights
    spread = np.sqrt(6 / (ours[-1] + theirs[-1]))
    values = np.random.default_rng(0).uniform(-spread, spread, (ours[-1], theirs[-1]))
    return import_keras().Variable(values, dtype="float32", name="projection")
