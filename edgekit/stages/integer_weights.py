"""What an integer graph trains: each float constant as values times a unit for each output channel.

The unit is what the converter has folded into a kernel (the scale of a batch normalization), where the Keras model is
given: then the values are those of the Keras kernel, so its zeros, shared values and frozen layers stay what they are,
and a learning rate means what it means there. Elsewhere the unit is the size of each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.graph.walk import walk
from edgekit.stages.integer_graph import Constant, IntegerGraph
from edgekit.stages.integer_names import operators_of_layers
from edgekit.stages.integer_ops import channel_axes, kernel_layout
from edgekit.tflite.inspect import read_contents

Array = npt.NDArray[Any]

_CLOSE = 1e-4
_MOST_SHARED = 256


@dataclass(frozen=True, eq=False)
class Weight:
    """A float constant: `value * unit`, in the layout of `kernel_layout`.

    `shared` says that its values are those of one codebook, so that one scale, times the unit, serves all channels;
    `derived` that they are not a variable of the Keras model, but computed from its variables.
    """

    value: Array = field(repr=False)
    unit: Array = field(repr=False)
    trainable: bool = True
    shared: bool = False
    derived: bool = False


def weights_of(graph: IntegerGraph, model: Any = None) -> dict[int, Weight]:
    """The weights by tensor of the float file; `model` is the Keras model that the file was made from.

    A constant that is a variable of the model is frozen where that is. Any other, computed from variables before it is
    used, is frozen where all of its layer is. A single number is only trained if it is a trainable variable.
    """
    found: dict[int, Weight] = {}
    origins = _origins(model)
    layers = _Layers(graph, model)
    for constant in graph.constants.values():
        if constant.role == "kernel" and constant.source not in found:
            weight = found[constant.source] = _kernel(constant, origins, layers)
            for index in constant.operator.inputs[2:]:
                bias = graph.constants.get(index)
                if bias is not None and bias.role == "bias" and weight.unit.ndim:
                    unit = weight.unit.reshape(-1)
                    found.setdefault(bias.source, Weight(bias.value / unit, unit, weight.trainable))
    for constant in graph.constants.values():
        learned = layers.trains(constant)
        if constant.role != "fixed" and (learned or constant.value.size > 1):
            found.setdefault(constant.source, Weight(constant.value, np.ones((), np.float32), learned))
    return found


class _Layers:
    """The variables of the Keras layers that each operator of a graph belongs to."""

    def __init__(self, graph: IntegerGraph, model: Any) -> None:
        self.graph, self.known = graph, model is not None
        self.variables: dict[str, list[Any]] = {}
        owners = walk(model).layers if self.known else {}
        tensors = operators_of_layers(read_contents(graph.source), model) if self.known else {}
        for layer, names in tensors.items():
            for name in names:
                self.variables.setdefault(name, []).extend(getattr(owners[layer], "variables", ()))

    def trains(self, constant: Constant) -> bool:
        """Whether a constant may be trained, by the variable that it is, or by its layers."""
        several = constant.value.size > 1
        if not self.known:
            return several
        variables = self.variables.get(self.graph.tensors[constant.operator.outputs[0]].name, [])
        same = next((variable for variable in variables if _is_value(variable, constant.value)), None)
        if same is not None:
            return bool(same.trainable)
        return several and (not variables or any(variable.trainable for variable in variables))


def _is_value(variable: Any, value: Array) -> bool:
    mine = np.ravel(np.asarray(variable))
    return mine.size == value.size and mine.dtype.kind == "f" and np.allclose(mine, np.ravel(value), _CLOSE, 0)


def _origins(model: Any) -> list[tuple[Array, bool]]:
    """The variables that may be kernels, and whether they are trained."""
    variables = model.variables if model is not None else ()
    return [(np.asarray(v), bool(v.trainable)) for v in variables if len(v.shape) > 1 and "float" in str(v.dtype)]


def _kernel(constant: Constant, origins: Sequence[tuple[Array, bool]], layers: _Layers) -> Weight:
    name = constant.operator.name
    value, channels = kernel_layout(name, constant.value, constant.operator.options), channel_axes(name)
    axes = tuple(axis for axis in range(value.ndim) if axis not in channels)
    for origin, trainable in origins:
        if origin.size == value.size and (unit := _folded(origin.reshape(value.shape), value, axes)) is not None:
            return Weight(origin.reshape(value.shape), unit, trainable, _is_shared(origin))
    size = np.sqrt(np.square(value, dtype=np.float64).sum(axes, keepdims=True))
    unit = np.where(size > 0, size, size[size > 0].mean() if size.any() else 1.0).astype(np.float32)
    return Weight(value / unit, unit, layers.trains(constant), derived=layers.known)


def _folded(origin: Array, value: Array, axes: tuple[int, ...]) -> Array | None:
    """The factor of each channel that makes `value` of `origin`; None where there is none."""
    power = np.square(origin, dtype=np.float64).sum(axes, keepdims=True)
    factor = (origin * value).sum(axes, keepdims=True, dtype=np.float64) / np.where(power > 0, power, 1)
    factor = np.where((power > 0) & (factor != 0), factor, 1.0)
    off = np.abs(origin * factor - value).max(axes, keepdims=True)
    return factor.astype(np.float32) if (off <= _CLOSE * np.abs(value).max(axes, keepdims=True)).all() else None


def _is_shared(values: Array) -> bool:
    used = values[values != 0]
    distinct = len(np.unique(used))
    return 2 <= distinct <= _MOST_SHARED and distinct * 2 <= used.size
