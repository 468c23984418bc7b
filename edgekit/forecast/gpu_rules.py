"""What the GPU delegate asks of each operator: the checks of its `IsSupported`, by operator.

Source: tensorflow/lite/delegates/gpu/common/model_builder.cc (classes ...OperationParser) and
tensorflow/lite/tools/versioning/gpu_compatibility.cc (CheckGpuDelegateCompatibility, without enhanced broadcasting).
Versions and types are in `targets/operators/gpu.toml`. A rule returns the fault it finds, or None.
"""

from __future__ import annotations

from edgekit.forecast.node import RESHAPED, STATIC, Fault, Node, Rule
from edgekit.tflite.graph import Tensor

_FLOATS = ("float16", "float32")
_SIGN_BIT = "SIGN_BIT"


def reads(fed: int, constants: int | None = None, outputs: int = 1) -> Rule:
    """The operator has this many computed inputs, constants (None: any number) and outputs."""

    def rule(node: Node) -> Fault | None:
        found = (len(node.fed), len(node.constants), len(node.outputs))
        if found == (fed, found[1] if constants is None else constants, outputs):
            return None
        wanted = f"{fed} computed" + (f" and {constants} constant" if constants is not None else "")
        reason = f"{found[0]} computed and {found[1]} constant inputs; it takes {wanted}"
        if found[2] != outputs:
            reason = f"{found[2]} outputs; it takes {outputs}"
        return Fault("input-count", reason, STATIC)

    return rule


def two_operands(node: Node) -> Fault | None:
    """Two computed inputs, or a computed one and a constant."""
    return reads(2, 0)(node) and reads(1, 1)(node)


def counts(inputs: int, outputs: int | None = 1) -> Rule:
    """The operator has this many inputs in all, and outputs (None: any number)."""

    def rule(node: Node) -> Fault | None:
        if len(node.inputs) == inputs and outputs in (None, len(node.outputs)):
            return None
        return Fault("input-count", f"{len(node.inputs)} inputs; it takes {inputs}", RESHAPED)

    return rule


def convolution_inputs(node: Node) -> Fault | None:
    """Data, and weights that are constant or computed."""
    if not 1 <= len(node.fed) <= 2 or len(node.outputs) != 1 or (len(node.fed) == 1 and len(node.inputs) < 2):
        return Fault("input-count", f"{len(node.fed)} computed inputs: it takes 1 or 2", RESHAPED)
    return None


def activation(node: Node) -> Fault | None:
    """The fused activation is one the delegate has."""
    if node.operator.activation == _SIGN_BIT:
        return Fault("fused-activation", "the fused activation SIGN_BIT", "use RELU, RELU6 or TANH")
    return None


def positive(*options: str) -> Rule:
    """Strides, dilations and sizes are above zero."""

    def rule(node: Node) -> Fault | None:
        bad = [name for name in options if node.option(name) <= 0]
        return Fault("setting", f"{bad[0]} is {node.option(bad[0])}", "make the file again") if bad else None

    return rule


def block_size(node: Node) -> Fault | None:
    """A block is larger than 1."""
    if (size := node.option("BlockSize")) > 1:
        return None
    return Fault("setting", f"a block size of {size}", "leave the layer out: it changes nothing")


def depthwise_shapes(node: Node) -> Fault | None:
    """Everything has four dimensions, and the sizes agree with the depth multiplier."""
    data, weights, bias, result = node.input(0).shape, node.input(1).shape, node.input(2), node.output().shape
    if not len(data) == len(weights) == len(result) == 4:
        return Fault("too-many-dimensions", "input, weights and output have four dimensions each", RESHAPED)
    depth = result[3]
    agree = data[0] == result[0] and weights[3] == depth == data[3] * node.option("DepthMultiplier")
    if agree and (not bias.dtype or _elements(bias.shape) == depth):
        return None
    return Fault("shape", f"input {list(data)}, weights {list(weights)} and output {list(result)} do not agree")


def broadcast(node: Node) -> Fault | None:
    """Inputs of different ranks fit in one of the three ways that the delegate knows."""
    short, long = sorted((node.input(0).shape, node.input(1).shape), key=len)
    if len(short) <= 1 or len(short) == len(long) or _spreads(short, long):
        return None
    reason = f"{list(short)} and {list(long)} have different ranks, and the delegate does not broadcast them"
    return Fault("broadcast", reason, "give both the same rank, with dimensions of 1")


def _spreads(short: tuple[int, ...], long: tuple[int, ...]) -> bool:
    if len(long) != 4:
        return False
    if len(short) == 3:
        return long[0] == 1
    return (long[0] == 1 and short == (1, 1)) or short == (long[0], long[3])


def constant_axes(node: Node) -> Fault | None:
    """Axes are int32 constants."""
    axes = node.input(1)
    if axes.constant and axes.dtype == "int32":
        return None
    return Fault("constant-axes", "the axes are not an int32 constant", STATIC)


def cumsum(node: Node) -> Fault | None:
    """Floats, along a constant axis."""
    axis = node.input(1)
    same = node.output().dtype == node.input(0).dtype
    if node.input(0).dtype in _FLOATS and same and axis.constant and axis.dtype == "int32":
        return None
    return Fault("setting", "it takes float32 or float16 and a constant int32 axis", STATIC)


def cast(node: Node) -> Fault | None:
    """Between bool and float, or float32 and int32."""
    source, target = node.input(0).dtype, node.output().dtype
    if {source, target} <= {"float32", "int32"} or (source == "bool" and target in _FLOATS):
        return None
    if source in _FLOATS and target == "bool":
        return None
    return Fault("unsupported-type", f"a cast from {source} to {target}", "compute in float32 from there on")


def not_int16(node: Node) -> Fault | None:
    """Dequantized is from 8 bits or float16."""
    if node.input(0).dtype != "int16":
        return None
    return Fault("unsupported-type", "int16 is not dequantized", "use int8 or float16 instead of int16 activations")


def dense(node: Node) -> Fault | None:
    """Weights in the default format, data that are computed, and the rank of the input where ranks are kept."""
    if node.option("WeightsFormat"):
        return Fault("setting", "shuffled weights", "make the file again with the default weight format")
    if len(node.fed) > 2 or node.input(0).constant or not node.inputs:
        return Fault("input-count", "it takes a computed input, and constant weights or a constant bias", RESHAPED)
    if node.option("KeepNumDims") and len(node.input(0).shape) != len(node.output().shape):
        return Fault("shape", "it keeps the number of dimensions, and input and output differ in it", RESHAPED)
    return None


def indices(node: Node) -> Fault | None:
    """Indices are int32 and have one dimension."""
    if len(node.input(1).shape) == 1 and node.input(1).dtype == "int32":
        return None
    return Fault("shape", "it takes int32 indices of one dimension", RESHAPED)


def lstm(node: Node) -> Fault | None:
    """The basic kernel with tanh and a depth of fours; or the full one with 20 or 24 inputs."""
    if node.option("KernelType") == 0:
        fits = len(node.inputs) in (20, 24) and len(node.outputs) == 1
        fits &= node.operator.activation == "TANH"
        return None if fits else Fault("setting", "an LSTM with 20 or 24 inputs, one output and tanh is taken")
    depth = node.output(3).shape[-1:]
    fits = node.operator.activation == "TANH" and not node.option("CellClip") and not node.option("ProjClip")
    if not fits or (depth and depth[0] % 4):
        return Fault("setting", "a basic LSTM has tanh, no clipping, and a depth that is a multiple of 4")
    return reads(3, 2, 4)(node)


def reflects(node: Node) -> Fault | None:
    """Mirroring leaves out the border."""
    return Fault("setting", "mode SYMMETRIC", "pad with mode REFLECT") if node.option("Mode") else None


def paddings(node: Node) -> Fault | None:
    """Paddings for three or four dimensions."""
    if node.input(1).shape in ((3, 2), (4, 2)):
        return None
    return Fault("shape", f"paddings of shape {list(node.input(1).shape)}: it takes [3, 2] or [4, 2]", RESHAPED)


def one_hot(node: Node) -> Fault | None:
    """int32 indices with nothing between batch and channels, and constant scalar float values."""
    found, values, axis = node.input(0), (node.input(2), node.input(3)), node.option("Axis")
    inner = found.shape[:-1] if len(found.shape) <= 3 else found.shape[1:-1]
    scalars = all(value.constant and value.dtype == "float32" and _scalar(value) for value in values)
    last = axis == -1 or (bool(found.shape) and axis == found.shape[-1])
    if found.dtype == "int32" and last and scalars and all(size == 1 for size in inner):
        return None
    return Fault("setting", "it takes int32 indices [b, 1, 1, c], axis -1, and constant float values", RESHAPED)


def select(node: Node) -> Fault | None:
    """A condition that broadcasts, and two values that have the shape of the output or are scalar."""
    asked, out = node.input(0), node.output().shape
    fits = asked.dtype in ("bool", *_FLOATS) and len(asked.shape) <= len(out)
    fits &= all(size in (1, whole) for size, whole in zip(asked.shape[::-1], out[::-1], strict=False))
    if fits and all(_selects(value, out) for value in (node.input(1), node.input(2))):
        return None
    return Fault("shape", "the two values have the shape of the output, or are scalar", RESHAPED)


def _selects(value: Tensor, out: tuple[int, ...]) -> bool:
    if len(value.shape) == 2 and not value.constant:
        return False
    return value.shape == out or _scalar(value)


def sliced_ranks(node: Node) -> Fault | None:
    """Cut are three or four dimensions."""
    if len(node.input(0).shape) in (3, 4):
        return None
    return Fault("too-many-dimensions", "it cuts three or four dimensions only", RESHAPED)


def at_least(inputs: int) -> Rule:
    """The operator has no fewer inputs."""

    def rule(node: Node) -> Fault | None:
        if len(node.inputs) >= inputs:
            return None
        return Fault("input-count", f"{len(node.inputs)} inputs: it takes {inputs}", "make the file again")

    return rule


def no_masks(node: Node) -> Fault | None:
    """No mask that makes or removes dimensions."""
    for name in ("EllipsisMask", "NewAxisMask", "ShrinkAxisMask"):
        if node.option(name):
            return Fault("setting", f"{name} is set", "slice with ranges, as x[:, 0:1], and reshape after it")
    return None


def softmax(node: Node) -> Fault | None:
    """beta is 1."""
    beta = node.operator.options.get("Beta", 0.0)
    return None if beta == 1 else Fault("setting", f"beta is {beta}", "scale the input before the softmax")


def resize(node: Node) -> Fault | None:
    """Corners are aligned, or centers half a pixel off, not both."""
    if node.option("AlignCorners") and node.option("HalfPixelCenters"):
        return Fault("setting", "align_corners together with half_pixel_centers", "set one of the two")
    return None


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _scalar(tensor: Tensor) -> bool:
    return bool(tensor.dtype) and (not tensor.shape or (len(tensor.shape) == 1 and tensor.shape[0] <= 1))


_ONE = (reads(1),)
_ELEMENT = (reads(1, 0),)
_PAIR = (two_operands, activation)
_REDUCE = (reads(1, 1), constant_axes)
_POOL = (reads(1), positive("FilterHeight", "FilterWidth", "StrideH", "StrideW"), activation)
_WINDOW = ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor")
_PAD = (reads(1), paddings)
_CUT = (sliced_ranks,)

RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(
        ("ABS", "COS", "ELU", "EXP", "FLOOR", "GELU", "LOG", "LOGISTIC", "NEG", "RSQRT", "SIGN", "SIN", "SQRT"),
        _ELEMENT,
    ),
    **dict.fromkeys(("SQUARE", "TANH"), _ELEMENT),
    **dict.fromkeys(("DIV", "SUB"), _PAIR),
    **dict.fromkeys(
        ("FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE"), (two_operands,)
    ),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"), _REDUCE),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _POOL),
    **dict.fromkeys(("PAD", "PADV2"), _PAD),
    **dict.fromkeys(("SELECT", "SELECT_V2"), (counts(3), select)),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), (*_ONE, block_size)),
    **dict.fromkeys(("HARD_SWISH", "QUANTIZE", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "TILE", "TRANSPOSE"), _ONE),
    "ADD": (counts(2, None), broadcast),
    "ADD_N": (counts(2, None),),
    "BATCH_MATMUL": (counts(2),),
    "CAST": (*_ONE, cast),
    "CONV_2D": (convolution_inputs, positive(*_WINDOW), activation),
    "CUMSUM": (counts(2), cumsum),
    "DENSIFY": (reads(0),),
    "DEPTHWISE_CONV_2D": (convolution_inputs, positive(*_WINDOW), activation, depthwise_shapes),
    "DEQUANTIZE": (counts(1), not_int16),
    "FULLY_CONNECTED": (dense,),
    "GATHER": (two_operands, indices),
    "LSTM": (lstm,),
    "MIRROR_PAD": (reflects, *_PAD),
    "MUL": (counts(2, None), broadcast, activation),
    "ONE_HOT": (counts(4), one_hot),
    "RESIZE_BILINEAR": (*_ONE, resize),
    "SLICE": (at_least(3), *_CUT),
    "SOFTMAX": (softmax,),
    "STRIDED_SLICE": (no_masks, at_least(4), *_CUT),
    "TRANSPOSE_CONV": (convolution_inputs, positive("StrideH", "StrideW")),
}
