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

from edgekit.stages.integer_graph import Constant, IntegerGraph
from edgekit.stages.integer_ops import channel_axes, kernel_layout
from edgekit.stages.kernels import kernels_of

Array = npt.NDArray[Any]

_CLOSE = 1e-4
_MOST_SHARED = 256


@dataclass(frozen=True, eq=False)
class Weight:
    """A float constant: `value * unit`, in the layout of `kernel_layout`.

    `shared` says that its values are those of one codebook, so that one scale, times the unit, serves all channels.
    """

    value: Array = field(repr=False)
    unit: Array = field(repr=False)
    trainable: bool = True
    shared: bool = False


def weights_of(graph: IntegerGraph, model: Any = None) -> dict[int, Weight]:
    """The weights by tensor of the float file; `model` is the Keras model that the file was made from."""
    found: dict[int, Weight] = {}
    origins = [(kernel.value, bool(kernel.variable.trainable)) for kernel in kernels_of(model)] if model else []
    for constant in graph.constants.values():
        if constant.role == "kernel" and constant.source not in found:
            weight = found[constant.source] = _kernel(constant, origins)
            for index in constant.operator.inputs[2:]:
                bias = graph.constants.get(index)
                if bias is not None and bias.role == "bias" and weight.unit.ndim:
                    unit = weight.unit.reshape(-1)
                    found.setdefault(bias.source, Weight(bias.value / unit, unit, weight.trainable))
    for constant in graph.constants.values():
        if constant.role != "fixed":
            found.setdefault(constant.source, Weight(constant.value, np.ones((), np.float32)))
    return found


def _kernel(constant: Constant, origins: Sequence[tuple[Array, bool]]) -> Weight:
    name = constant.operator.name
    value, channels = kernel_layout(name, constant.value, constant.operator.options), channel_axes(name)
    axes = tuple(axis for axis in range(value.ndim) if axis not in channels)
    for origin, trainable in origins:
        if origin.size == value.size and (unit := _folded(origin.reshape(value.shape), value, axes)) is not None:
            return Weight(origin.reshape(value.shape), unit, trainable, _is_shared(origin))
    size = np.sqrt(np.square(value, dtype=np.float64).sum(axes, keepdims=True))
    unit = np.where(size > 0, size, size[size > 0].mean() if size.any() else 1.0).astype(np.float32)
    return Weight(value / unit, unit)


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
