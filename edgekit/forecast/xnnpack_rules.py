"""Which operators the XNNPACK delegate takes, as a table: operator -> counts, checks, and what its kernel asks on top.

Facts from LiteRT 2.3 (main of 2026-08-21), tflite/delegates/xnnpack/xnnpack_delegate.cc; `visitor` names the function
there. Its options are those of the Python package: int8 and uint8 on, fully connected layers with computed weights off.
"""

from __future__ import annotations

from typing import NamedTuple

from edgekit.forecast.xnnpack_checks import (
    FLOAT,
    FLOAT32_Q8,
    FLOAT_Q8,
    FLOAT_S8,
    MOST_DIMENSIONS,
    Q8,
    Check,
    activation,
    numbers,
    padding,
    positive,
    product_ratio,
    ranked,
    ratio,
    same_types,
    static,
    types,
    window,
)
from edgekit.forecast.xnnpack_layers import (
    bias_fits,
    bias_of_filter,
    bias_types,
    columns,
    convolution,
    dense,
    dense_bias,
    dense_version,
    dense_weights,
    depthwise,
    filter_types,
    matrices,
    multiplied,
    requantized,
    transposed,
)
from edgekit.forecast.xnnpack_operators import (
    attention,
    beta,
    block,
    blocks_fit,
    cut,
    joined,
    moves,
    new_shape,
    new_size,
    new_width,
    no_scalar,
    paddings,
    parts,
    reduced_axes,
    requantize,
    slopes,
    strided_cut,
    variable_shape,
)

_ANY_RANK = (0, MOST_DIMENSIONS)
_ONE = (1, 1)
_STRIDES = ("StrideW", "StrideH")
_DILATIONS = ("DilationWFactor", "DilationHFactor")


class Rule(NamedTuple):
    """What is asked of one operator; `reads` are the inputs that become values of XNNPACK's graph, all unless told."""

    visitor: str
    inputs: tuple[int, int]
    checks: tuple[Check, ...]
    outputs: tuple[int, int] = _ONE
    kernel: tuple[Check, ...] = ()
    reads: tuple[int, ...] | None = None


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
    checks = (types(FLOAT_Q8), numbers(1), reduced_axes)
    return Rule("VisitReduceNode", (2, 2), checks, reads=(0,))


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
    "LEAKY_RELU": _unary(FLOAT_Q8, slopes),
    "DEQUANTIZE": Rule("VisitUnaryNode", _ONE, (ranked(*_ANY_RANK), types(Q8, (0,), ()), types(FLOAT, (), (0,)))),
    "QUANTIZE": Rule("VisitUnaryNode", _ONE, (ranked(*_ANY_RANK), types(FLOAT_Q8), requantize)),
    **dict.fromkeys(("ADD", "SUB"), _binary(FLOAT_Q8, same_types(0, 1), ratio((0, 1), 1 / 1024, 256.0), activation)),
    "MUL": _binary(FLOAT_Q8, same_types(0, 1), product_ratio(1 / 65536, 256.0), activation),
    "DIV": _binary(FLOAT, activation),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), _binary(FLOAT)),
    "PRELU": _binary(FLOAT, static(1)),
    "AVERAGE_POOL_2D": _pooling("VisitAveragePool2DNode", FLOAT, FLOAT, same_types(0)),
    "MAX_POOL_2D": _pooling("VisitMaxPool2DNode", FLOAT32_Q8, FLOAT_Q8, moves(0)),
    "BATCH_MATMUL": Rule(
        "VisitBatchMatMulNode",
        (2, 2),
        (types(FLOAT_Q8), filter_types(columns), ranked(2, MOST_DIMENSIONS, (0, 1)), matrices),
        kernel=(types(FLOAT_S8),),
    ),
    "CONCATENATION": Rule("VisitConcatenationNode", (2, 5), (types(FLOAT_Q8, ()), joined), kernel=(moves(),)),
    "CONV_2D": _convolutional(
        "VisitConv2DNode", 0, (positive(*_STRIDES, *_DILATIONS), convolution), bias_fits(2), requantized
    ),
    "DEPTHWISE_CONV_2D": _convolutional(
        "VisitDepthwiseConv2DNode",
        3,
        (positive(*_STRIDES, *_DILATIONS, "DepthMultiplier"), depthwise),
        bias_fits(2),
        multiplied,
        requantized,
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
            transposed,
            activation,
        ),
        kernel=(bias_fits(3), lambda node: requantized(node, 2)),
        reads=(1, 2, 3),
    ),
    "FULLY_CONNECTED": Rule(
        "VisitFullyConnectedNode",
        (2, 3),
        (
            dense_version,
            types(FLOAT_Q8),
            ranked(2, 2, (1,)),
            dense_weights,
            static(1),
            dense_bias,
            dense,
            activation,
        ),
        kernel=(bias_fits(2, by_channel=False), requantized),
    ),
    "DEPTH_TO_SPACE": Rule("VisitDepthToSpaceNode", _ONE, (types(FLOAT_Q8), block), kernel=(moves(0),)),
    "SPACE_TO_DEPTH": Rule(
        "VisitSpaceToDepthNode",
        _ONE,
        (types(FLOAT32_Q8, (0,), ()), types(FLOAT_Q8, ()), block, blocks_fit),
        kernel=(moves(0),),
    ),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction()),
    "PAD": Rule(
        "VisitPadNode",
        (2, 2),
        (types(FLOAT_Q8), ranked(1, MOST_DIMENSIONS, (0,), (0,)), numbers(1, most_dimensions=2), paddings),
        kernel=(moves(0),),
        reads=(0,),
    ),
    "RESHAPE": Rule(
        "VisitReshapeNode",
        (1, 2),
        (types(FLOAT_Q8), ranked(*_ANY_RANK, (0,), (0,)), new_shape),
        kernel=(moves(0),),
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
            new_size,
        ),
        kernel=(moves(0), new_width),
        reads=(0,),
    ),
    "SLICE": Rule(
        "VisitSliceNode",
        (3, 3),
        (numbers(1, 2, kinds=("int32", "int64")), types(FLOAT_Q8), cut),
        kernel=(moves(0),),
        reads=(0,),
    ),
    "STRIDED_SLICE": Rule(
        "VisitStridedSliceNode",
        (4, 4),
        (types(FLOAT_Q8), numbers(1, 2, 3), strided_cut),
        kernel=(moves(0),),
        reads=(0,),
    ),
    "SOFTMAX": Rule("VisitSoftmaxNode", _ONE, (types(FLOAT), beta), kernel=(same_types(0), no_scalar)),
    "SPLIT": Rule("VisitSplitNode", (2, 2), (parts,), (2, 4), kernel=(moves(1),), reads=(1,)),
    "TRANSPOSE": Rule(
        "VisitTransposeNode",
        (2, 2),
        (
            types(FLOAT_Q8, (0,), ()),
            ranked(1, MOST_DIMENSIONS),
            numbers(1, most_dimensions=None, kinds=("int32", "int64")),
        ),
        kernel=(moves(0), numbers(1, most_dimensions=None)),
        reads=(0,),
    ),
    **dict.fromkeys(
        ("STABLEHLO_COMPOSITE", "odml.scaled_dot_product_attention"),
        Rule("VisitDotAttentionNode", (3, 4), (types(("float32",), (0, 1, 2)), attention)),
    ),
    "READ_VARIABLE": Rule("VisitReadVariableNode", _ONE, (variable_shape, types(FLOAT_Q8, ()))),
    "ASSIGN_VARIABLE": Rule("VisitAssignVariableNode", (2, 2), (types(FLOAT_Q8, (1,), ()),), (0, 0)),
}
