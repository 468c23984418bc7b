"""What to do about an operator that XNNPACK leaves: the mend that fits its name, where there is a better one."""

from __future__ import annotations

from edgekit.forecast.xnnpack_checks import Asked, Refusal
from edgekit.tflite.graph import Graph, Operator

_FUSE = "put the activation directly behind the convolution or the dense layer, where it is fused"
_FIXED = "export the model with a fixed batch size: the converter then computes this beforehand"
_EQUIVALENT = {
    "EXPAND_DIMS": "use RESHAPE (keras.layers.Reshape) in its place",
    "SQUEEZE": "use RESHAPE (keras.layers.Reshape) in its place",
    "PACK": "use RESHAPE and CONCATENATION in place of stack; a PACK of shapes goes with a fixed batch size",
    "UNPACK": "use SPLIT in at most four parts, or slices",
    "SPLIT_V": "use SPLIT in equal parts, at most four",
    "MIRROR_PAD": "pad with zeros in place of reflected values",
    "PADV2": "pad with zeros",
    "ARG_MAX": "leave it to the application: take the index of the largest output there",
    "RESIZE_NEAREST_NEIGHBOR": "use bilinear interpolation, or a transposed convolution",
    "L2_NORMALIZATION": "leave it to the application, or write it as x * rsqrt(sum(x * x))",
    "RELU_0_TO_1": "use relu6",
    "POW": "use square, sqrt or a multiplication",
    "BATCH_TO_SPACE_ND": "convert again: a dilated convolution should be one operator",
    "SPACE_TO_BATCH_ND": "convert again: a dilated convolution should be one operator",
    **dict.fromkeys(("SHAPE", "GATHER", "RANGE", "FILL", "REDUCE_PROD", "BROADCAST_ARGS"), _FIXED),
}
_IN_8_BIT = {
    "HARD_SWISH": "use relu6 in its place, or keep these layers in float",
    "GELU": "use relu, or keep these layers in float",
    "AVERAGE_POOL_2D": "use a mean over the image (GlobalAveragePooling2D) or a strided convolution in its place",
    "SOFTMAX": "keep the layers around it in float",
    "RELU": _FUSE,
    "RELU6": _FUSE,
    "DIV": "multiply with the reciprocal in place of dividing",
    "SQUARED_DIFFERENCE": "use SUB and MUL in its place",
    "PRELU": "use leaky_relu in its place",
    "ROUND": "keep it in float",
}
_WHOLE_NUMBERS = ("int32", "int64")


def without_rule(operator: Operator, graph: Graph) -> Refusal:
    """The refusal of an operator that the delegate has not at all."""
    kind = "custom operator" if operator.custom else "operator"
    mend = _EQUIVALENT.get(operator.name, "use operators that XNNPACK has, or put it at an end of the graph")
    if not operator.custom and any(tensor.dtype in _WHOLE_NUMBERS for tensor in graph.written(operator)):
        mend = _EQUIVALENT.get(operator.name, _FIXED)
    return Refusal("operator", f"XNNPACK has no {kind} {operator.name}", mend)


def better_mend(node: Asked, found: Refusal, last: bool = False) -> Refusal:
    """The same refusal with the mend that fits the operator and its type; none for a SOFTMAX that is the last one."""
    if found.code != "type":
        return found
    dtype = node.output().dtype
    if last and node.operator.name == "SOFTMAX" and dtype in ("int8", "uint8"):
        return found._replace(reason=f"{found.reason}; it is the last one and costs little", mend="")
    if dtype in ("int8", "uint8") and node.operator.name in _IN_8_BIT:
        return found._replace(mend=_IN_8_BIT[node.operator.name])
    if dtype in _WHOLE_NUMBERS:
        return found._replace(mend=_FIXED)
    if dtype == "int16":
        return found._replace(mend="quantize the activations to 8 bits: XNNPACK has no int16")
    return found
