"""The operators of TFLite that few networks have, in TensorFlow: most of them stay in float, as islands.

They belong to `integer_ops.RULES`, which says what a rule is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgekit.stages.integer_ops import Step

    Rule = Callable[[Step], Any]

_PADDINGS = ("SAME", "VALID")


def _cumsum(step: Step) -> Any:
    options = step.options
    axis = int(np.ravel(step.known(1))[0])
    return step.tf.cumsum(step.x[0], axis, exclusive=bool(options.exclusive), reverse=bool(options.reverse))


def _convolution(step: Step) -> Any:
    options = step.options
    strides = (1, options.strideD, options.strideH, options.strideW, 1)
    dilations = (1, options.dilationDFactor or 1, options.dilationHFactor or 1, options.dilationWFactor or 1, 1)
    value = step.tf.nn.conv3d(step.x[0], step.x[1], strides, _PADDINGS[options.padding], dilations=dilations)
    return step.activated(value if len(step.x) < 3 or step.x[2] is None else step.tf.nn.bias_add(value, step.x[2]))


def _extreme(name: str) -> Rule:
    def rule(step: Step) -> Any:
        axis = int(np.ravel(step.known(1))[0])
        return getattr(step.tf, name)(step.x[0], axis, output_type=step.outs[0].dtype)

    return rule


def _one_hot(step: Step) -> Any:
    depth, on, off = (step.known(place).item() for place in (1, 2, 3))
    return step.tf.one_hot(step.x[0], int(depth), on, off, step.options.axis, step.outs[0].dtype)


def _largest(step: Step) -> Any:
    return step.tf.math.top_k(step.x[0], int(step.known(1).item()))


def _elementwise(name: str) -> Rule:
    return lambda step: getattr(step.tf.math, name)(step.x[0], step.x[1])


def reduced(name: str) -> Rule:
    """The rule of an operator that reduces along the axes of its second input."""

    def rule(step: Step) -> Any:
        axes = [int(axis) for axis in np.atleast_1d(step.known(1))]
        return getattr(step.tf, name)(step.x[0], axes, step.options.keepDims)

    return rule


RARE: dict[str, Rule] = {
    "CUMSUM": _cumsum,
    "CONV_3D": _convolution,
    "ARG_MAX": _extreme("argmax"),
    "ARG_MIN": _extreme("argmin"),
    "ONE_HOT": _one_hot,
    "TOPK_V2": _largest,
    "SIGN": lambda step: step.tf.sign(step.x[0]),
    "ZEROS_LIKE": lambda step: step.tf.zeros_like(step.x[0]),
    "GATHER_ND": lambda step: step.tf.gather_nd(step.x[0], step.x[1]),
    "FLOOR_DIV": _elementwise("floordiv"),
    "FLOOR_MOD": _elementwise("floormod"),
    "ATAN2": _elementwise("atan2"),
    "REDUCE_PROD": reduced("reduce_prod"),
    "REDUCE_ANY": reduced("reduce_any"),
    "REDUCE_ALL": reduced("reduce_all"),
}
