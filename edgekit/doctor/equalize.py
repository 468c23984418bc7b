"""Cross-layer equalization: the channels between two layers get the scale at which both round best; exact in float.

s_c = sqrt(r1_c r2_c) / r2_c, W1_c and b1_c divided by s_c, W2_c multiplied by it, where r1_c and r2_c are the greatest
weights that make and that read channel c (Nagel et al. 2019, arXiv:1906.04721, equation 11). Links share layers, so
all are done in turn until nothing moves. It works on the constants of the float `.tflite`, where normalizations are
folded already.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgekit.doctor.equalizable import CHANNEL_AXIS, INPUT_AXIS, Link, links
from edgekit.doctor.layer_error import Array
from edgekit.stages.integer_graph import BIAS_PLACE, WEIGHTED
from edgekit.tflite.constants import with_constants
from edgekit.tflite.graph import Graph, Operator, read_graph

_SWEEPS = 30
_STILL = 1e-3


def equalize(source: bytes) -> bytes:
    """The float file with all links equalized; the same bytes where there is nothing to do.

    Raises ModelError for a damaged file.
    """
    graph = read_graph(source)
    used = _Constants(graph)
    ready = [link for link in links(graph) if used.owned(link)]
    for _ in range(_SWEEPS):
        if max((used.balance(link) for link in ready), default=0.0) < _STILL:
            break
    return with_constants(source, used.changed) if used.changed else source


class _Constants:
    """The kernels and biases of a graph while they change."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.changed: dict[int, Array] = {}
        self._readers = Counter(index for op in graph.operators for index in op.inputs)

    def owned(self, link: Link) -> bool:
        """Whether nobody else reads the constants of a link, and the first has a constant bias or none."""
        places = [link.first.inputs[WEIGHTED[link.first.name]], link.second.inputs[WEIGHTED[link.second.name]]]
        bias = _bias(link.first)
        if bias >= 0:
            places.append(bias)
        return all(self._readers[i] == 1 and self.graph.tensors[i].values() is not None for i in places)

    def balance(self, link: Link) -> float:
        """Scale the channels of a link; how far the farthest scale was from one, as a logarithm."""
        first, second = (self._kernel(op) for op in (link.first, link.second))
        axes = CHANNEL_AXIS[link.first.name], INPUT_AXIS[link.second.name]
        reach = [_reach(kernel, axis) for kernel, axis in ((first, axes[0]), (second, axes[1]))]
        alive = (reach[0] > 0) & (reach[1] > 0)
        if not alive.any():
            return 0.0
        scale = np.ones_like(reach[0])
        scale[alive] = np.sqrt(reach[0][alive] / reach[1][alive])
        scale = scale.astype(np.float32)
        first /= _along(scale, axes[0], first.ndim)
        second *= _along(scale, axes[1], second.ndim)
        if _bias(link.first) >= 0:
            bias = self._array(_bias(link.first))
            bias /= scale
        return float(np.abs(np.log(scale)).max())

    def _kernel(self, operator: Operator) -> Array:
        return self._array(operator.inputs[WEIGHTED[operator.name]])

    def _array(self, index: int) -> Array:
        if index not in self.changed:
            values = self.graph.tensors[index].values()
            assert values is not None  # owned links have constants only
            self.changed[index] = values.copy()
        return self.changed[index]


def _bias(operator: Operator) -> int:
    place = BIAS_PLACE[operator.name]
    return operator.inputs[place] if len(operator.inputs) > place else -1


def _reach(kernel: Array, axis: int) -> Array:
    return np.asarray(np.abs(kernel).max(tuple(other for other in range(kernel.ndim) if other != axis)), np.float64)


def _along(values: Array, axis: int, rank: int) -> Array:
    shape = [1] * rank
    shape[axis] = len(values)
    return values.reshape(shape)
