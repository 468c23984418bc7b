"""What keeps a single operator off the Edge TPU: the documented limitations, one function a limitation.

What is data (an activation function, constants, a runtime version) is in `targets/operators/edgetpu.toml`. Where
compiled models or a maintainer show more than the documentation says, the source of the rule names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgekit.operators import OperatorTable, Rule
from edgekit.tflite.graph import Graph, Operator, Tensor

LATEST_RUNTIME = 14
ON_CHIP_BYTES = 8 * 2**20

_MOST_NUMBERS, _MOST_ZEROS = 16, 2**20

_SIZE_INPUTS = {
    "RESHAPE": (1,),
    "PAD": (1,),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
    "TILE": (1,),
    "MEAN": (1,),
    "SUM": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "EXPAND_DIMS": (1,),
    "SPLIT": (0,),
}
_SIZED_BY_VALUES = {"WHERE", "UNIQUE"}
_EIGHT_BIT = {"int8", "uint8"}
_LSTM = {"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
_SPLIT_HEAD = "move it, and what needs it, to the end of the model, or compute it in the application"


class Limit(Struct, frozen=True):
    """Why an operator is not taken; `certain` is False where the documents leave it open."""

    code: str
    reason: str
    mend: str = ""
    certain: bool = True


Check = Callable[[Graph, Operator], Limit | None]


def size_unknown(graph: Graph, operator: Operator) -> Limit | None:
    """A tensor whose size is computed: the compiler refuses the whole file."""
    if operator.name in _SIZED_BY_VALUES:
        return Limit("dynamic-size", "the size of its output depends on values", _SPLIT_HEAD)
    for place in _SIZE_INPUTS.get(operator.name, ()):
        tensor = _input(graph, operator, place)
        if tensor is not None and not tensor.constant:
            reason = f"input {place} ({tensor.name}) gives the size of the output and is computed, not a constant"
            mend = "convert with a fixed batch and fixed sizes, as `edgekit optimize` does"
            return Limit("dynamic-size", reason, mend)
    return None


def decisive(
    graph: Graph, operator: Operator, table: OperatorTable, runtime: int, faults: Mapping[int, Limit]
) -> Limit | None:
    """What keeps an operator off for certain, or else what may; None where nothing is documented against it."""
    found = list(limits(graph, operator, table, runtime, faults))
    return next((limit for limit in found if limit.certain), found[0] if found else None)


def limits(
    graph: Graph, operator: Operator, table: OperatorTable, runtime: int, faults: Mapping[int, Limit]
) -> Iterator[Limit]:
    """Everything that keeps an operator off a runtime of that version, the reason that the compiler names first.

    `faults` are those of `scale_faults`. An operator without inputs or outputs is taken by nobody.
    """
    yield from _found([_types(graph, operator)])
    yield from (faults[index] for index in (*operator.inputs, *operator.outputs) if index in faults)
    rule = table.operators.get(operator.name)
    if operator.custom or rule is None:
        reason = "a custom operator" if operator.custom else f"{operator.name} is not an operator of {table.title}"
        yield Limit("not-supported", reason, _SUBSTITUTES.get(operator.name, _SPLIT_HEAD))
    elif not graph.read(operator) or not graph.written(operator):
        yield Limit("not-supported", "an operator without inputs or outputs", "convert the model again")
    else:
        yield from _found(check(graph, operator) for check in (_rank, *_CHECKS.get(operator.name, ())))
        yield from _found(check(graph, operator, rule) for check in (_constants, _activation, _batch, _elements))
        yield from _found([_version(operator, rule, runtime)])


def _found(limits: Iterable[Limit | None]) -> Iterator[Limit]:
    return (limit for limit in limits if limit is not None)


def _types(graph: Graph, operator: Operator) -> Limit | None:
    """Everything that is computed is 8-bit; indices and biases are int32, the memory of an LSTM cell is int16."""
    touched = [*graph.read(operator), *graph.written(operator)]
    others = sorted({tensor.dtype for tensor in touched if not _type_fits(operator, tensor)})
    if not others:
        return None
    mend = "quantize the model to int8, inputs and outputs too: `edgekit optimize --recipe int8:io=uint8`"
    if operator.name in ("QUANTIZE", "DEQUANTIZE"):
        return Limit("float-rim", f"casts between 8 bits and {', '.join(others)}", mend)
    return Limit("data-type", f"computes with {', '.join(others)}; only int8 and uint8 are mapped", mend)


def _type_fits(operator: Operator, tensor: Tensor) -> bool:
    return (
        tensor.dtype in _EIGHT_BIT
        or (tensor.constant and tensor.dtype == "int32")
        or (operator.name in _LSTM and tensor.variable and tensor.dtype == "int16")
    )


def scale_faults(graph: Graph) -> dict[int, Limit]:
    """8-bit tensors (by number) without a scale, or with one that is not finite and above zero."""
    eight = {index: tensor for index, tensor in enumerate(graph.tensors) if tensor.dtype in _EIGHT_BIT}
    return {index: fault for index, tensor in eight.items() if (fault := _scale_fault(tensor)) is not None}


def _scale_fault(tensor: Tensor) -> Limit | None:
    if not tensor.scales:
        return Limit("not-quantized", f"{tensor.name} has no scale", "quantize the model to int8")
    if all(math.isfinite(scale) and scale > 0 for scale in tensor.scales):
        return None
    reason = f"a scale of {tensor.name} is not a number above zero: the compiler is known to crash on it"
    return Limit("bad-scale", reason, "calibrate again; a range that is empty or infinite makes such a scale")


def _rank(graph: Graph, operator: Operator) -> Limit | None:
    """Only the three innermost dimensions of what is computed are larger than 1."""
    computed = [tensor for tensor in (*graph.read(operator), *graph.written(operator)) if not tensor.constant]
    large = next((tensor for tensor in computed if any(size > 1 for size in tensor.shape[:-3])), None)
    if large is None:
        return None
    mend = "use batch 1, and reshape what has more dimensions"
    return Limit("rank", f"{large.name} {list(large.shape)} has more than three dimensions above 1", mend)


def _constants(graph: Graph, operator: Operator, rule: Rule) -> Limit | None:
    for place in rule.constant:
        tensor = _input(graph, operator, place)
        if tensor is not None and not tensor.constant:
            reason = f"input {place} ({tensor.name}) is computed; parameters are constants of the file"
            return Limit("computed-parameter", reason, "make it a constant, or compute the product another way")
    return None


def _activation(graph: Graph, operator: Operator, rule: Rule) -> Limit | None:
    if rule.fused_activation or operator.activation == "NONE":
        return None
    mend = "put the activation function into the convolution before it"
    return Limit("fused-activation", f"a fused {operator.activation}", mend)


def _batch(graph: Graph, operator: Operator, rule: Rule) -> Limit | None:
    """What pads, packs or reduces leaves the batch alone: the dimension outside of the three innermost."""
    if rule.along_batch:
        return None
    rank, axes = _axes(graph, operator)
    if all(axis >= rank - 3 for axis in axes):
        return None
    return Limit("batch-axis", "it works along the batch", "work along another dimension, with batch 1")


def _axes(graph: Graph, operator: Operator) -> tuple[int, list[int]]:
    """Rank, and the axes along which an operator pads, packs or reduces."""
    rank = len((graph.written(operator) if operator.name == "PACK" else graph.read(operator))[0].shape)
    if operator.name == "PACK":
        return rank, [_axis(operator.options.get("Axis", 0), rank)]
    values = _values(graph, operator, 1)
    if values is None:
        return rank, []
    if operator.name == "PAD":
        return rank, [
            axis for axis, row in enumerate(values.reshape(-1, 2)) if row.any()
        ] if values.size % 2 == 0 else []
    return rank, [_axis(int(value), rank) for value in values.flat]


def _elements(graph: Graph, operator: Operator, rule: Rule) -> Limit | None:
    if rule.most_elements is None:
        return None
    size = max(_elements_of(tensor) for tensor in graph.written(operator))
    if size <= rule.most_elements:
        return None
    return Limit("too-many-elements", f"{size:,} elements; at most {rule.most_elements:,} are mapped", _SPLIT_HEAD)


def _version(operator: Operator, rule: Rule, runtime: int) -> Limit | None:
    if rule.since is None or runtime >= rule.since:
        return None
    mend = f"install runtime {rule.since} or newer on the board, and compile for it"
    return Limit("runtime-version", f"needs runtime {rule.since}, and {runtime} was asked for", mend)


def _dilation(graph: Graph, operator: Operator) -> Limit | None:
    """The same dilation in both dimensions; in one where the kernel has a single tap there is none."""
    kernel = _input(graph, operator, 1)
    taps = kernel.shape[1:3] if kernel is not None and len(kernel.shape) == 4 else (2, 2)
    height, width = (operator.options.get(f"Dilation{side}Factor", 1) for side in "HW")
    if height == width or 1 in taps:
        return None
    return Limit("dilation", f"dilation {height}x{width}", "dilate both dimensions alike")


def _weight_format(graph: Graph, operator: Operator) -> Limit | None:
    if not operator.options.get("WeightsFormat"):
        return None
    return Limit("weight-format", "weights in a shuffled format", "convert again: the default format is mapped")


def _one_dimensional(graph: Graph, operator: Operator) -> Limit | None:
    """The documents ask for one dimension; public logs of compiler 16 show heads of detectors that were mapped."""
    shape = graph.written(operator)[0].shape
    if sum(size > 1 for size in shape) <= 1:
        return None
    reason = f"{list(shape)} has more than one dimension, which is documented as not mapped, and yet seen"
    return Limit("not-one-dimensional", reason, f"flatten before it, or {_SPLIT_HEAD}", certain=False)


def _alpha(graph: Graph, operator: Operator) -> Limit | None:
    alpha = _input(graph, operator, 1)
    if alpha is None or all(size == 1 for size in alpha.shape[:-1]):
        return None
    mend = "share alpha over height and width (Keras: shared_axes=[1, 2])"
    return Limit("alpha-shape", f"alpha {list(alpha.shape)} varies over more than the channels", mend)


def _window(graph: Graph, operator: Operator) -> Limit | None:
    """A mean over channels needs a multiple of four; one over a large window stays on the CPU."""
    rank, axes = _axes(graph, operator)
    shape = graph.read(operator)[0].shape
    if shape and rank - 1 in axes and shape[-1] % 4:
        reason = f"a mean over {shape[-1]} channels, which is no multiple of 4"
        return Limit("channel-multiple", reason, "use a number of channels that is a multiple of 4")
    window = math.prod(shape[axis] for axis in set(axes) if 0 <= axis < rank - 1)
    if window <= 64 * 128:
        return None
    mend = "average in steps: a pooling before it, or parts that are averaged again"
    return Limit("large-window", f"a mean over {window:,} places", mend, certain=window >= 256 * 128)


def _zero_padding(graph: Graph, operator: Operator) -> Limit | None:
    """A constant among the inputs is all zeros, and one of two."""
    constants = [tensor for tensor in graph.read(operator) if tensor.constant]
    if not constants:
        return None
    if len(operator.inputs) == 2 and all(_is_zero(tensor) for tensor in constants):
        return None
    mend = "add the constant another way, or outside of the model"
    return Limit("constant-input", "a constant among the inputs is mapped as a padding of zeros only", mend)


def _is_zero(tensor: Tensor) -> bool:
    values = tensor.values() if _elements_of(tensor) <= _MOST_ZEROS else None
    return values is not None and len(tensor.zero_points) == 1 and bool((values == tensor.zero_points[0]).all())


def _resize(graph: Graph, operator: Operator) -> Limit | None:
    """Sizes that lose precision stay on the CPU: known for 16 times and for one pixel, unknown above twice."""
    before, after = graph.read(operator)[0].shape, graph.written(operator)[0].shape
    if len(before) != 4 or len(after) != 4:
        return Limit("rank", f"{list(before)} -> {list(after)}", "resize images of [1, height, width, channels]")
    corners = bool(operator.options.get("AlignCorners"))
    factor = max(_factor(before[axis], after[axis], corners) for axis in (1, 2))
    mend = "resize by 2, several times; a single pixel is spread by TILE; or resize in the application"
    if factor >= 16:
        return Limit("resize-factor", f"{factor:g} times as large: left on the CPU to keep precision", mend)
    if factor > 2:
        reason = f"by a factor of {factor:g}: 2 is known to be mapped and 16 is known not to be"
        return Limit("resize-factor", reason, mend, certain=False)
    return _on_chip(graph, operator)


def _factor(before: int, after: int, corners: bool) -> float:
    """How many times larger or smaller a dimension becomes, as the kernels count."""
    if corners and before > 1 and after > 1:
        before, after = before - 1, after - 1
    return max(after / max(before, 1), before / max(after, 1))


def _on_chip(graph: Graph, operator: Operator) -> Limit | None:
    """No tensor is larger than the chip's memory; what is documented of large ones is that some are not mapped."""
    largest = max(_elements_of(tensor) for tensor in (*graph.read(operator), *graph.written(operator)))
    if largest <= ON_CHIP_BYTES:
        return None
    reason = f"a tensor of {largest:,} bytes, more than the memory of the chip: some of such size are not mapped"
    return Limit("large-tensor", reason, "use a smaller input, or do it in the application", certain=False)


def _plain_slice(graph: Graph, operator: Operator) -> Limit | None:
    strides = _values(graph, operator, 3)
    if strides is not None and (strides != 1).any():
        return Limit("slice", f"strides {strides.tolist()}", "slice with strides of 1; pool to skip values")
    for mask, words in (("EllipsisMask", "an ellipsis"), ("NewAxisMask", "a new axis")):
        if operator.options.get(mask):
            return Limit("slice", f"{words} in the slice", "write out every dimension, and use expand_dims")
    return None


def _leading_ones(graph: Graph, operator: Operator) -> Limit | None:
    """Squeezing may not change the layout: what is dropped has only dimensions of 1 before it."""
    shape = graph.read(operator)[0].shape
    dims = operator.options.get("SqueezeDims", ())
    named = [_axis(axis, len(shape)) for axis in dims] if isinstance(dims, tuple) else []
    dropped = named or [axis for axis, size in enumerate(shape) if size == 1]
    if all(size == 1 for size in shape[: max(dropped, default=0)]):
        return None
    return Limit("squeeze", f"{list(shape)} drops a dimension behind a larger one", "use a reshape")


_CHECKS: dict[str, tuple[Check, ...]] = {
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
_SUBSTITUTES = {
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


def _input(graph: Graph, operator: Operator, place: int) -> Tensor | None:
    """The tensor at a place of the inputs; None where it is absent."""
    index = operator.inputs[place] if place < len(operator.inputs) else -1
    return graph.tensors[index] if index >= 0 else None


def _values(graph: Graph, operator: Operator, place: int) -> NDArray[np.int64] | None:
    """The few numbers of a constant input, such as axes; None where it is none."""
    tensor = _input(graph, operator, place)
    values = None if tensor is None or _elements_of(tensor) > _MOST_NUMBERS else tensor.values()
    return None if values is None or values.dtype.kind not in "iu" else values.astype(np.int64)


def _axis(value: object, rank: int) -> int:
    number = value if isinstance(value, int) else 0
    return number + rank if number < 0 else number


def _elements_of(tensor: Tensor) -> int:
    return math.prod(max(size, 1) for size in tensor.shape)
