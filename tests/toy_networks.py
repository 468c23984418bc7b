"""Small `.tflite` files with a known shape of their graph: dense layers of random weights."""

from __future__ import annotations

import numpy as np
from toys import Toy


class Network:
    """A toy with dense layers, sums and joins; `x` is its input `[1, 8]`."""

    def __init__(self, kind: str = "float32") -> None:
        self.toy, self.kind, self.random = Toy(), kind, np.random.default_rng(0)
        self.x = self.tensor(8)

    def tensor(self, width: int) -> int:
        return self.toy.tensor([1, width], self.kind)

    def width(self, index: int) -> int:
        return int(self.toy.graph.tensors[index].shape[1])

    def dense(self, source: int, width: int = 8) -> int:
        shape = (width, self.width(source))
        if self.kind == "int8":
            weights = self.toy.tensor(shape, "int8", [0.02], data=self.random.integers(-127, 128, shape))
            bias = self.toy.tensor([width], "int32", [0.002], data=self.random.integers(-500, 500, width))
        else:
            weights = self.toy.tensor(shape, data=self.random.normal(size=shape))
            bias = self.toy.tensor([width], data=self.random.normal(size=width))
        out = self.tensor(width)
        version = 4 if self.kind == "int8" else 1
        self.toy.operator("FULLY_CONNECTED", [source, weights, bias], [out], "FullyConnectedOptions", version)
        return out

    def add(self, one: int, other: int) -> int:
        out = self.tensor(self.width(one))
        self.toy.operator("ADD", [one, other], [out], "AddOptions", 2 if self.kind == "int8" else 1)
        return out

    def join(self, *sources: int) -> int:
        out = self.tensor(sum(map(self.width, sources)))
        version = 2 if self.kind == "int8" else 1
        self.toy.operator("CONCATENATION", sources, [out], "ConcatenationOptions", version, axis=1)
        return out

    def file(self, *outputs: int, inputs: tuple[int, ...] = ()) -> bytes:
        return self.toy.bytes(inputs or [self.x], outputs)


def chain(widths: tuple[int, ...] = (8, 8, 8, 8), kind: str = "float32") -> bytes:
    """Dense layers one after the other."""
    net = Network(kind)
    at = net.x
    for width in widths:
        at = net.dense(at, width)
    return net.file(at)


def skipping(kind: str = "float32") -> bytes:
    """Five dense layers, and a sum that reads the first one's output again."""
    net = Network(kind)
    first = at = net.dense(net.x)
    for _ in range(4):
        at = net.dense(at)
    return net.file(net.add(first, at))


def two_branches(kind: str = "float32", longer: int = 3, shorter: int = 2) -> bytes:
    """A stem, two branches whose operators take turns in the file, a join and a head."""
    net = Network(kind)
    left = right = net.dense(net.x)
    for step in range(max(longer, shorter)):
        left = net.dense(left) if step < longer else left
        right = net.dense(right) if step < shorter else right
    return net.file(net.dense(net.join(left, right), 4))


def two_inputs(kind: str = "float32") -> bytes:
    """Two branches from the inputs on, a join, and two outputs."""
    net = Network(kind)
    other = net.tensor(8)
    left, right = net.dense(net.dense(net.x)), net.dense(net.dense(other, 16))
    joined = net.join(left, right)
    return net.file(net.dense(joined, 4), net.dense(joined, 2), inputs=(net.x, other))


def counting(kind: str = "float32") -> bytes:
    """A state that one operator reads beside a constant: it waits for no input, and runs once a sample all the same."""
    net = Network(kind)
    state, made = net.tensor(8), net.tensor(8)
    net.toy.graph.tensors[state].isVariable = True
    one = net.toy.tensor([1, 8], kind, data=True)
    net.toy.operator("ADD", [state, one], [made], "AddOptions", 2 if kind == "int8" else 1)
    return net.file(net.add(net.dense(net.x), net.dense(made)))
