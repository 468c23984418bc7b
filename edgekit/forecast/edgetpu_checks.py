"""Limitations of single operators on the Edge TPU that have to be computed: one function a limitation, by name below.

What is data (an activation function, constants, a runtime version) is in `targets/operators/edgetpu.toml`; where
compiled models or a maintainer show more than the documentation says, the source of the rule there names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgekit.forecast.node import Fault
from edgekit.tflite.graph import Graph, Operator, Tensor

ON_CHIP_BYTES = 8 * 2**20
SPLIT_HEAD = "move it, and what needs it, to the end of the model, or compute it in the application"

_MOST_NUMBERS, _MOST_ZEROS = 16, 2**20

Check = Callable[[Graph, Operator], Fault | None]


def _dilation(graph: Graph, operator: Operator) -> Fault | None:
    """The same dilation in both dimensions; in one where the kernel has a single tap there is none."""
    kernel = input_of(graph, operator, 1)
    taps = kernel.shape[1:3] if kernel is not None and len(kernel.shape) == 4 else (2, 2)
    height, width = (operator.options.get(f"Dilation{side}Factor", 1) for side in "HW")
    if height == width or 1 in taps:
        return None
    return Fault("dilation", f"dilation {height}x{width}", "dilate both dimensions alike")


def _weight_format(graph: Graph, operator: Operator) -> Fault | None:
    if not operator.options.get("WeightsFormat"):
        return None
    return Fault("weight-format", "weights in a shuffled format", "convert again: the default format is mapped")


def _one_dimensional(graph: Graph, operator: Operator) -> Fault | None:
    """The documents ask for one dimension; public logs of compiler 16 show heads of detectors that were mapped."""
    shape = graph.written(operator)[0].shape
    if sum(size > 1 for size in shape) <= 1:
        return None
    reason = f"{list(shape)} has more than one dimension, which is documented as not mapped, and yet seen"
    return Fault("not-one-dimensional", reason, f"flatten before it, or {SPLIT_HEAD}", certain=False)


def _alpha(graph: Graph, operator: Operator) -> Fault | None:
    alpha = input_of(graph, operator, 1)
    if alpha is None or all(size == 1 for size in alpha.shape[:-1]):
        return None
    mend = "share alpha over height and width (Keras: shared_axes=[1, 2])"
    return Fault("alpha-shape", f"alpha {list(alpha.shape)} varies over more than the channels", mend)


def _window(graph: Graph, operator: Operator) -> Fault | None:
    """A mean over channels needs a multiple of four; one over a large window stays on the CPU."""
    rank, axes = axes_of(graph, operator)
    shape = graph.read(operator)[0].shape
    if shape and rank - 1 in axes and shape[-1] % 4:
        reason = f"a mean over {shape[-1]} channels, which is no multiple of 4"
        return Fault("channel-multiple", reason, "use a number of channels that is a multiple of 4")
    window = math.prod(shape[axis] for axis in set(axes) if 0 <= axis < rank - 1)
    if window <= 64 * 128:
        return None
    mend = "average in steps: a pooling before it, or parts that are averaged again"
    return Fault("large-window", f"a mean over {window:,} places", mend, certain=window >= 256 * 128)


def _zero_padding(graph: Graph, operator: Operator) -> Fault | None:
    """A constant among the inputs is all zeros, and one of two."""
    constants = [tensor for tensor in graph.read(operator) if tensor.constant]
    if not constants:
        return None
    if len(operator.inputs) == 2 and all(_is_zero(tensor) for tensor in constants):
        return None
    mend = "add the constant another way, or outside of the model"
    return Fault("constant-input", "a constant among the inputs is mapped as a padding of zeros only", mend)


def _is_zero(tensor: Tensor) -> bool:
    values = tensor.values() if elements_of(tensor) <= _MOST_ZEROS else None
    return values is not None and len(tensor.zero_points) == 1 and bool((values == tensor.zero_points[0]).all())


def _resize(graph: Graph, operator: Operator) -> Fault | None:
    """Sizes that lose precision stay on the CPU: known for 16 times and for one pixel, unknown above twice."""
    before, after = graph.read(operator)[0].shape, graph.written(operator)[0].shape
    if len(before) != 4 or len(after) != 4:
        return Fault("rank", f"{list(before)} -> {list(after)}", "resize images of [1, height, width, channels]")
    corners = bool(operator.options.get("AlignCorners"))
    factor = max(_factor(before[axis], after[axis], corners) for axis in (1, 2))
    mend = "resize by 2, several times; a single pixel is spread by TILE; or resize in the application"
    if factor >= 16:
        return Fault("resize-factor", f"{factor:g} times as large: left on the CPU to keep precision", mend)
    if factor > 2:
        reason = f"by a factor of {factor:g}: 2 is known to be mapped and 16 is known not to be"
        return Fault("resize-factor", reason, mend, certain=False)
    return _on_chip(graph, operator)


def _factor(before: int, after: int, corners: bool) -> float:
    """How many times larger or smaller a dimension becomes, as the kernels count."""
    if corners and before > 1 and after > 1:
        before, after = before - 1, after - 1
    return max(after / max(before, 1), before / max(after, 1))


def _on_chip(graph: Graph, operator: Operator) -> Fault | None:
    """No tensor is larger than the chip's memory; what is documented of large ones is that some are not mapped."""
    largest = max(elements_of(tensor) for tensor in (*graph.read(operator), *graph.written(operator)))
    if largest <= ON_CHIP_BYTES:
        return None
    reason = f"a tensor of {largest:,} bytes, more than the memory of the chip: some of such size are not mapped"
    return Fault("large-tensor", reason, "use a smaller input, or do it in the application", certain=False)


def _plain_slice(graph: Graph, operator: Operator) -> Fault | None:
    strides = values_of(graph, operator, 3)
    if strides is not None and (strides != 1).any():
        return Fault("slice", f"strides {strides.tolist()}", "slice with strides of 1; pool to skip values")
    for mask, words in (("EllipsisMask", "an ellipsis"), ("NewAxisMask", "a new axis")):
        if operator.options.get(mask):
            return Fault("slice", f"{words} in the slice", "write out every dimension, and use expand_dims")
    return None


def _leading_ones(graph: Graph, operator: Operator) -> Fault | None:
    """Squeezing may not change the layout: what is dropped has only dimensions of 1 before it."""
    shape = graph.read(operator)[0].shape
    dims = operator.options.get("SqueezeDims", ())
    named = [axis_of(axis, len(shape)) for axis in dims] if isinstance(dims, tuple) else []
    dropped = named or [axis for axis, size in enumerate(shape) if size == 1]
    if all(size == 1 for size in shape[: max(dropped, default=0)]):
        return None
    return Fault("squeeze", f"{list(shape)} drops a dimension behind a larger one", "use a reshape")


CHECKS: dict[str, tuple[Check, ...]] = {
    "CONV_2D": (_dilation,),
    "DEPTHWISE_CONV_2D": (_dilation,),
    "FULLY_CONNECTED": (_weight_format, _one_dimensional),
    "SOFTMAX": (_one_dimensional,),
    "PRELU": (_alpha,),
    "MEAN": (_window,),
    "CONCATENATION": (_zero_padding,),
    "RESIZE_BILINEAR": (_resize,),
    "RESIZE_NEAREST_NEIGHBOR": (_resize,),
    "RESHAPE": (_on_chip,),
    "TRANSPOSE": (_on_chip,),
    "STRIDED_SLICE": (_plain_slice,),
    "SQUEEZE": (_leading_ones,),
}
SUBSTITUTES = {
    "ARG_MAX": "end the model before it, and look for the largest value in the application",
    "ARG_MIN": "end the model before it, and look for the smallest value in the application",
    "HARD_SWISH": "train with ReLU6 in its place",
    "LEAKY_RELU": "train with ReLU or ReLU6, or write it as maximum(x, alpha * x)",
    "ELU": "train with ReLU or ReLU6 in its place",
    "GELU": "train with ReLU or ReLU6 in its place",
    "MIRROR_PAD": "pad with zeros, or mirror in the application",
    "PADV2": "pad with zeros",
    "DEPTH_TO_SPACE": "use a transposed convolution, or a resize by 2 and a convolution",
    "SPACE_TO_BATCH_ND": "convert again: a dilated convolution needs none",
    "BATCH_TO_SPACE_ND": "convert again: a dilated convolution needs none",
    "BATCH_MATMUL": "use a dense layer or a 1x1 convolution with constant weights",
    "UNPACK": "use slices or a split",
    "SPLIT_V": "split into equal parts, or slice",
}


def input_of(graph: Graph, operator: Operator, place: int) -> Tensor | None:
    """The tensor at a place of the inputs; None where it is absent."""
    index = operator.inputs[place] if place < len(operator.inputs) else -1
    return graph.tensors[index] if index >= 0 else None


def values_of(graph: Graph, operator: Operator, place: int) -> NDArray[np.int64] | None:
    """The few numbers of a constant input, such as axes; None where it is none."""
    tensor = input_of(graph, operator, place)
    values = None if tensor is None or elements_of(tensor) > _MOST_NUMBERS else tensor.values()
    return None if values is None or values.dtype.kind not in "iu" else values.astype(np.int64)


def axis_of(value: object, rank: int) -> int:
    """An axis counted from the front."""
    number = value if isinstance(value, int) else 0
    return number + rank if number < 0 else number


def elements_of(tensor: Tensor) -> int:
    """Number of elements; an open dimension counts as one."""
    return math.prod(max(size, 1) for size in tensor.shape)


def axes_of(graph: Graph, operator: Operator) -> tuple[int, list[int]]:
    """Rank, and the axes along which an operator pads, packs or reduces."""
    rank = len((graph.written(operator) if operator.name == "PACK" else graph.read(operator))[0].shape)
    if operator.name == "PACK":
        return rank, [axis_of(operator.options.get("Axis", 0), rank)]
    values = values_of(graph, operator, 1)
    if values is None:
        return rank, []
    if operator.name == "PAD":
        return rank, [
            axis for axis, row in enumerate(values.reshape(-1, 2)) if row.any()
        ] if values.size % 2 == 0 else []
    return rank, [axis_of(int(value), rank) for value in values.flat]
