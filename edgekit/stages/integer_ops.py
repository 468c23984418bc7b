"""The operators of TFLite in TensorFlow, for training: what each computes on real numbers, for any batch.

Kernels come in TensorFlow's own layouts (`kernel_layout`), which spares a transposition in each step. The semantics are
those of the TFLite schema and its reference kernels; a shape that holds the batch of the file is taken for any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.stages.integer_graph import IntegerGraph, Operator, Tensor
from edgekit.stages.integer_rare_ops import RARE, reduced
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]

_ACTIVATIONS: dict[int, Callable[[Any, Any], Any]] = {
    0: lambda tf, x: x,
    1: lambda tf, x: tf.nn.relu(x),
    2: lambda tf, x: tf.clip_by_value(x, -1.0, 1.0),
    3: lambda tf, x: tf.nn.relu6(x),
    4: lambda tf, x: tf.tanh(x),
}
_RELU = 1
_PADDINGS = ("SAME", "VALID")


@dataclass(frozen=True, eq=False)
class Step:
    """One operator at work: real inputs (None: left out), the constants among them as stored, descriptions, options.

    `cut` says that the grid of the output begins at zero, which makes a ReLU needless.
    """

    tf: Any
    options: Any
    x: tuple[Any, ...]
    data: tuple[Array | None, ...]
    ins: tuple[Tensor | None, ...]
    outs: tuple[Tensor, ...]
    cut: bool = False

    def known(self, place: int) -> Array:
        """The constant at a place, such as axes or sizes."""
        found = self.data[place]
        assert found is not None, "an axis or a size is computed by the network"
        return found

    def activated(self, value: Any) -> Any:
        """The value after the activation that is fused into the operator."""
        number = self.options.fusedActivationFunction
        return value if number == _RELU and self.cut else _ACTIVATIONS[number](self.tf, value)

    def batch_axis(self, place: int = 0) -> int | None:
        """The axis of an input that holds another number of samples than in the file; None where none does."""
        own = self.ins[place]
        assert own is not None
        sizes = self.x[place].shape
        return next((axis for axis, size in enumerate(own.shape) if sizes[axis] != size), None)

    def alike(self) -> list[Any]:
        """The inputs, constants repeated for each sample where others hold many."""
        axes = [self.batch_axis(place) for place in range(len(self.x))]
        moved = next((place for place, axis in enumerate(axes) if axis is not None), None)
        if moved is None:
            return list(self.x)
        axis = axes[moved]
        times = self.tf.shape(self.x[moved])[axis]
        return [
            self.tf.repeat(value, times, axis=axis) if data is not None and value.shape[axis] == 1 else value
            for value, data in zip(self.x, self.data, strict=True)
        ]


Rule = Callable[[Step], Any]


def compute(name: str, step: Step) -> list[Any]:
    """The outputs of the operator `name`."""
    found = RULES[name](step)
    return list(found) if isinstance(found, list | tuple) else [found]


def kernel_layout(name: str, kernel: Array, options: Any) -> Array:
    """A kernel of the file in the layout that the rules take."""
    if name == "FULLY_CONNECTED":
        return kernel.T
    if name == "DEPTHWISE_CONV_2D":
        return kernel.reshape(*kernel.shape[1:3], -1, options.depthMultiplier or 1)
    return np.transpose(kernel, (1, 2, 0, 3) if name == "TRANSPOSE_CONV" else (1, 2, 3, 0))


def file_layout(name: str, kernel: Array) -> Array:
    """Back from `kernel_layout`."""
    if name == "FULLY_CONNECTED":
        return kernel.T
    if name == "DEPTHWISE_CONV_2D":
        return kernel.reshape(1, *kernel.shape[:2], -1)
    return np.transpose(kernel, (2, 0, 1, 3) if name == "TRANSPOSE_CONV" else (3, 0, 1, 2))


def channel_axes(name: str) -> tuple[int, ...]:
    """The axes of a kernel in its layout that count output channels."""
    return {"FULLY_CONNECTED": (1,), "DEPTHWISE_CONV_2D": (2, 3), "TRANSPOSE_CONV": (2,)}.get(name, (3,))


# Products with weights.


def _with_bias(step: Step, value: Any, place: int) -> Any:
    bias = step.x[place] if len(step.x) > place else None
    return step.activated(value if bias is None else step.tf.nn.bias_add(value, bias))


def _convolution(step: Step) -> Any:
    options = step.options
    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor or 1, options.dilationWFactor or 1)
    return _with_bias(
        step, step.tf.nn.conv2d(step.x[0], step.x[1], strides, _PADDINGS[options.padding], dilations=dilations), 2
    )


def _depthwise(step: Step) -> Any:
    options, source = step.options, step.ins[0]
    assert source is not None
    strides = [options.strideH, options.strideW]
    for axis in (0, 1):  # TensorFlow takes equal strides only; along an axis of size one any stride is the same
        if source.shape[1 + axis] == 1:
            strides[axis] = strides[1 - axis]
    dilations = (options.dilationHFactor or 1, options.dilationWFactor or 1)
    value = step.tf.nn.depthwise_conv2d(
        step.x[0], step.x[1], [1, *strides, 1], _PADDINGS[options.padding], dilations=dilations
    )
    return _with_bias(step, value, 2)


def _transposed(step: Step) -> Any:
    tf, options = step.tf, step.options
    sizes = [tf.shape(step.x[2])[0], *(int(size) for size in step.known(0)[1:])]
    strides = (options.strideH, options.strideW)
    return _with_bias(step, tf.nn.conv2d_transpose(step.x[2], step.x[1], sizes, strides, _PADDINGS[options.padding]), 3)


def _dense(step: Step) -> Any:
    tf, x = step.tf, step.x[0]
    product = _with_bias(step, tf.matmul(tf.reshape(x, [-1, step.x[1].shape[0]]), step.x[1]), 2)
    sizes = step.outs[0].shape
    if len(sizes) == 2:
        return product
    kept = len(x.shape) == len(sizes)
    return tf.reshape(product, tf.concat([tf.shape(x)[:-1], sizes[-1:]], 0) if kept else [-1, *sizes[1:]])


def _matmul(step: Step) -> Any:
    return step.tf.matmul(step.x[0], step.x[1], adjoint_a=step.options.adjX, adjoint_b=step.options.adjY)


# Arithmetic.


def _binary(name: str) -> Rule:
    def rule(step: Step) -> Any:
        value = getattr(step.tf.math, name)(_raised(step, 0, 1), _raised(step, 1, 0))
        return step.activated(value) if hasattr(step.options, "fusedActivationFunction") else value

    return rule


def _raised(step: Step, place: int, other: int) -> Any:
    """An operand of lower rank, its batch kept in front: in a file with a batch of one TFLite puts it anywhere."""
    value = step.x[place]
    missing = len(step.x[other].shape) - len(value.shape)
    if missing <= 0 or step.batch_axis(place) is None:
        return value
    return step.tf.reshape(value, [-1, *[1] * missing, *value.shape[1:]])


def _unary(name: str) -> Rule:
    return lambda step: getattr(step.tf.math, name)(step.x[0])


def _activation(name: str) -> Rule:
    return lambda step: getattr(step.tf.nn, name)(step.x[0])


def _prelu(step: Step) -> Any:
    return step.tf.nn.relu(step.x[0]) - step.x[1] * step.tf.nn.relu(-step.x[0])


def _pool(name: str) -> Rule:
    def rule(step: Step) -> Any:
        options = step.options
        size, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
        return step.activated(getattr(step.tf.nn, name)(step.x[0], size, strides, _PADDINGS[options.padding]))

    return rule


def _resized(method: str) -> Rule:
    def rule(step: Step) -> Any:
        return getattr(step.tf.raw_ops, method)(
            images=step.x[0],
            size=step.known(1),
            align_corners=bool(step.options.alignCorners),
            half_pixel_centers=bool(step.options.halfPixelCenters),
        )

    return rule


# Moves.


def _reshape(step: Step) -> Any:
    """Another shape; with one sample in the file a change of axes is written as one, so the samples move along."""
    tf, x, own, sizes = step.tf, step.x[0], step.ins[0], list(step.outs[0].shape)
    axis = step.batch_axis()
    if axis is None or own is None:
        return tf.reshape(x, sizes)
    single = own.shape[axis] == 1
    if single and len(sizes) == 1:
        return tf.reshape(x, [-1, *sizes])  # a vector in the file, without a place for samples
    if axis and single:
        x = tf.transpose(x, [axis, *(a for a in range(len(own.shape)) if a != axis)])
    place = sizes.index(1) if single and 1 in sizes else 0
    x = tf.reshape(x, [-1, *sizes[:place], *sizes[place + 1 :]])
    return tf.transpose(x, [*range(1, place + 1), 0, *range(place + 1, len(sizes))]) if place else x


def _broadcast(step: Step) -> Any:
    sizes, axis, own = list(step.outs[0].shape), step.batch_axis(), step.ins[0]
    if axis is None or own is None:
        return step.tf.broadcast_to(step.x[0], sizes)
    place = axis + len(sizes) - len(own.shape)
    count = step.tf.shape(step.x[0])[axis : axis + 1]
    return step.tf.broadcast_to(step.x[0], step.tf.concat([sizes[:place], count, sizes[place + 1 :]], 0))


def _concatenation(step: Step) -> Any:
    return step.activated(step.tf.concat(step.alike(), step.options.axis))


def _slice(step: Step) -> Any:
    sizes, axis = [int(size) for size in step.known(2)], step.batch_axis()
    if axis is not None:
        sizes[axis] = -1
    return step.tf.slice(step.x[0], step.known(1), sizes)


def _strided_slice(step: Step) -> Any:
    options, axis = step.options, step.batch_axis()
    whole = 0 if axis is None or options.shrinkAxisMask >> axis & 1 else 1 << axis
    return step.tf.strided_slice(
        step.x[0],
        step.known(1),
        step.known(2),
        step.known(3),
        begin_mask=options.beginMask | whole,
        end_mask=options.endMask | whole,
        ellipsis_mask=options.ellipsisMask,
        new_axis_mask=options.newAxisMask,
        shrink_axis_mask=options.shrinkAxisMask,
    )


def _gather(step: Step) -> Any:
    return step.tf.gather(
        step.x[0],
        step.tf.cast(step.x[1], "int32"),
        axis=step.options.axis,
        batch_dims=getattr(step.options, "batchDims", 0),
    )


def _split(step: Step) -> Any:
    return step.tf.split(step.x[1], step.options.numSplits, axis=int(step.known(0)))


def _split_v(step: Step) -> Any:
    return step.tf.split(step.x[0], [int(size) for size in step.known(1)], axis=int(step.known(2)))


def _padded(step: Step) -> Any:
    value = step.x[2] if len(step.x) > 2 else 0.0
    return step.tf.pad(step.x[0], step.known(1), constant_values=value)


def _select(step: Step) -> Any:
    return step.tf.where(step.x[0], step.x[1], step.x[2])


def _cast(step: Step) -> Any:
    return step.tf.cast(step.x[0], step.outs[0].dtype)


RULES: dict[str, Rule] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "ADD": _binary("add"),
    "SUB": _binary("subtract"),
    "MUL": _binary("multiply"),
    "DIV": _binary("divide"),
    "MAXIMUM": _binary("maximum"),
    "MINIMUM": _binary("minimum"),
    "POW": _binary("pow"),
    "SQUARED_DIFFERENCE": _binary("squared_difference"),
    "EQUAL": _binary("equal"),
    "NOT_EQUAL": _binary("not_equal"),
    "LESS": _binary("less"),
    "LESS_EQUAL": _binary("less_equal"),
    "GREATER": _binary("greater"),
    "GREATER_EQUAL": _binary("greater_equal"),
    "LOGICAL_AND": _binary("logical_and"),
    "LOGICAL_OR": _binary("logical_or"),
    "LOGICAL_NOT": _unary("logical_not"),
    "ABS": _unary("abs"),
    "NEG": _unary("negative"),
    "EXP": _unary("exp"),
    "LOG": _unary("log"),
    "SQRT": _unary("sqrt"),
    "RSQRT": _unary("rsqrt"),
    "SQUARE": _unary("square"),
    "SIN": _unary("sin"),
    "COS": _unary("cos"),
    "FLOOR": _unary("floor"),
    "CEIL": _unary("ceil"),
    "ROUND": _unary("round"),
    "TANH": _unary("tanh"),
    "LOGISTIC": _unary("sigmoid"),
    "RELU": _activation("relu"),
    "RELU6": _activation("relu6"),
    "ELU": _activation("elu"),
    "RELU_N1_TO_1": lambda step: step.tf.clip_by_value(step.x[0], -1.0, 1.0),
    "RELU_0_TO_1": lambda step: step.tf.clip_by_value(step.x[0], 0.0, 1.0),
    "LEAKY_RELU": lambda step: step.tf.nn.leaky_relu(step.x[0], step.options.alpha),
    "GELU": lambda step: step.tf.nn.gelu(step.x[0], bool(step.options.approximate)),
    "HARD_SWISH": lambda step: step.x[0] * step.tf.nn.relu6(step.x[0] + 3.0) / 6.0,
    "PRELU": _prelu,
    "SOFTMAX": lambda step: step.tf.nn.softmax(step.x[0] * (step.options.beta or 1.0)),
    "LOG_SOFTMAX": _activation("log_softmax"),
    "L2_NORMALIZATION": lambda step: step.tf.math.l2_normalize(step.x[0], axis=-1),
    "MEAN": reduced("reduce_mean"),
    "SUM": reduced("reduce_sum"),
    "REDUCE_MAX": reduced("reduce_max"),
    "REDUCE_MIN": reduced("reduce_min"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "RESIZE_BILINEAR": _resized("ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resized("ResizeNearestNeighbor"),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": lambda step: step.tf.transpose(step.x[0], step.known(1)),
    "CONCATENATION": _concatenation,
    "PACK": lambda step: step.tf.stack(step.alike(), axis=step.options.axis),
    "UNPACK": lambda step: step.tf.unstack(step.x[0], step.options.num, axis=step.options.axis),
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "TILE": lambda step: step.tf.tile(step.x[0], step.known(1)),
    "BROADCAST_TO": _broadcast,
    "REVERSE_V2": lambda step: step.tf.reverse(step.x[0], [int(axis) for axis in np.atleast_1d(step.known(1))]),
    "PAD": _padded,
    "PADV2": _padded,
    "MIRROR_PAD": lambda step: step.tf.pad(step.x[0], step.known(1), ("REFLECT", "SYMMETRIC")[step.options.mode]),
    "SPACE_TO_DEPTH": lambda step: step.tf.nn.space_to_depth(step.x[0], step.options.blockSize),
    "DEPTH_TO_SPACE": lambda step: step.tf.nn.depth_to_space(step.x[0], step.options.blockSize),
    "SPACE_TO_BATCH_ND": lambda step: step.tf.space_to_batch_nd(step.x[0], step.known(1), step.known(2)),
    "BATCH_TO_SPACE_ND": lambda step: step.tf.batch_to_space(step.x[0], step.known(1), step.known(2)),
    "SELECT": _select,
    "SELECT_V2": _select,
    "CAST": _cast,
    "QUANTIZE": lambda step: step.x[0],
    "DEQUANTIZE": lambda step: step.x[0],
    **RARE,
}


def step_of(graph: IntegerGraph, operator: Operator, value: Callable[[int], Any], cut: bool = False) -> Step:
    """What a rule takes to compute an operator; `value` gives what a tensor, by its index, holds for it."""
    tensors = graph.tensors
    ins = tuple(None if index < 0 else tensors[index] for index in operator.inputs)
    return Step(
        import_tensorflow(),
        options=operator.options,
        x=tuple(None if tensor is None else value(tensor.index) for tensor in ins),
        data=tuple(None if tensor is None else tensor.data for tensor in ins),
        ins=ins,
        outs=tuple(tensors[index] for index in operator.outputs),
        cut=cut,
    )
