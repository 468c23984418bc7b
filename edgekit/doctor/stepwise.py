"""Stepwise: a TFLite file run in TensorFlow, one operator after the other, on all samples at once.

Values are real, each rounded to the grid of its tensor. Constants can be replaced on the way, so a later operator reads
what an earlier one makes with its new weights; what nobody reads any more is let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from edgekit.doctor.layer_error import LEVELS, Array
from edgekit.errors import ModelError
from edgekit.stages.integer_graph import WEIGHTED, IntegerGraph, Operator, Tensor
from edgekit.stages.integer_ops import RULES, compute, kernel_layout, step_of
from edgekit.tf import import_tensorflow

_MOST_VALUES = 32_000_000


class Walk:
    """A run of `graph` on real-valued `samples`, one `[samples, ...]` array for each input.

    `values` holds the activations that are known and still read, `constants` the stored values of constants that are
    replaced, by tensor. Raises ModelError for an operator that TensorFlow has no rule for.
    """

    def __init__(self, graph: IntegerGraph, samples: Sequence[Array]) -> None:
        unknown = [op for op in graph.operators if op.name not in RULES]
        if unknown:
            name = graph.tensors[unknown[0].outputs[0]].name
            raise ModelError(
                f"no rule to compute the operator {unknown[0].name} ({name!r}) in TensorFlow",
                "build the layer of other operations",
            )
        self.graph, self.constants = graph, dict[int, Array]()
        self._last = {index: op.index for op in graph.operators for index in op.inputs}
        pairs = zip(graph.inputs, samples, strict=True)
        self.values: dict[int, Any] = {index: self._snapped(index, array) for index, array in pairs}

    def step(self, operator: Operator) -> None:
        """Compute one operator from the values of its inputs."""
        tensors = self.graph.tensors
        step = step_of(self.graph, operator, lambda index: self.read(tensors[index], operator))
        for index, value in zip(operator.outputs, compute(operator.name, step), strict=True):
            self.values[index] = self._snapped(index, value)
        for index in operator.inputs:
            if index >= 0 and self._last[index] == operator.index and index not in self.graph.outputs:
                self.values.pop(index, None)

    def read(self, tensor: Tensor, operator: Operator) -> Any:
        """What an operator reads: an activation, or what a constant stands for (a kernel in TensorFlow's layout)."""
        if tensor.index in self.values:
            return self.values[tensor.index]
        real = real_of(tensor, self.constants.get(tensor.index))
        if operator.name in WEIGHTED and tensor.index == operator.inputs[WEIGHTED[operator.name]]:
            real = kernel_layout(operator.name, real, operator.options)
        return import_tensorflow().constant(real)

    def _snapped(self, index: int, value: Any) -> Any:
        tf, tensor = import_tensorflow(), self.graph.tensors[index]
        if not tensor.quantized or tensor.dtype not in LEVELS:
            return tf.convert_to_tensor(value)
        whole = tf.round(value / tensor.scales[0]) + tensor.zero
        return (tf.clip_by_value(whole, *LEVELS[tensor.dtype]) - tensor.zero) * tensor.scales[0]


def real_of(tensor: Tensor, stored: Array | None = None) -> Array:
    """What a constant stands for, or would with other `stored` values."""
    values = tensor.data if stored is None else stored
    assert values is not None
    if not tensor.quantized:
        return values
    return np.asarray((values.astype(np.float64) - tensor.zero) * steps_of(tensor), np.float32)


def steps_of(tensor: Tensor) -> Array:
    """The scale of each value of a constant, in a shape that goes with it."""
    shape = [1] * len(tensor.shape)
    if len(tensor.scales) > 1:
        shape[tensor.axis] = len(tensor.scales)
    return np.reshape(np.asarray(tensor.scales, np.float64), shape)


def affordable(graph: IntegerGraph) -> int:
    """For how many samples the largest tensor takes no more than 128 MB; at least one."""
    largest = max((prod(t.shape[1:]) for t in graph.tensors if t.data is None and t.shape), default=1)
    return max(1, _MOST_VALUES // max(largest, 1))
