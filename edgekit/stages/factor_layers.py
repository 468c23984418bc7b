"""The layers that can be split: their kernel and geometry, and the layers that stand for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.graph.rebuild import cloned, loaded
from edgekit.graph.walk import Call, Graph
from edgekit.stages.low_rank import Geometry, chain, factors
from edgekit.stages.rank_choice import Split
from edgekit.tf import import_keras

Array = npt.NDArray[Any]


def misfit(name: str, layer: Any) -> str:
    """Why a layer cannot be split; empty where it can be. Raises ModelError for channels that come first."""
    layers = import_keras().layers
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ModelError(
            f"layer {name!r} has its channels first, and devices have them last",
            "build the model with data_format='channels_last'",
        )
    depthwise = (layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D)
    if isinstance(layer, depthwise):
        return "depthwise: it is a factorization already"
    if type(layer) not in (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D):
        return f"{type(layer).__name__}: only Dense and Conv1D, 2D, 3D themselves are split"
    if getattr(layer, "groups", 1) > 1:
        return f"its {layer.groups} groups keep channels apart already"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return "its kernel is quantized, or has a LoRA beside it"
    return ""


def kernel_of(layer: Any) -> Array:
    """The kernel, `[*window, in, out]`."""
    return np.asarray(layer.kernel)


def geometry_of(call: Call) -> Geometry:
    """Where and how the kernel is applied in one call."""
    layer, sizes = call.operation, tuple(int(size) for size in call.inputs[0].shape[1:-1] if size is not None)
    if not hasattr(layer, "kernel_size"):
        return Geometry(repeats=math.prod(sizes))
    return Geometry(layer.kernel_size, sizes, layer.strides, layer.dilation_rate, layer.padding)


def names_in(graph: Graph) -> set[str]:
    """Names that a new layer must not take."""
    return {*graph.operations, *(source.name for source in graph.sources)}


def factor_names(split: Split, taken: set[str]) -> tuple[str, ...]:
    """Names of the factors, first to last; the last is the layer's own."""
    wished = [f"{split.name}_factor_{place}" for place in range(2 if split.kind == "tucker" else 1)]
    return (*(next(free for free in _numbered(name) if free not in taken) for name in wished), split.name)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(1))


def factored(call: Call, split: Split, taken: set[str]) -> Callable[..., Any]:
    """The factors of a layer, one after the other, as one callable."""
    layer, names = call.operation, factor_names(split, taken)
    parts = [part.astype(layer.kernel.dtype) for part in factors(kernel_of(layer), split.kind, split.ranks)]
    places = chain(split.kind, geometry_of(call))
    steps = []
    for name, part, place in zip(names, parts, places, strict=True):
        last = name == names[-1]
        new = cloned(call, **_settings(layer, name, part, place, last))
        bias = [np.asarray(layer.bias)] if last and layer.use_bias else []
        steps.append(loaded(new, [part, *bias]))

    def run(inputs: Any) -> Any:
        for step in steps:
            inputs = step(inputs)
        return inputs

    return run


def _settings(layer: Any, name: str, kernel: Array, place: Geometry, last: bool) -> dict[str, Any]:
    """How a factor differs from the layer that it comes from."""
    plain = {"use_bias": False, "activation": None, "activity_regularizer": None}
    common = {"name": name, "kernel_constraint": None, **({} if last else plain)}
    if not place.window:
        return {**common, "units": kernel.shape[-1]}
    shape = {"kernel_size": place.window, "strides": place.strides, "dilation_rate": place.dilation}
    return {**common, "filters": kernel.shape[-1], **shape}
