"""Multiply-accumulates of the calls of a Keras graph, for one sample: each weight times how often it is used."""

from __future__ import annotations

import math
from typing import Any

from edgekit.graph.walk import Call, Graph
from edgekit.tf import import_keras

Shape = tuple[int | None, ...]


def graph_macs(graph: Graph) -> int:
    """MACs of one run; what multiplies by no weights (activations, additions, attention scores) counts zero."""
    return sum(call_macs(call) for call in graph.calls)


def call_macs(call: Call) -> int:
    """MACs of one call; an open dimension counts once."""
    if not isinstance(call.operation, import_keras().Layer) or not call.inputs:
        return 0
    taken, given = call.inputs[0].shape, call.results[0].shape
    return sum(weights_of(layer) * _positions(layer, taken, given) for layer in _leaves(call.operation))


def weights_of(layer: Any) -> int:
    """Weights of the layer's own kernels: what has two axes or more."""
    return sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)


def _leaves(layer: Any) -> list[Any]:
    """The layers that hold the weights: itself, or those it is made of."""
    inner = layer._flatten_layers(include_self=False, recursive=False)
    return [leaf for child in inner for leaf in _leaves(child)] or [layer]


def _positions(layer: Any, taken: Shape, given: Shape) -> int:
    """How often a kernel is used: at each place of the output, or of the input where the places are those."""
    layers = import_keras().layers
    if isinstance(layer, layers.Embedding):
        return 0
    by_input = (layers.Dense, layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    cells = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
    shape = taken if isinstance(layer, (*by_input, *cells, layers.EinsumDense)) else given
    return math.prod(size or 1 for size in shape[1:-1])
