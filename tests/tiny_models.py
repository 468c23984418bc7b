"""TFLite files of a few operators, made by hand for tests: no converter, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toys import Toy

FLOAT32, INT32, STRING, BOOL, INT8 = 0, 2, 5, 6, 9
ADD, DEQUANTIZE, RESHAPE, SUB, SPLIT, NEG, GREATER, CUSTOM, TILE, SUM = 0, 6, 22, 41, 49, 59, 61, 32, 69, 74
_TYPES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


class Graph(Toy):
    """A toy in fewer words: tensors by name, types and operators by the schema's numbers, no options."""

    def tensor(self, name: str, shape: Sequence[int], kind: int = FLOAT32, scale: float = 0.0, zero: int = 0) -> int:
        index = super().tensor(shape, _TYPES[kind], [scale] if scale else [], [zero])
        self.graph.tensors[index].name = name
        return index

    def constant(self, name: str, values: np.ndarray) -> int:
        index = super().tensor(values.shape, values.dtype.name, data=values)
        self.graph.tensors[index].name = name
        return index

    def operator(self, code: int, inputs: Sequence[int], outputs: Sequence[int], custom: str | None = None) -> None:
        super().operator(custom or _OPERATORS[code], inputs, outputs)


def negative(shape: Sequence[int] = (1, 4), operators: int = 1) -> bytes:
    """-x, as many times as there are operators."""
    graph = Graph()
    tensors = [graph.tensor(f"t{index}", shape) for index in range(operators + 1)]
    for before, after in pairwise(tensors):
        graph.operator(NEG, [before], [after])
    return graph.bytes(tensors[:1], tensors[-1:])


def crashing() -> bytes:
    """A SPLIT of one input: the interpreter reads the second one all the same, and is killed."""
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(SPLIT, [x], [y])
    return graph.bytes([x], [y])


def sum_and_difference(turned: bool = False) -> bytes:
    """x + y and x - y of two `[batch, 3]` inputs; `turned` swaps the order of the inputs and of the outputs."""
    graph = Graph()
    x, y, plus, minus = (graph.tensor(name, (-1, 3)) for name in ("x", "y", "plus", "minus"))
    graph.operator(ADD, [x, y], [plus])
    graph.operator(SUB, [x, y], [minus])
    return graph.bytes([y, x], [minus, plus]) if turned else graph.bytes([x, y], [plus, minus])


def frozen_reshape() -> bytes:
    """`[1, 4]` to `[1, 2, 2]` by a constant shape: its batch cannot be resized."""
    graph = Graph()
    x, shape = graph.tensor("x", (1, 4)), graph.constant("shape", np.array([1, 2, 2], np.int32))
    y = graph.tensor("y", (1, 2, 2))
    graph.operator(RESHAPE, [x, shape], [y])
    return graph.bytes([x], [y])


def dequantize(scale: float = 0.5, zero: int = 3) -> bytes:
    """int8 to float32."""
    graph = Graph()
    x, y = graph.tensor("x", (1, 4), INT8, scale, zero), graph.tensor("y", (1, 4))
    graph.operator(DEQUANTIZE, [x], [y])
    return graph.bytes([x], [y])


def custom(name: str = "Unheard") -> bytes:
    """One operator that no runtime knows."""
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(CUSTOM, [x], [y], name)
    return graph.bytes([x], [y])


def strings() -> bytes:
    """A string input beside a float one."""
    graph = Graph()
    words, x, y = graph.tensor("words", (1,), STRING), graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(NEG, [x], [y])
    return graph.bytes([words, x], [y])


def wide(shape: Sequence[int]) -> bytes:
    """Sum of copies of one x in a tensor of such a shape (as many dimensions): a small file, a large arena."""
    graph = Graph()
    x, copies, y = graph.tensor("x", [1] * len(shape)), graph.tensor("copies", shape), graph.tensor("y", (1,))
    graph.operator(TILE, [x, graph.constant("times", np.array(shape, np.int32))], [copies])
    graph.operator(SUM, [copies, graph.constant("axes", np.arange(len(shape), dtype=np.int32))], [y])
    return graph.bytes([x], [y])


def heavy(values: int) -> bytes:
    """Sum of x `[1, 1]` plus as many constants: a file and an arena of 4 bytes a value each."""
    graph = Graph()
    x, total, y = graph.tensor("x", (1, 1)), graph.tensor("total", (1, values)), graph.tensor("y", (1,))
    graph.operator(ADD, [x, graph.constant("constants", np.ones((1, values), np.float32))], [total])
    graph.operator(SUM, [total, graph.constant("axes", np.array([0, 1], np.int32))], [y])
    return graph.bytes([x], [y])


def appended() -> bytes:
    """x plus constants that lie behind the flatbuffer, as files above 2 GB have them."""
    graph, end = Graph(), 4096
    x, ones, y = (graph.tensor(name, (1, 4)) for name in ("x", "ones", "y"))
    graph.operator(ADD, [x, ones], [y])
    graph.graph.tensors[ones].buffer = len(graph.model.buffers)
    graph.model.buffers.append(schema.BufferT(offset=end, size=16))
    return graph.bytes([x], [y]).ljust(end, b"\0") + np.ones(4, np.float32).tobytes()
