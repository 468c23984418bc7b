"""Pairs of layers between which a channel may be scaled at will: y = W2 f(W1 x) = (W2 S) f(S^-1 W1 x), S diagonal.

It holds where f(s x) = s f(x) for s > 0: no activation, ReLU, and operators that work on each channel alone in such a
way (Nagel et al. 2019, arXiv:1906.04721, section 4.1). ReLU6 is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.stages.integer_graph import DATA_PLACE, WEIGHTED
from edgekit.tflite.graph import Graph, Operator

CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""The axis of a kernel, as TFLite stores it, that counts output channels."""

INPUT_AXIS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 3}

_BY_CHANNEL = {"RELU", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "MEAN"}


@dataclass(frozen=True)
class Link:
    """A layer and the one that alone reads what it makes, by their operators in the float graph."""

    first: Operator
    second: Operator


def links(graph: Graph) -> list[Link]:
    """All such pairs of a float graph, in its order."""
    readers: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    found = []
    for operator in graph.operators:
        if operator.name in WEIGHTED:
            second = _reader(graph, operator, readers)
            if second is not None and _fits(graph, operator, second):
                found.append(Link(operator, second))
    return found


def _reader(graph: Graph, operator: Operator, readers: dict[int, list[Operator]]) -> Operator | None:
    """The layer that reads this one's channels; None where anything else does."""
    while operator.activation in ("NONE", "RELU") and operator.outputs[0] not in graph.outputs:
        read = readers.get(operator.outputs[0], [])
        if len(read) != 1:
            return None
        operator = read[0]
        if operator.name in WEIGHTED:
            return operator
        if operator.name not in _BY_CHANNEL or not _keeps_channels(graph, operator):
            return None
    return None


def _keeps_channels(graph: Graph, operator: Operator) -> bool:
    """Whether the last axis still counts the same channels."""
    ends = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    if not ends[0] or not ends[1] or ends[0][-1] != ends[1][-1]:
        return False
    if operator.name != "MEAN":
        return True
    axes = graph.tensors[operator.inputs[1]].values()
    return axes is not None and len(ends[0]) - 1 not in np.ravel(axes) % len(ends[0])


def _fits(graph: Graph, first: Operator, second: Operator) -> bool:
    """Whether both have constant kernels, and the second has one input channel for each output channel of the first."""
    kernels = [graph.tensors[op.inputs[WEIGHTED[op.name]]] for op in (first, second)]
    if any(kernel.values() is None or kernel.dtype != "float32" for kernel in kernels):
        return False
    data = second.inputs[DATA_PLACE[second.name]]
    made = kernels[0].shape[CHANNEL_AXIS[first.name]]
    return graph.tensors[data].shape[-1] == made == kernels[1].shape[INPUT_AXIS[second.name]]
