"""What the GPU delegate accepts and then fails to build: it is not applied at all then, and everything is on the CPU.

Source: tensorflow/lite/delegates/gpu/common/model_builder.cc (the Parse methods and ParseInputsWithConstTensor),
model_builder_helper.cc (ExtractTensorShape, PopulateQuantParams) and object_reader.cc. Only the failures that a file
shows by its shapes and scales are looked for; a driver may find others.
"""

from __future__ import annotations

from edgekit.forecast.node import Fault, Node
from edgekit.tflite.graph import Tensor

_CODE = "fails-to-build"
_TWICE = {"ADD", "MUL"}
_ELEMENTWISE = {"ADD", "DIV", "FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "MAXIMUM", "MINIMUM", "MUL", "POW"} | {
    "SQUARED_DIFFERENCE",
    "SUB",
    "EQUAL",
    "GREATER",
    "GREATER_EQUAL",
    "LESS",
    "LESS_EQUAL",
    "NOT_EQUAL",
}


def build_fault(node: Node) -> Fault | None:
    """Why the delegate would fail at this operator, which it accepted; None if nothing is known."""
    return _tensors(node) or _operands(node) or _weights(node) or _strides(node)


def _tensors(node: Node) -> Fault | None:
    """Every tensor on the GPU has one to four dimensions, and every 8-bit one a single scale."""
    for tensor in (*node.fed, *node.outputs):
        if not tensor.shape:
            return _fault(f"{tensor.name} without dimensions", "give it one: reshape to [1]")
        if tensor.dtype in ("int8", "uint8") and len(tensor.scales) != 1:
            return _fault(f"{tensor.name} in 8 bits with {len(tensor.scales)} scales", "make the file again")
    return None


def _operands(node: Node) -> Fault | None:
    """Two operands are two tensors, of which one at most is a constant, of batch 1."""
    if node.operator.name not in _ELEMENTWISE or len(node.inputs) != 2:
        return None
    if not node.fed:
        return _fault("it of two constants", "fold them when the file is made")
    if node.input(0) is node.input(1) and node.operator.name not in _TWICE:
        return _fault("it of a tensor and itself", "replace what is constant by its value")
    if any(_batched(tensor) for tensor in node.constants):
        return _fault("it with a constant of batch above 1", "give it a first dimension of 1")
    return None


def _batched(constant: Tensor) -> bool:
    shape = constant.shape
    return len(shape) == 4 and shape[0] != 1 and any(size != 1 for size in shape)


def _weights(node: Node) -> Fault | None:
    """Constant matrices have two dimensions, and as many columns as the input has channels."""
    weights = node.input(1)
    if node.operator.name == "BATCH_MATMUL" and (not node.fed or (weights.constant and len(weights.shape) != 2)):
        return _fault("it of a constant without exactly two dimensions", "use a dense layer, or compute both matrices")
    if node.operator.name != "FULLY_CONNECTED" or not weights.constant:
        return None
    data, columns = node.input(0).shape, weights.shape[-1] if weights.shape else 0
    channels = data[-1] if len(data) > 1 else 1
    if channels == columns:
        return None
    return _fault(f"a dense layer of {columns} inputs on {list(data)}", f"reshape to [rows, {columns}] before it")


def _strides(node: Node) -> Fault | None:
    """Slices run forward, between constants."""
    if node.operator.name != "STRIDED_SLICE":
        return None
    steps = node.input(3).values()
    if any(not node.input(place).constant for place in (1, 2, 3)):
        return _fault("a slice between computed borders", "slice between constants")
    if steps is not None and (steps <= 0).any():
        return _fault("a slice that runs backward", "slice forward, or reverse when the file is made")
    return None


def _fault(reason: str, mend: str) -> Fault:
    return Fault(_CODE, f"the delegate accepts it, and then fails to build {reason}", mend)
