"""What the XNNPACK delegate asks of an operator before it takes it: small checks, put together in `xnnpack_rules`.

A check looks at one operator and gives the refusal, or None. The conditions are those of the visitors in LiteRT's
tflite/delegates/xnnpack/xnnpack_delegate.cc, where most have a function of nearly the same name (CheckTensorShape,
CheckTensorStaticAllocation, CheckPoolingParams, ConvertActivationToOutputRange ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.tflite.graph import Operator, Option, Tensor

MOST_DIMENSIONS = 6
FLOAT = ("float32", "float16")
Q8 = ("int8", "uint8")
FLOAT_Q8 = FLOAT + Q8
FLOAT32_Q8 = ("float32", *Q8)
FLOAT_S8 = (*FLOAT, "int8")
ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7)}
_CLAMPS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
_LEAST_NORMAL = float(np.finfo(np.float32).tiny)


class Refusal(NamedTuple):
    """Why an operator stays outside: name of the rule, what was found, what to do."""

    code: str
    reason: str
    mend: str


class Asked(NamedTuple):
    """One operator with all tensors of its graph.

    `unpacked` are the tensors that the delegate itself computes from constants, when it starts, by DEQUANTIZE and
    DENSIFY; `halves` those among them that are float16 in the file and stay so inside XNNPACK.
    """

    operator: Operator
    tensors: tuple[Tensor, ...]
    unpacked: Collection[int]
    halves: Collection[int]

    def input(self, place: int) -> Tensor:
        """The tensor at a place among the inputs, which has to be there."""
        return self.tensors[self.operator.inputs[place]]

    def output(self, place: int = 0) -> Tensor:
        """The tensor at a place among the outputs."""
        return self.tensors[self.operator.outputs[place]]

    def option(self, name: str, default: Option = 0) -> Any:
        """An option of the operator; the default stands for options that are not in the file."""
        return self.operator.options.get(name, default)

    def has(self, place: int) -> bool:
        """Whether an optional input is there."""
        inputs = self.operator.inputs
        return place < len(inputs) and inputs[place] >= 0

    def static(self, place: int) -> bool:
        """Whether an input is a constant of the file, or made from one when the delegate starts."""
        return self.input(place).constant or self.operator.inputs[place] in self.unpacked

    def used(self, inputs: Iterable[int], outputs: Iterable[int]) -> list[Tensor]:
        """The tensors at these places."""
        return [*map(self.input, inputs), *map(self.output, outputs)]


Check = Callable[[Asked], Refusal | None]


def counts(node: Asked, inputs: tuple[int, int], outputs: tuple[int, int]) -> Refusal | None:
    """The number of inputs and outputs; inputs below the least number must not be absent."""
    operator = node.operator
    sides = (("inputs", inputs, operator.inputs), ("outputs", outputs, operator.outputs))
    for side, (least, most), found in sides:
        if not least <= len(found) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            return Refusal(side, f"{operator.name} has {len(found)} {side}; XNNPACK takes {wanted}", _COUNT_MEND)
        if min(found[:least], default=0) < 0:
            return Refusal(side, f"{operator.name} lacks one of its {least} {side}", _COUNT_MEND)
    return None


_COUNT_MEND = "split the operator into several, or leave it on the runtime's own kernels"


def types(allowed: tuple[str, ...], inputs: Iterable[int] = (0,), outputs: Iterable[int] = (0,)) -> Check:
    """Tensors of the allowed types; 8-bit ones with one scale for the whole tensor."""

    def check(node: Asked) -> Refusal | None:
        problems = (type_problem(node.operator.name, tensor, allowed) for tensor in node.used(inputs, outputs))
        return next(filter(None, problems), None)

    return check


def type_problem(name: str, tensor: Tensor, allowed: tuple[str, ...]) -> Refusal | None:
    """The refusal for a tensor of another type, or of 8 bits with more than one scale."""
    if tensor.dtype not in allowed:
        return Refusal(
            "type", f"XNNPACK has no {tensor.dtype} {name}, only {listed(allowed)}", "use one of these types there"
        )
    return per_tensor(name, tensor) if tensor.dtype in Q8 else None


def per_tensor(name: str, tensor: Tensor) -> Refusal | None:
    """One scale, along dimension 0: what CheckTensorQInt8OrQUInt8Type asks."""
    if len(tensor.scales) == 1 and not tensor.quantized_axis:
        return None
    found = f"{len(tensor.scales)} scales along dimension {tensor.quantized_axis}" if tensor.scales else "no scale"
    mend = "quantize it with one scale for the whole tensor"
    return Refusal("quantization", f"{tensor.dtype} {name} reads or writes a tensor with {found}", mend)


def same_types(*places: int) -> Check:
    """Inputs of the type of the output."""

    def check(node: Asked) -> Refusal | None:
        found = [node.input(place).dtype for place in places]
        out = node.output().dtype
        if all(dtype == out for dtype in found):
            return None
        reason = f"{node.operator.name} mixes types: {listed(found)} in, {out} out"
        return Refusal("mixed-types", reason, "quantize all of its tensors, or none")

    return check


def ranked(least: int, most: int, inputs: Iterable[int] = (0,), outputs: Iterable[int] = ()) -> Check:
    """Number of dimensions, and none of them empty."""

    def check(node: Asked) -> Refusal | None:
        problems = (_rank_problem(node.operator.name, tensor, least, most) for tensor in node.used(inputs, outputs))
        return next(filter(None, problems), None)

    return check


def _rank_problem(name: str, tensor: Tensor, least: int, most: int) -> Refusal | None:
    rank = len(tensor.shape)
    if not least <= rank <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        mend = f"give it {wanted} dimensions; where the file leaves the shape open, export it with a fixed one"
        return Refusal("rank", f"{name} has a tensor of {rank} dimensions; XNNPACK takes {wanted}", mend)
    if any(size <= 0 for size in tensor.shape):
        return Refusal(
            "empty", f"{name} has an empty tensor, {list(tensor.shape)}", "remove the empty part of the graph"
        )
    return None


def static(*places: int) -> Check:
    """Inputs that are constants of the file."""

    def check(node: Asked) -> Refusal | None:
        if all(node.static(place) for place in places):
            return None
        place = next(place for place in places if not node.static(place))
        reason = f"input {place} of {node.operator.name} is computed while running; XNNPACK needs a constant"
        return Refusal("not-constant", reason, _CONSTANT_MEND)

    return check


_CONSTANT_MEND = "export the model with a fixed batch and fixed sizes, so that the converter can compute it beforehand"


def numbers(*places: int, most_dimensions: int | None = 1, kinds: tuple[str, ...] = ("int32",)) -> Check:
    """Inputs that are stored integers: axes, shapes, paddings."""

    def check(node: Asked) -> Refusal | None:
        for place in places:
            tensor = node.input(place)
            if tensor.dtype not in kinds or stored(node, place) is None:
                reason = f"input {place} of {node.operator.name} is no stored {listed(kinds)}"
                return Refusal("not-constant", reason, _CONSTANT_MEND)
            if most_dimensions is not None and len(tensor.shape) > most_dimensions:
                reason = f"input {place} of {node.operator.name} has {len(tensor.shape)} dimensions"
                return Refusal("rank", reason, "store it as a vector")
        return None

    return check


def stored(node: Asked, place: int) -> NDArray[Any] | None:
    """The integers that an input is in the file, flat."""
    values = node.input(place).values()
    return None if values is None else values.ravel()


def activation(node: Asked) -> Refusal | None:
    """Fused activations that are a clamp."""
    found = node.operator.activation
    if found in _CLAMPS:
        return None
    reason = f"{node.operator.name} with a fused {found}; XNNPACK fuses {listed(_CLAMPS[1:])} only"
    return Refusal("activation", reason, "make the activation an operator of its own")


def padding(node: Asked) -> Refusal | None:
    """SAME or VALID, which an operator without options has not."""
    if node.option("Padding", -1) in (0, 1):
        return None
    return Refusal(
        "padding", f"{node.operator.name} says no padding", "convert the model again; its options are missing"
    )


def positive(*names: str) -> Check:
    """Options that are greater than zero, such as strides."""

    def check(node: Asked) -> Refusal | None:
        wrong = next((name for name in names if node.option(name) <= 0), None)
        if wrong is None:
            return None
        reason = f"{node.operator.name} has {wrong} = {node.option(wrong)}"
        return Refusal("options", reason, "convert the model again; its options are missing or damaged")

    return check


def window(node: Asked) -> Refusal | None:
    """A pooling window at least as large as its stride."""
    width, height = node.option("FilterWidth"), node.option("FilterHeight")
    strides = node.option("StrideW"), node.option("StrideH")
    if strides[0] <= width and strides[1] <= height:
        return None
    name = node.operator.name
    reason = f"{name} steps {strides[1]}x{strides[0]} over windows of {height}x{width}"
    return Refusal("stride", reason, "use a stride that is not larger than the window")


def ratio(places: Iterable[int], least: float, most: float) -> Check:
    """Scale of an 8-bit input over that of the output, in float32 as the delegate computes it: [least, most)."""

    def check(node: Asked) -> Refusal | None:
        out = node.output()
        inputs = [node.input(place) for place in places if node.input(place).dtype == out.dtype]
        if out.dtype not in Q8:
            return None
        found = [quotient(tensor.scales[0], out.scales[0]) for tensor in inputs]
        return scale_refusal(node, next((value for value in found if value < least or value >= most), None))

    return check


def product_ratio(least: float, most: float) -> Check:
    """The same of the product of the scales of two inputs."""

    def check(node: Asked) -> Refusal | None:
        first, second, out = node.input(0), node.input(1), node.output()
        if out.dtype not in Q8 or {first.dtype, second.dtype} != {out.dtype}:
            return None
        with np.errstate(all="ignore"):
            product = np.float32(first.scales[0]) * np.float32(second.scales[0])
        found = quotient(float(product), out.scales[0])
        return scale_refusal(node, found if found < least or found >= most else None)

    return check


def quotient(first: float, second: float) -> float:
    """a / b in float32, without complaint about zeros."""
    with np.errstate(all="ignore"):
        return float(np.float32(first) / np.float32(second))


def scale_refusal(node: Asked, found: float | None) -> Refusal | None:
    """The refusal for a ratio of scales; None for None."""
    if found is None:
        return None
    reason = f"{node.operator.name}: the scales of input and output are too far apart, their ratio is {found:.3g}"
    return Refusal("scale", reason, "calibrate again: one of the two tensors saw values of another size")


def normal(value: float) -> bool:
    """C's isnormal for a float32: neither zero, subnormal, infinite nor NaN."""
    return math.isfinite(value) and abs(value) >= _LEAST_NORMAL


def zero_point(tensor: Tensor) -> int:
    """The runtime's zero point of a whole tensor: that of one with one scale, else 0 (GetLegacyQuantization)."""
    return tensor.zero_points[0] if len(tensor.scales) == 1 == len(tensor.zero_points) else 0


def scale(tensor: Tensor) -> float:
    """The same for the scale."""
    return tensor.scales[0] if len(tensor.scales) == 1 == len(tensor.zero_points) else 0.0


def listed(words: Iterable[str]) -> str:
    """Words as they read in a sentence, each once: `a, b or c`."""
    found = list(dict.fromkeys(words))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def value_problem(tensor: Tensor) -> str | None:
    """Why a tensor cannot be a value of XNNPACK's graph (GetXNNPackDatatype); None where it can."""
    if len(tensor.shape) > MOST_DIMENSIONS:
        return f"a tensor has {len(tensor.shape)} dimensions, more than {MOST_DIMENSIONS}"
    if tensor.dtype in FLOAT:
        return None
    if not tensor.scales:
        return f"a tensor of {tensor.dtype} has no scale"
    if any(scale <= 0 or not normal(scale) for scale in tensor.scales):
        return "a scale is zero, negative or no number"
    return _zero_point_problem(tensor) if len(tensor.scales) == 1 else _channel_problem(tensor)


def _zero_point_problem(tensor: Tensor) -> str | None:
    least, most = ZERO_POINTS.get(tensor.dtype, (0, 0))
    if all(least <= zero <= most for zero in tensor.zero_points):
        return None
    return f"the zero point {tensor.zero_points[0]} does not fit into {tensor.dtype}"


def _channel_problem(tensor: Tensor) -> str | None:
    if tensor.dtype == "uint8" or (tensor.dtype == "int32" and tensor.quantized_axis):
        return f"a tensor of {tensor.dtype} has {len(tensor.scales)} scales along dimension {tensor.quantized_axis}"
    allowed = (0, 8) if tensor.dtype == "int4" else (0,)
    fits = all(zero in allowed for zero in tensor.zero_points)
    return None if fits else "a tensor with a scale for each channel has a zero point other than 0"
