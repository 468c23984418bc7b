"""An operator with its tensors, as the rules of a delegate look at it, and what such a rule answers."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from edgekit.tflite.graph import Graph, Operator, Tensor

STATIC = "convert with a fixed batch, so that shapes and axes are constants"
RESHAPED = "reshape before it, or replace the layer"
"""Mends that several delegates give."""
_ABSENT = Tensor(name="", shape=(), signature=(), dtype="")


class Fault(Struct, frozen=True):
    """Why a unit leaves an operator; not `certain` where what is documented does not decide it."""

    code: str
    reason: str
    mend: str = ""
    certain: bool = True


class Node(Struct, frozen=True, eq=False):
    """An operator with its tensors; None stands for an input that is left out."""

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    def input(self, index: int) -> Tensor:
        """The input at a place; without shape and type if there is none."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return found if found is not None else _ABSENT

    def output(self, index: int = 0) -> Tensor:
        """The output at a place; without shape and type if there is none."""
        return self.outputs[index] if index < len(self.outputs) else _ABSENT

    @property
    def fed(self) -> tuple[Tensor, ...]:
        """The inputs that are computed or fed."""
        return tuple(tensor for tensor in self.inputs if tensor is not None and not tensor.constant)

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """The inputs that are stored in the file."""
        return tuple(tensor for tensor in self.inputs if tensor is not None and tensor.constant)

    def option(self, name: str) -> int:
        """An option that is a number or a choice; 0 if the file has none, which is the schema's default for most."""
        value = self.operator.options.get(name, 0)
        return int(value) if isinstance(value, bool | int | float) else 0


Rule = Callable[[Node], Fault | None]


def nodes(graph: Graph) -> list[Node]:
    """Every operator of a graph; constants of float16 stand where a DEQUANTIZE makes float32 of them.

    That is how delegates see them (FP16GraphPartitionHelper, tensorflow/lite/delegates/utils.cc).
    """
    halves = {op.outputs[0]: op.inputs[0] for op in graph.operators if unpacks_half(graph, op)}
    return [_node(graph, operator, halves) for operator in graph.operators]


def unpacks_half(graph: Graph, operator: Operator) -> bool:
    """True for a DEQUANTIZE of float16 constants."""
    if operator.name != "DEQUANTIZE" or not operator.inputs or not operator.outputs or operator.inputs[0] < 0:
        return False
    tensor = graph.tensors[operator.inputs[0]]
    return tensor.constant and tensor.dtype == "float16"


def _node(graph: Graph, operator: Operator, halves: dict[int, int]) -> Node:
    inputs = [halves.get(index, index) for index in operator.inputs]
    return Node(
        operator,
        tuple(graph.tensors[index] if index >= 0 else None for index in inputs),
        tuple(graph.written(operator)),
    )
