"""What the XNNPACK delegate asks of single operators without weights, beyond types and dimensions.

Conditions of the visitors in LiteRT's tflite/delegates/xnnpack/xnnpack_delegate.cc; `moves` and `new_width` are
those of XNNPACK's kernels (src/subgraph/).
"""

from __future__ import annotations

import numpy as np

from edgekit.forecast.xnnpack_checks import (
    FLOAT,
    FLOAT_Q8,
    MOST_DIMENSIONS,
    Q8,
    Asked,
    Check,
    Refusal,
    normal,
    numbers,
    quotient,
    scale,
    scale_refusal,
    stored,
    types,
    value_problem,
    zero_point,
)


def slopes(node: Asked) -> Refusal | None:
    """Slope and scales of LEAKY_RELU."""
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


def requantize(node: Asked) -> Refusal | None:
    """QUANTIZE from float, or from one 8-bit type to the same with a scale that is not too far away."""
    first, last = node.input(0), node.output()
    if first.dtype in FLOAT:
        return None
    if first.dtype != last.dtype:
        reason = f"XNNPACK has no QUANTIZE from {first.dtype} to {last.dtype}"
        return Refusal("mixed-types", reason, "make the input and output of the model of the type that is used inside")
    problem = value_problem(first) or value_problem(last)
    if problem:
        return Refusal("quantization", f"QUANTIZE between tensors of which {problem}", "quantize the model again")
    found = quotient(first.scales[0], last.scales[0])
    return scale_refusal(node, found if found < 1 / 256 or found > 128 else None)


def joined(node: Asked) -> Refusal | None:
    """Axis and types of CONCATENATION; uint8 inputs with the parameters of the output."""
    inputs, out = [node.input(place) for place in range(len(node.operator.inputs))], node.output()
    if any(node.option("Axis") >= len(tensor.shape) for tensor in inputs):
        return Refusal("axis", "CONCATENATION along a dimension that an input has not", "convert the model again")
    found = types(FLOAT_Q8, range(len(inputs)), ())(node)
    if found or out.dtype != "uint8":
        return found
    unlike = any((scale(tensor), zero_point(tensor)) != (scale(out), zero_point(out)) for tensor in inputs)
    return _unlike_scales(node) if unlike else None


def _unlike_scales(node: Asked) -> Refusal:
    reason = f"{node.operator.name} only moves values, but its input and output have different scales or zero points"
    return Refusal("quantization", reason, "quantize again; the quantizer has to give both the same parameters")


def reduced_axes(node: Asked) -> Refusal | None:
    """One to six axes, and something to reduce."""
    axes = stored(node, 1)
    count, rank = 0 if axes is None else len(axes), len(node.input(0).shape)
    if axes is not None and 0 < count <= MOST_DIMENSIONS and (count > 1 or axes[0] or rank):
        return None
    return Refusal("axis", f"{node.operator.name} over {count} dimensions of {rank}", "remove it")


def paddings(node: Asked) -> Refusal | None:
    """PAD by a pair of numbers for each dimension, none negative."""
    if node.input(1).shape != (len(node.input(0).shape), 2):
        return Refusal("rank", "PAD lacks a pair of paddings for each dimension", "convert the model again")
    values = stored(node, 1)
    if values is not None and values.min(initial=0) < 0:
        return Refusal("options", "PAD by a negative number", "use SLICE to cut")
    return None


def new_shape(node: Asked) -> Refusal | None:
    """RESHAPE to a stored shape that is not [-1], 8-bit tensors with the parameters kept."""
    first, out = node.input(0), node.output()
    if out.dtype in Q8 and (scale(first), zero_point(first)) != (scale(out), zero_point(out)):
        return _unlike_scales(node)
    if len(node.operator.inputs) == 1:
        return _flat(node.option("NewShape", ()))
    found = numbers(1, most_dimensions=None)(node)
    if found or any(size != 1 for size in node.input(1).shape[:-1]):
        return found or Refusal("rank", "RESHAPE to a shape that is no vector", "convert the model again")
    return _flat(() if (values := stored(node, 1)) is None else values.tolist())


def _flat(shape: tuple[int, ...] | list[int]) -> Refusal | None:
    if list(shape) != [-1]:
        return None
    return Refusal("options", "RESHAPE to [-1]", "name the number of values, and fix the batch")


def new_size(node: Asked) -> Refusal | None:
    """RESIZE_BILINEAR to a stored height and width."""
    values = stored(node, 1)
    if values is not None and len(values) == 2 and values[0] > 0:
        return None
    return Refusal("options", "RESIZE_BILINEAR to no size", "convert the model again")


def new_width(node: Asked) -> Refusal | None:
    """Kernel of RESIZE_BILINEAR: a width above zero."""
    values = stored(node, 1)
    if values is not None and values[1] > 0:
        return None
    return Refusal("options", "RESIZE_BILINEAR to no width", "convert the model again")


def cut(node: Asked) -> Refusal | None:
    """SLICE from a place that is not negative, of sizes in numbers."""
    begin, size = stored(node, 1), stored(node, 2)
    if begin is None or size is None or len(begin) != len(size) or len(size) > MOST_DIMENSIONS:
        return Refusal("options", "SLICE whose begin and size do not fit", "convert the model again")
    if begin.min(initial=0) < 0:
        return Refusal("options", "SLICE from a negative place", "count from the start")
    if size.min(initial=1) > 0:
        return None
    return Refusal("options", "SLICE to the end (a size of -1) or to nothing", "name the size in numbers")


def strided_cut(node: Asked) -> Refusal | None:
    """STRIDED_SLICE that names every dimension, steps by one and adds or drops none."""
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


def beta(node: Asked) -> Refusal | None:
    """SOFTMAX with a beta of one."""
    if node.option("Beta") == 1:
        return None
    return Refusal("options", f"SOFTMAX with beta = {node.option('Beta')}", "scale the logits before it")


def no_scalar(node: Asked) -> Refusal | None:
    """Kernel of SOFTMAX: something to sum over."""
    if node.input(0).shape:
        return None
    return Refusal("rank", "SOFTMAX of a tensor without dimensions", "give it at least one")


def block(node: Asked) -> Refusal | None:
    """Blocks of at least two."""
    if node.option("BlockSize") > 1:
        return None
    return Refusal("options", f"{node.operator.name} with blocks of {node.option('BlockSize')}", "remove it")


def blocks_fit(node: Asked) -> Refusal | None:
    """SPACE_TO_DEPTH of an image that is a multiple of the block."""
    shape, size = node.input(0).shape, node.option("BlockSize")
    if len(shape) > 2 and not shape[1] % size and not shape[2] % size:
        return None
    return Refusal("options", "SPACE_TO_DEPTH of a size that is no multiple of the block", "pad the image before")


def parts(node: Asked) -> Refusal | None:
    """SPLIT along a stored axis into as many outputs as it says."""
    outputs = len(node.operator.outputs)
    if node.option("NumSplits") != outputs:
        return Refusal("options", "SPLIT counts its outputs wrongly", "convert the model again")
    return numbers(0, most_dimensions=None)(node) or types(FLOAT_Q8, (1,), range(outputs))(node)


def attention(node: Asked) -> Refusal | None:
    """Check of the composite odml.scaled_dot_product_attention: query, key, value and perhaps a mask."""
    if node.operator.options.get("Name", node.operator.name) != "odml.scaled_dot_product_attention":
        return Refusal("operator", f"XNNPACK has no composite {node.option('Name', '')}", "use its parts instead")
    if node.has(3) and node.input(3).dtype != "float32":
        return Refusal("type", "XNNPACK has attention with a float32 mask only", "keep the mask in float32")
    shapes = [node.input(place).shape for place in range(len(node.operator.inputs))]
    fits = all(shapes) and len({shape[-1] for shape in shapes[:3]}) == 1
    if fits and len(shapes) > 3:
        fits = all(len(shape) > 1 and shape[1] == shapes[3][-1] for shape in shapes[1:3])
    return None if fits else Refusal("options", "attention whose shapes do not fit", "convert the model again")


def variable_shape(node: Asked) -> Refusal | None:
    """READ_VARIABLE of a variable with dimensions in the file."""
    if node.output().shape:
        return None
    return Refusal("rank", "READ_VARIABLE of a variable without dimensions", "give the state a fixed shape")


def moves(*places: int) -> Check:
    """Kernels that move values: one type, and 8-bit tensors of one scale and zero point. No places: all inputs."""

    def check(node: Asked) -> Refusal | None:
        inputs = [node.input(place) for place in places or range(len(node.operator.inputs))]
        outputs = [node.output(place) for place in range(len(node.operator.outputs))]
        for first in inputs:
            for out in outputs:
                if first.dtype != out.dtype:
                    reason = f"{node.operator.name} of {first.dtype} to {out.dtype}"
                    return Refusal("mixed-types", reason, "convert the model again: it changes no values")
                if out.dtype in Q8 and (first.scales, first.zero_points) != (out.scales, out.zero_points):
                    return _unlike_scales(node)
        return None

    return check
