"""What the XNNPACK delegate asks of layers with weights: types and scales of weights and bias, and how they fit.

Conditions of the visitors of such layers in LiteRT's tflite/delegates/xnnpack/xnnpack_delegate.cc; those that are for
kernels (`bias_fits`, `requantized`, `multiplied`) from XNNPACK, src/subgraph/ and src/operators/.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.forecast.xnnpack_checks import (
    FLOAT,
    FLOAT_Q8,
    MOST_DIMENSIONS,
    Q8,
    ZERO_POINTS,
    Asked,
    Check,
    Refusal,
    normal,
    quotient,
    ranked,
    scale_refusal,
    static,
    stored,
    type_problem,
    types,
    value_problem,
    zero_point,
)
from edgekit.tflite.graph import Tensor


def filter_types(axis: Callable[[Asked], int], place: int = 1) -> Check:
    """Weights: float, uint8 with one scale, or int8 with one scale, or one a channel along the axis."""

    def check(node: Asked) -> Refusal | None:
        tensor = node.input(place)
        if tensor.dtype != "int8":
            return type_problem(node.operator.name, tensor, FLOAT_Q8) or (
                _quantized_problem(node, tensor) if tensor.dtype == "uint8" else None
            )
        if len(tensor.scales) > 1 and tensor.quantized_axis != axis(node):
            reason = f"the weights of {node.operator.name} have their scales along dimension {tensor.quantized_axis}"
            return Refusal("quantization", reason, f"quantize them along dimension {axis(node)}")
        return _quantized_problem(node, tensor)

    return check


def bias_types(place: int = 2) -> Check:
    """A bias in float, or in int32 with scales along dimension 0 and zero points of 0."""

    def check(node: Asked) -> Refusal | None:
        tensor = node.input(place)
        if tensor.dtype in FLOAT:
            return None
        if tensor.dtype != "int32" or tensor.quantized_axis:
            return type_problem(node.operator.name, tensor, (*FLOAT, "int32")) or _quantization(node, "its bias")
        return _quantized_problem(node, tensor)

    return check


def _quantized_problem(node: Asked, tensor: Tensor) -> Refusal | None:
    """Scales that are normal numbers and zero points in range: xnn_validate_(channelwise_)quantized_tensor."""
    if len(tensor.shape) > MOST_DIMENSIONS or not tensor.scales or not tensor.zero_points:
        return _quantization(node, f"{tensor.dtype} parameters without scales")
    if not _zero_point_fits(tensor):
        return Refusal(
            "zero-point",
            f"{node.operator.name} has {tensor.dtype} parameters with the zero point {tensor.zero_points[0]}",
            "quantize the weights symmetrically",
        )
    wrong = next((scale for scale in tensor.scales if scale <= 0 or not normal(scale)), None)
    return None if wrong is None else _quantization(node, f"a scale of {wrong:.3g}")


def _zero_point_fits(tensor: Tensor) -> bool:
    """In the range of the type; 0 where there are scales by channel (in an int32 bias that is asked for later)."""
    if tensor.dtype == "int32" and len(tensor.scales) > 1:
        return True
    least, most = ZERO_POINTS.get(tensor.dtype, (0, 0)) if len(tensor.scales) == 1 else (0, 0)
    return least <= tensor.zero_points[0] <= most


def _quantization(node: Asked, what: str) -> Refusal:
    mend = "quantize the model again; a channel whose weights are all zero may have no usable scale"
    return Refusal("quantization", f"{node.operator.name} has {what}", mend)


def bias_of_filter(filters: int = 1, bias: int = 2) -> Check:
    """Float weights and bias of one type; float16 weights may have a float32 bias."""

    def check(node: Asked) -> Refusal | None:
        weights, other = _inner_type(node, filters), _inner_type(node, bias)
        if weights not in FLOAT or weights == other or (weights, other) == ("float16", "float32"):
            return None
        reason = f"{node.operator.name} has {weights} weights and a {other} bias"
        return Refusal("mixed-types", reason, "store both in one type")

    return check


def _inner_type(node: Asked, place: int) -> str:
    return "float16" if node.operator.inputs[place] in node.halves else node.input(place).dtype


def convolution(node: Asked) -> Refusal | None:
    """CONV_2D of one type, or float32 with int8 weights; the channels of the input fit the weights."""
    first, weights, out = node.input(0), node.input(1), node.output()
    dynamic = (first.dtype, weights.dtype) == ("float32", "int8")
    if first.dtype != out.dtype or (first.dtype != weights.dtype and not dynamic):
        return _mixed(node, first.dtype, weights.dtype, out.dtype)
    if first.shape[3] // weights.shape[3] == 0:
        reason = f"CONV_2D has {first.shape[3]} channels and weights for {weights.shape[3]}"
        return Refusal("options", reason, "convert the model again")
    return None


def _mixed(node: Asked, first: str, weights: str, out: str) -> Refusal:
    reason = f"XNNPACK has no {node.operator.name} of {first} with {weights} weights to {out}"
    return Refusal("mixed-types", reason, "quantize the whole layer, or keep it in float")


def multiplied(node: Asked) -> Refusal | None:
    """Kernel of DEPTHWISE_CONV_2D: as many weights as channels times the multiplier."""
    channels, multiplier = node.input(0).shape[3], node.option("DepthMultiplier")
    if channels * multiplier == node.input(1).shape[3]:
        return None
    reason = f"DEPTHWISE_CONV_2D has {channels} channels, the multiplier {multiplier} and other weights"
    return Refusal("options", reason, "convert the model again")


def requantized(node: Asked, image: int = 0) -> Refusal | None:
    """Kernels of 8-bit layers: scale of the input times that of the weights is below 256 times that of the output."""
    first, weights, out = node.input(image), node.input(1), node.output()
    if first.dtype not in Q8 or not weights.scales:
        return None
    with np.errstate(all="ignore"):
        product = float(np.float32(first.scales[0]) * np.float32(max(weights.scales)))
    found = quotient(product, out.scales[0])
    return scale_refusal(node, found if found >= 256 else None)


def depthwise(node: Asked) -> Refusal | None:
    """DEPTHWISE_CONV_2D of one type, whose channels are a multiple of the depth multiplier."""
    first, weights, out = node.input(0), node.input(1), node.output()
    if len({first.dtype, weights.dtype, out.dtype}) > 1:
        found = _mixed(node, first.dtype, weights.dtype, out.dtype)
        dynamic = (first.dtype, weights.dtype) == ("float32", "int8")
        return found._replace(mend="use full int8: dynamic-range depthwise is not in XNNPACK") if dynamic else found
    if weights.shape[3] % node.option("DepthMultiplier"):
        return Refusal("options", "the channels are no multiple of the depth multiplier", "convert the model again")
    return None


_PACKED = ("int4", "int8")


def dense_version(node: Asked) -> Refusal | None:
    """FULLY_CONNECTED in a version and with a format of weights that the delegate reads."""
    if node.operator.version == 8:
        return Refusal("version", "XNNPACK leaves FULLY_CONNECTED of version 8", "convert with another version")
    if node.option("WeightsFormat"):
        return Refusal("options", "FULLY_CONNECTED with shuffled weights", "convert again, with the default format")
    return None


def dense_weights(node: Asked) -> Refusal | None:
    """Weights of FULLY_CONNECTED, which may have 4 bits."""
    weights = node.input(1)
    if weights.dtype not in _PACKED:
        return types((*FLOAT_Q8, "int4"), (1,), ())(node)
    if not weights.scales:
        reason = f"the {weights.dtype} weights of FULLY_CONNECTED have no scale by tensor or by channel"
        return Refusal("blockwise", reason, "measure it: scales by blocks are not read here")
    if len(weights.scales) > 1 and weights.quantized_axis != 0:
        reason = f"the weights of FULLY_CONNECTED have their scales along dimension {weights.quantized_axis}"
        return Refusal("quantization", reason, "quantize them along dimension 0")
    return None


def dense_bias(node: Asked) -> Refusal | None:
    """Bias of FULLY_CONNECTED, where it has one."""
    if not node.has(2):
        return None
    if int(np.prod(node.input(2).shape, dtype=np.float64)) != node.input(1).shape[0]:
        return Refusal("options", "the bias of FULLY_CONNECTED has another length than its output", "write it again")
    checks = (bias_types(), static(2), bias_of_filter())
    return next(filter(None, (check(node) for check in checks)), None)


def dense(node: Asked) -> Refusal | None:
    """Types of FULLY_CONNECTED together: one for all, or weights of 4 or 8 bits under float or int8 activations."""
    first, weights, out = node.input(0), node.input(1), node.output()
    dynamic = first.dtype in FLOAT and weights.dtype in _PACKED
    packed = first.dtype == "int8" and weights.dtype in _PACKED
    if first.dtype != out.dtype or (first.dtype != weights.dtype and not dynamic and not packed):
        return _mixed(node, first.dtype, weights.dtype, out.dtype)
    if not dynamic and weights.dtype == "int8" and zero_point(weights):
        reason = f"the weights of FULLY_CONNECTED have the zero point {zero_point(weights)}"
        return Refusal("zero-point", reason, "quantize the weights symmetrically")
    if weights.dtype == "int4" and weights.shape[1] % 2:
        return Refusal("options", "FULLY_CONNECTED with int4 weights and an odd number of inputs", "use int8 weights")
    return None


def matrices(node: Asked) -> Refusal | None:
    """Types of BATCH_MATMUL together: one for all, or an int8 second input under a float32 first one."""
    first, second = node.input(0), node.input(1)
    dynamic = (first.dtype, second.dtype) == ("float32", "int8")
    if first.dtype != second.dtype and not dynamic:
        return _mixed(node, first.dtype, second.dtype, node.output().dtype)
    if dynamic:
        return None
    problem = value_problem(first) or value_problem(second)
    if problem:
        return Refusal("quantization", f"BATCH_MATMUL of tensors of which {problem}", "quantize the model again")
    if second.dtype != "int8":
        return None
    if len(second.scales) > 1 or second.zero_points[0]:
        reason = "int8 BATCH_MATMUL asks for a second input with one scale and the zero point 0"
        return Refusal("zero-point", reason, "keep it in float, or quantize the second input symmetrically")
    return None


def columns(node: Asked) -> int:
    """The dimension of the second input of BATCH_MATMUL along which its scales may run."""
    return len(node.input(1).shape) - (2 if node.option("AdjY", False) else 1)


def transposed(node: Asked) -> Refusal | None:
    """Check of TRANSPOSE_CONV: inputs are the shape of the output, weights, image and perhaps a bias."""
    size, weights, image = stored(node, 0), node.input(1), node.input(2)
    if size is None or len(size) != 4:
        return Refusal("rank", "TRANSPOSE_CONV to a shape that has not four dimensions", "convert the model again")
    if weights.shape[0] != size[3] or weights.shape[3] != image.shape[3]:
        return Refusal("options", "TRANSPOSE_CONV whose channels do not fit", "convert the model again")
    return _transposed_bias(node) or _transposed_sizes(node, [int(side) for side in size])


def _transposed_bias(node: Asked) -> Refusal | None:
    if not node.has(3):
        return None
    checks = (bias_types(3), ranked(1, 1, (3,)), static(3))
    return next(filter(None, (check(node) for check in checks)), None)


def _transposed_sizes(node: Asked, size: list[int]) -> Refusal | None:
    mend = "choose a kernel that is at least as large as the stride and an output of input times stride"
    for place, stride in ((1, node.option("StrideH")), (2, node.option("StrideW"))):
        kernel, image = node.input(1).shape[place], node.input(2).shape[place]
        fits = kernel <= size[place]
        if node.option("Padding") == 0:
            fits = -(-size[place] // stride) == image and kernel >= stride
        if not fits:
            reason = f"TRANSPOSE_CONV from {image} to {size[place]} with a kernel of {kernel}, stride {stride}"
            return Refusal("options", reason, mend)
    return None


def bias_fits(bias: int, weights: int = 1, by_channel: bool = True) -> Check:
    """A bias of the type that goes with the weights, and scales by channel for both or none."""

    def check(node: Asked) -> Refusal | None:
        if not node.has(bias):
            return None
        kind, scales = node.input(weights).dtype, node.input(weights).scales
        found = node.input(bias)
        integer = kind == "uint8" or node.output().dtype == "int8"
        fits = found.dtype == "int32" if integer else found.dtype in FLOAT
        if integer and (by_channel or kind == "uint8"):
            fits = fits and (len(found.scales) > 1) == (len(scales) > 1)
        reason = f"{node.operator.name} has {kind} weights with {len(scales)} scales and a {found.dtype} bias with"
        refusal = Refusal("mixed-types", f"{reason} {len(found.scales)}", "quantize the bias as the weights are")
        return None if fits else refusal

    return check
