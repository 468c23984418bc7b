"""Which rewrites make a file faster under XNNPACK, as a table: operator -> rules, each with its reason and source.

Sources are functions of LiteRT 2.3 where nothing else is named
(https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc), and the XNNPACK that
it holds. A rule is tried on operators that the forecast says XNNPACK leaves, or, where it is not about that, on all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from edgekit.surgery.activations import hard_swish, relu
from edgekit.surgery.affine import scale_and_shift
from edgekit.surgery.convolutions import in_bands
from edgekit.surgery.edit import Edit
from edgekit.surgery.islands import FLOAT_ONLY, island
from edgekit.surgery.moves import joined_in_steps, stride_for_pooling
from edgekit.surgery.padding import padding_of_layer
from edgekit.surgery.pooling import weighted
from edgekit.surgery.weights import unpacked


class Rule(NamedTuple):
    """A rewrite: `change` edits the graph around one operator and says whether it did.

    What it may change beyond the rounding of the arithmetic is in the docstring of `change`. A rule `everywhere` does
    not wait for the operator to be left by XNNPACK.
    """

    name: str
    operators: frozenset[str]
    change: Callable[[Edit, Any], bool]
    becomes: str
    reason: str
    everywhere: bool = False


RULES: tuple[Rule, ...] = (
    # VisitUnaryNode
    Rule(
        "relu-as-scale",
        frozenset({"RELU", "RELU6"}),
        relu,
        "QUANTIZE",
        "XNNPACK has no int8 RELU, and an int8 grid that starts at zero is one",
    ),
    # VisitUnaryNode
    Rule(
        "hard-swish-as-product",
        frozenset({"HARD_SWISH"}),
        hard_swish,
        "ADD and MUL",
        "XNNPACK has no int8 HARD_SWISH",
    ),
    # CheckPoolingParams
    Rule(
        "stride-for-pooling",
        frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"}),
        stride_for_pooling,
        "the stride of the next convolution",
        "XNNPACK has no pooling with a stride above its window",
    ),
    # VisitAveragePool2DNode, CheckPoolingParams
    Rule(
        "pooling-as-weights",
        frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"}),
        weighted,
        "DEPTHWISE_CONV_2D",
        "XNNPACK has no int8 AVERAGE_POOL_2D, and no pooling with a stride above its window",
    ),
    # VisitConcatenationNode
    Rule(
        "joined-in-steps",
        frozenset({"CONCATENATION"}),
        joined_in_steps,
        "two of at most 5",
        "XNNPACK joins at most 5 tensors at a time",
    ),
    # https://github.com/google/XNNPACK/blob/master/src/configs/dwconv-config.c
    Rule(
        "window-in-bands",
        frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"}),
        in_bands,
        "a sum of smaller DEPTHWISE_CONV_2D",
        "the depthwise kernels of XNNPACK end at 25 weights a window; above, it runs at a fifth of the speed",
        everywhere=True,
    ),
    # VisitDepthwiseConv2DNode, PrepareOpsToDelegate
    Rule(
        "unpacked-weights",
        frozenset({"DEPTHWISE_CONV_2D"}),
        unpacked,
        "weights unpacked at the start",
        "XNNPACK has no depthwise convolution of float data with int8 weights, but unpacks constants when it starts",
    ),
    # VisitUnaryNode, VisitBinaryNode, VisitAveragePool2DNode, VisitSoftmaxNode, VisitBatchMatMul
    Rule(
        "float-island",
        FLOAT_ONLY,
        island,
        "float32 between casts",
        "XNNPACK has it in float32 only (BATCH_MATMUL: or with a second matrix of zero point 0), and outside of it "
        "it would cut the graph in two",
    ),
    # https://github.com/google/XNNPACK/blob/master/src/configs/binary-elementwise-config.c
    Rule(
        "scale-and-shift",
        frozenset({"MUL"}),
        scale_and_shift,
        "DEPTHWISE_CONV_2D, with the ADD behind it",
        "one kernel with an accumulator of 32 bits takes two thirds of the time of two that round to 8 bits",
        everywhere=True,
    ),
    # CalculatePadding
    Rule(
        "padding-of-layer",
        frozenset({"PAD"}),
        padding_of_layer,
        "the padding of the layer behind it",
        "a convolution reads zeros around an image without a copy of it",
        everywhere=True,
    ),
)
