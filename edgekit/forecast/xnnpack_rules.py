"""Which operators the XNNPACK delegate takes, as a table: operator -> counts, checks, and what its kernel asks on top.

Facts from LiteRT 2.3 (main of 2026-08-21), tflite/delegates/xnnpack/xnnpack_delegate.cc; `visitor` names the function
there. Its options are those of the Python package: int8 and uint8 on, fully connected layers with computed weights off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgekit.forecast.xnnpack_checks import (
    FLOAT,
    FLOAT32_Q8,
    FLOAT_Q8,
    FLOAT_S8,
    MOST_DIMENSIONS,
    Q8,
    Check,
    Node,
    Refusal,
    activation,
    bias_of_filter,
    bias_types,
    filter_types,
    normal,
    numbers,
    padding,
    positive,
    product_ratio,
    quotient,
    ranked,
    ratio,
    same_types,
    scale,
    scale_refusal,
    static,
    stored,
    types,
    window,
    zero_point,
)

_ANY_RANK = (0, MOST_DIMENSIONS)
_ONE = (1, 1)
_STRIDES = ("StrideW", "StrideH")
_DILATIONS = ("DilationWFactor", "DilationHFactor")


class Rule(NamedTuple):
    """What is asked of one operator, in the order of the delegate; `reads` are the inputs that become XNNPACK values."""

    visitor: str
    inputs: tuple[int, int]
    checks: tuple[Check, ...]
    outputs: tuple[int, int] = _ONE
    kernel: tuple[Check, ...] = ()
    reads: tuple[int, ...] | None = None


def _leaky_relu(node: Node) -> Refusal | None:
    alpha = node.option("Alpha")
    if not normal(alpha):
        return Refusal("options", f"LEAKY_RELU has alpha = {alpha}", "use RELU for a slope of zero")
    tensors = node.input(0), node.output()
    if any(tensor.dtype not in Q8 or not normal(tensor.scales[0]) for tensor in tensors):
        return None
    above = quotient(tensors[0].scales[0], tensors[1].scales[0])
    below = float(np.float32(above) * np.float32(alpha))
    fits = 1 / 256 <= above <= 128 and -127.99609375 <= below <= 128 and abs(below) >= 1 / 256
    return None if fits else scale_refusal(node, above)


def _requantize(node: Node) -> Refusal | None:
    first, last = node.input(0), node.output()
    if first.dtype in FLOAT:
        return None
    if first.dtype != last.dtype:
        reason = f"XNNPACK has no QUANTIZE from {first.dtype} to {last.dtype}"
        return Refusal("mixed-types", reason, "make the input and output of the model of the type that is used inside")
    found = quotient(first.scales[0], last.scales[0])
    return scale_refusal(node, found if found < 1 / 256 or found > 128 else None)


def _concatenation(node: Node) -> Refusal | None:
    inputs, out = [node.input(place) for place in range(len(node.operator.inputs))], node.output()
    if any(node.option("Axis") >= len(tensor.shape) for tensor in inputs):
        return Refusal("axis", "CONCATENATION along a dimension that an input has not", "write the file again")
    found = types(FLOAT_Q8, range(len(inputs)), ())(node)
    if found or out.dtype != "uint8":
        return found
    unlike = any((scale(tensor), zero_point(tensor)) != (scale(out), zero_point(out)) for tensor in inputs)
    return _unlike_scales(node) if unlike else None


def _unlike_scales(node: Node) -> Refusal:
    reason = f"{node.operator.name} only moves values, but its input and output have different scales or zero points"
    return Refusal("quantization", reason, "quantize again; the quantizer has to give both the same parameters")


def _convolution(node: Node) -> Refusal | None:
    first, weights, out = node.input(0), node.input(1), node.output()
    dynamic = (first.dtype, weights.dtype) == ("float32", "int8")
    if first.dtype != out.dtype or (first.dtype != weights.dtype and not dynamic):
        return _mixed(node, first.dtype, weights.dtype, out.dtype)
    if first.shape[3] // weights.shape[3] == 0:
        reason = f"CONV_2D has {first.shape[3]} channels and weights for {weights.shape[3]}"
        return Refusal("options", reason, "write the file again")
    return None


def _mixed(node: Node, first: str, weights: str, out: str) -> Refusal:
    reason = f"XNNPACK has no {node.operator.name} of {first} with {weights} weights to {out}"
    return Refusal("mixed-types", reason, "quantize the whole layer, or keep it in float")


def _multiplied(node: Node) -> Refusal | None:
    channels, multiplier = node.input(0).shape[3], node.option("DepthMultiplier")
    if channels * multiplier == node.input(1).shape[3]:
        return None
    reason = f"DEPTHWISE_CONV_2D has {channels} channels, the multiplier {multiplier} and other weights"
    return Refusal("options", reason, "write the file again")


def _requantized(node: Node, image: int = 0) -> Refusal | None:
    """Kernels of 8-bit layers: scale of the input times that of the weights is below 256 times that of the output."""
    first, weights, out = node.input(image), node.input(1), node.output()
    if first.dtype not in Q8 or not weights.scales:
        return None
    with np.errstate(all="ignore"):
        product = float(np.float32(first.scales[0]) * np.float32(max(weights.scales)))
    found = quotient(product, out.scales[0])
    return scale_refusal(node, found if found >= 256 else None)


def _depthwise(node: Node) -> Refusal | None:
    first, weights, out = node.input(0), node.input(1), node.output()
    if len({first.dtype, weights.dtype, out.dtype}) > 1:
        found = _mixed(node, first.dtype, weights.dtype, out.dtype)
        dynamic = (first.dtype, weights.dtype) == ("float32", "int8")
        return found._replace(mend="use full int8: dynamic-range depthwise is not in XNNPACK") if dynamic else found
    if weights.shape[3] % node.option("DepthMultiplier"):
        return Refusal("options", "the channels are no multiple of the depth multiplier", "write the file again")
    return None


def _dense_version(node: Node) -> Refusal | None:
    if node.operator.version == 8:
        return Refusal("version", "XNNPACK leaves FULLY_CONNECTED of version 8", "convert with another version")
    if node.option("WeightsFormat"):
        return Refusal("options", "FULLY_CONNECTED with shuffled weights", "convert again, with the default format")
    return None


_PACKED = ("int4", "int8")


def _dense_weights(node: Node) -> Refusal | None:
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


def _dense_bias(node: Node) -> Refusal | None:
    if not node.has(2):
        return None
    if int(np.prod(node.input(2).shape, dtype=np.float64)) != node.input(1).shape[0]:
        return Refusal("options", "the bias of FULLY_CONNECTED has another length than its output", "write it again")
    checks = (bias_types(), static(2), bias_of_filter())
    return next(filter(None, (check(node) for check in checks)), None)


def _dense(node: Node) -> Refusal | None:
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


def _matmul(node: Node) -> Refusal | None:
    first, second = node.input(0), node.input(1)
    dynamic = (first.dtype, second.dtype) == ("float32", "int8")
    if first.dtype != second.dtype and not dynamic:
        return _mixed(node, first.dtype, second.dtype, node.output().dtype)
    if dynamic or second.dtype != "int8":
        return None
    if len(second.scales) > 1 or second.zero_points[0]:
        reason = "int8 BATCH_MATMUL asks for a second input with one scale and the zero point 0"
        return Refusal("zero-point", reason, "keep it in float, or quantize the second input symmetrically")
    return None


def _columns(node: Node) -> int:
    return len(node.input(1).shape) - (2 if node.option("AdjY", False) else 1)


def _reduced_axes(node: Node) -> Refusal | None:
    axes = stored(node, 1)
    count = 0 if axes is None else len(axes)
    if 0 < count <= MOST_DIMENSIONS and (count > 1 or axes[0] or node.input(0).shape):
        return None
    return Refusal("axis", f"{node.operator.name} over {count} dimensions of {len(node.input(0).shape)}", "remove it")


def _paddings(node: Node) -> Refusal | None:
    if node.input(1).shape != (len(node.input(0).shape), 2):
        return Refusal("rank", "PAD lacks a pair of paddings for each dimension", "write the file again")
    values = stored(node, 1)
    if values is not None and values.min(initial=0) < 0:
        return Refusal("options", "PAD by a negative number", "use SLICE to cut")
    return None


def _new_shape(node: Node) -> Refusal | None:
    first, out = node.input(0), node.output()
    if out.dtype in Q8 and (scale(first), zero_point(first)) != (scale(out), zero_point(out)):
        return _unlike_scales(node)
    if len(node.operator.inputs) == 1:
        return _flat(node.option("NewShape", ()))
    found = numbers(1, most_dimensions=None)(node)
    if found or any(size != 1 for size in node.input(1).shape[:-1]):
        return found or Refusal("rank", "RESHAPE to a shape that is no vector", "write the file again")
    return _flat(() if (values := stored(node, 1)) is None else values.tolist())


def _flat(shape: tuple[int, ...] | list[int]) -> Refusal | None:
    if list(shape) != [-1]:
        return None
    return Refusal("options", "RESHAPE to [-1]", "name the number of values, and fix the batch")


def _new_size(node: Node) -> Refusal | None:
    values = stored(node, 1)
    if values is not None and len(values) == 2 and values[0] > 0:
        return None
    return Refusal("options", "RESIZE_BILINEAR to no size", "write the file again")


def _new_width(node: Node) -> Refusal | None:
    values = stored(node, 1)
    if values is not None and values[1] > 0:
        return None
    return Refusal("options", "RESIZE_BILINEAR to no width", "write the file again")


def _slice(node: Node) -> Refusal | None:
    begin, size = stored(node, 1), stored(node, 2)
    if begin is None or size is None or len(begin) != len(size) or len(size) > MOST_DIMENSIONS:
        return Refusal("options", "SLICE whose begin and size do not fit", "write the file again")
    if begin.min(initial=0) < 0:
        return Refusal("options", "SLICE from a negative place", "count from the start")
    if size.min(initial=1) > 0:
        return None
    return Refusal("options", "SLICE to the end (a size of -1) or to nothing", "name the size in numbers")


def _strided_slice(node: Node) -> Refusal | None:
    masks = [name for name in ("EllipsisMask", "NewAxisMask", "ShrinkAxisMask") if node.option(name)]
    if masks:
        mend = "slice with start:stop and reshape afterwards, in place of x[i], x[..., i] or x[:, None]"
        return Refusal("options", f"STRIDED_SLICE with {masks[0]}; XNNPACK only cuts", mend)
    lengths = {node.input(place).shape for place in (1, 2, 3)}
    if lengths != {(len(node.input(0).shape),)}:
        return Refusal("rank", "STRIDED_SLICE names not every dimension", "name start:stop for each dimension")
    steps = stored(node, 3)
    if steps is None or (steps != 1).any():
        return Refusal("stride", "STRIDED_SLICE in steps", "slice without steps; a strided convolution can subsample")
    return None


def _beta(node: Node) -> Refusal | None:
    if node.option("Beta") == 1:
        return None
    return Refusal("options", f"SOFTMAX with beta = {node.option('Beta')}", "scale the logits before it")


def _block(node: Node) -> Refusal | None:
    if node.option("BlockSize") > 1:
        return None
    return Refusal("options", f"{node.operator.name} with blocks of {node.option('BlockSize')}", "remove it")


def _blocks_fit(node: Node) -> Refusal | None:
    shape, size = node.input(0).shape, node.option("BlockSize")
    if len(shape) > 2 and not shape[1] % size and not shape[2] % size:
        return None
    return Refusal("options", "SPACE_TO_DEPTH of a size that is no multiple of the block", "pad the image before")


def _split(node: Node) -> Refusal | None:
    outputs = len(node.operator.outputs)
    if node.option("NumSplits") != outputs:
        return Refusal("options", "SPLIT counts its outputs wrongly", "write the file again")
    return numbers(0, most_dimensions=None)(node) or types(FLOAT_Q8, (1,), range(outputs))(node)


def _transposed(node: Node) -> Refusal | None:
    """Check of TRANSPOSE_CONV: inputs are the shape of the output, weights, image and perhaps a bias."""
    size, weights, image = stored(node, 0), node.input(1), node.input(2)
    if size is None or len(size) != 4:
        return Refusal("rank", "TRANSPOSE_CONV to a shape that has not four dimensions", "write the file again")
    if weights.shape[0] != size[3] or weights.shape[3] != image.shape[3]:
        return Refusal("options", "TRANSPOSE_CONV whose channels do not fit", "write the file again")
    return _transposed_bias(node) or _transposed_sizes(node, [int(side) for side in size])


def _transposed_bias(node: Node) -> Refusal | None:
    if not node.has(3):
        return None
    checks = (bias_types(3), ranked(1, 1, (3,)), static(3))
    return next(filter(None, (check(node) for check in checks)), None)


def _transposed_sizes(node: Node, size: list[int]) -> Refusal | None:
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


def _attention(node: Node) -> Refusal | None:
    """Check of the composite odml.scaled_dot_product_attention: query, key, value and perhaps a mask."""
    if node.operator.options.get("Name", node.operator.name) != "odml.scaled_dot_product_attention":
        return Refusal("operator", f"XNNPACK has no composite {node.option('Name', '')}", "use its parts instead")
    shapes = [node.input(place).shape for place in range(len(node.operator.inputs))]
    fits = all(shapes) and len({shape[-1] for shape in shapes[:3]}) == 1
    if fits and len(shapes) > 3:
        fits = all(len(shape) > 1 and shape[1] == shapes[3][-1] for shape in shapes[1:3])
    return None if fits else Refusal("options", "attention whose shapes do not fit", "write the file again")


def _read_variable(node: Node) -> Refusal | None:
    if node.output().shape:
        return None
    return Refusal("rank", "READ_VARIABLE of a variable without dimensions", "give the state a fixed shape")


def _moves(*places: int) -> Check:
    """Kernels that move values: one type, and 8-bit tensors of one scale and zero point. No places: all inputs."""

    def check(node: Node) -> Refusal | None:
        inputs = [node.input(place) for place in places or range(len(node.operator.inputs))]
        outputs = [node.output(place) for place in range(len(node.operator.outputs))]
        for first in inputs:
            for out in outputs:
                if first.dtype != out.dtype:
                    reason = f"{node.operator.name} of {first.dtype} to {out.dtype}"
                    return Refusal("mixed-types", reason, "write the file again: it changes no values")
                if out.dtype in Q8 and (first.scales, first.zero_points) != (out.scales, out.zero_points):
                    return _unlike_scales(node)
        return None

    return check


def _unary(allowed: tuple[str, ...], *more: Check) -> Rule:
    return Rule("VisitUnaryNode", _ONE, (ranked(*_ANY_RANK), types(allowed), *more), kernel=(same_types(0),))


def _binary(allowed: tuple[str, ...], *more: Check) -> Rule:
    checks = (ranked(*_ANY_RANK, (0, 1)), types(allowed, (0, 1)), *more)
    return Rule("VisitBinaryNode", (2, 2), checks, kernel=(same_types(0, 1),))


def _pooling(visitor: str, inputs: tuple[str, ...], outputs: tuple[str, ...], *kernel: Check) -> Rule:
    options = (positive(*_STRIDES, "FilterWidth", "FilterHeight"), window, padding, activation)
    checks = (types(inputs, (0,), ()), types(outputs, (), (0,)), *options)
    return Rule(visitor, _ONE, checks, kernel=kernel)


def _reduction() -> Rule:
    checks = (types(FLOAT_Q8), numbers(1), _reduced_axes)
    return Rule("VisitReduceNode", (2, 2), checks, reads=(0,))


def _bias_fits(bias: int, weights: int = 1, by_channel: bool = True) -> Check:
    """A bias of the type that goes with the weights, and scales by channel for both or none."""

    def check(node: Node) -> Refusal | None:
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


def _convolutional(visitor: str, axis: int, more: tuple[Check, ...], *kernel: Check) -> Rule:
    data = (types(FLOAT_Q8, (0,), (0,)), ranked(4, 4, (0, 1), (0,)))
    parameters = (filter_types(lambda node: axis), static(1, 2), bias_types(), ranked(1, 1, (2,)), bias_of_filter())
    return Rule(visitor, (3, 3), (*data, *parameters, *more, padding, activation), kernel=kernel)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"),
        _unary(FLOAT),
    ),
    **dict.fromkeys(("ROUND", "RSQRT", "SIN", "SQRT", "SQUARE"), _unary(FLOAT)),
    **dict.fromkeys(("LOGISTIC", "TANH"), _unary(FLOAT_Q8)),
    "ELU": _unary(FLOAT_S8),
    "LEAKY_RELU": _unary(FLOAT_Q8, _leaky_relu),
    "DEQUANTIZE": Rule("VisitUnaryNode", _ONE, (ranked(*_ANY_RANK), types(Q8, (0,), ()), types(FLOAT, (), (0,)))),
    "QUANTIZE": Rule("VisitUnaryNode", _ONE, (ranked(*_ANY_RANK), types(FLOAT_Q8), _requantize)),
    **dict.fromkeys(("ADD", "SUB"), _binary(FLOAT_Q8, same_types(0, 1), ratio((0, 1), 1 / 1024, 256.0), activation)),
    "MUL": _binary(FLOAT_Q8, same_types(0, 1), product_ratio(1 / 65536, 256.0), activation),
    "DIV": _binary(FLOAT, activation),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), _binary(FLOAT)),
    "PRELU": _binary(FLOAT, static(1)),
    "AVERAGE_POOL_2D": _pooling("VisitAveragePool2DNode", FLOAT, FLOAT, same_types(0)),
    "MAX_POOL_2D": _pooling("VisitMaxPool2DNode", FLOAT32_Q8, FLOAT_Q8, _moves(0)),
    "BATCH_MATMUL": Rule(
        "VisitBatchMatMulNode",
        (2, 2),
        (types(FLOAT_Q8), filter_types(_columns), ranked(2, MOST_DIMENSIONS, (0, 1)), _matmul),
    ),
    "CONCATENATION": Rule("VisitConcatenationNode", (2, 5), (types(FLOAT_Q8, ()), _concatenation), kernel=(_moves(),)),
    "CONV_2D": _convolutional(
        "VisitConv2DNode", 0, (positive(*_STRIDES, *_DILATIONS), _convolution), _bias_fits(2), _requantized
    ),
    "DEPTHWISE_CONV_2D": _convolutional(
        "VisitDepthwiseConv2DNode",
        3,
        (positive(*_STRIDES, *_DILATIONS, "DepthMultiplier"), _depthwise),
        _bias_fits(2),
        _multiplied,
        _requantized,
    ),
    "TRANSPOSE_CONV": Rule(
        "VisitTransposeConvNode",
        (3, 4),
        (
            numbers(0),
            ranked(4, 4, (1, 2), (0,)),
            static(1),
            types(FLOAT32_Q8, (2,)),
            filter_types(lambda node: 0),
            positive(*_STRIDES),
            padding,
            _transposed,
            activation,
        ),
        kernel=(_bias_fits(3), lambda node: _requantized(node, 2)),
        reads=(1, 2, 3),
    ),
    "FULLY_CONNECTED": Rule(
        "VisitFullyConnectedNode",
        (2, 3),
        (
            _dense_version,
            types(FLOAT_Q8),
            ranked(2, 2, (1,)),
            _dense_weights,
            static(1),
            _dense_bias,
            _dense,
            activation,
        ),
        kernel=(_bias_fits(2, by_channel=False), _requantized),
    ),
    "DEPTH_TO_SPACE": Rule("VisitDepthToSpaceNode", _ONE, (types(FLOAT_Q8), _block), kernel=(_moves(0),)),
    "SPACE_TO_DEPTH": Rule(
        "VisitSpaceToDepthNode",
        _ONE,
        (types(FLOAT32_Q8, (0,), ()), types(FLOAT_Q8, ()), _block, _blocks_fit),
        kernel=(_moves(0),),
    ),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction()),
    "PAD": Rule(
        "VisitPadNode",
        (2, 2),
        (types(FLOAT_Q8), ranked(1, MOST_DIMENSIONS, (0,), (0,)), numbers(1, most_dimensions=2), _paddings),
        kernel=(_moves(0),),
        reads=(0,),
    ),
    "RESHAPE": Rule(
        "VisitReshapeNode",
        (1, 2),
        (types(FLOAT_Q8), ranked(*_ANY_RANK, (0,), (0,)), _new_shape),
        kernel=(_moves(0),),
        reads=(0,),
    ),
    "RESIZE_BILINEAR": Rule(
        "VisitResizeBilinearNode",
        (2, 2),
        (
            types(FLOAT32_Q8, (0,), ()),
            types(FLOAT_Q8, ()),
            ranked(4, 4, (0,), (0,)),
            numbers(1),
            _new_size,
        ),
        kernel=(_moves(0), _new_width),
        reads=(0,),
    ),
    "SLICE": Rule(
        "VisitSliceNode",
        (3, 3),
        (numbers(1, 2, kinds=("int32", "int64")), types(FLOAT_Q8), _slice),
        kernel=(_moves(0),),
        reads=(0,),
    ),
    "STRIDED_SLICE": Rule(
        "VisitStridedSliceNode",
        (4, 4),
        (types(FLOAT_Q8), numbers(1, 2, 3), _strided_slice),
        kernel=(_moves(0),),
        reads=(0,),
    ),
    "SOFTMAX": Rule("VisitSoftmaxNode", _ONE, (types(FLOAT), _beta), kernel=(same_types(0),)),
    "SPLIT": Rule("VisitSplitNode", (2, 2), (_split,), (2, 4), kernel=(_moves(1),), reads=(1,)),
    "TRANSPOSE": Rule(
        "VisitTransposeNode",
        (2, 2),
        (
            types(FLOAT_Q8, (0,), ()),
            ranked(1, MOST_DIMENSIONS),
            numbers(1, most_dimensions=None, kinds=("int32", "int64")),
        ),
        kernel=(_moves(0), numbers(1, most_dimensions=None)),
        reads=(0,),
    ),
    **dict.fromkeys(
        ("STABLEHLO_COMPOSITE", "odml.scaled_dot_product_attention"),
        Rule("VisitDotAttentionNode", (3, 4), (types(("float32",), (0, 1, 2)), _attention)),
    ),
    "READ_VARIABLE": Rule("VisitReadVariableNode", _ONE, (_read_variable, types(FLOAT_Q8, ()))),
    "ASSIGN_VARIABLE": Rule("VisitAssignVariableNode", (2, 2), (types(FLOAT_Q8, (1,), ()),), (0, 0)),
}
