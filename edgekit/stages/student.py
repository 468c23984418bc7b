"""Student: a narrower network of the same form, derived from a teacher by a width multiplier; its weights are new."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.errors import ModelError, RecipeError
from edgekit.graph.rebuild import FUNCTIONS, cloned, fresh, per_operation, rebuild
from edgekit.graph.walk import Call, Graph, tensors, walk
from edgekit.tf import import_keras

_SIZES = ("filters", "units", "output_dim", "projection_dim")


def narrowed(model: Any, width: float, *, multiple: int = 8, seed: int = 0) -> Any:
    """The network with about `width` times as many channels in each layer, in multiples; the last layers keep theirs.

    Where the form does not allow the multiple, as that of NASNet with its halves of halves, a smaller one is taken. The
    same seed gives the same weights. Raises RecipeError where no multiple fits.
    """
    graph = walk(model)
    failure: Exception | None = None
    for size in [multiple, *(smaller for smaller in (4, 2, 1) if smaller < multiple)]:
        try:
            return _narrowed(graph, width, size, seed)
        except (ModelError, ValueError, TypeError) as cause:
            failure = failure or cause
    assert failure is not None
    raise RecipeError(
        f"{model.name!r} cannot be narrowed to {width:g}: {_first_line(failure)}", "give a student of your own"
    ) from failure


def widths(model: Any, width: float, *, multiple: int = 8) -> tuple[int, ...]:
    """The sizes of all layers of `narrowed`, but for the last ones; where they are equal, so are the students."""
    graph = walk(model)
    last, kind = _last(graph), import_keras().Layer
    layers = [call.operation for call in graph.calls if isinstance(call.operation, kind) and call.name not in last]
    return tuple(size for layer in layers for size in _sizes(_scaled(layer.get_config(), width, multiple)))


def _sizes(config: dict[str, Any]) -> list[int]:
    own = [config[key] for key in _SIZES if isinstance(config.get(key), int)]
    inner = [part["config"] for key in ("layer", "backward_layer") if isinstance(part := config.get(key), dict)]
    return own + [size for each in inner for size in _sizes(each)]


def _narrowed(graph: Graph, width: float, multiple: int, seed: int) -> Any:
    last = _last(graph)
    rng = np.random.default_rng(seed)

    def make(call: Call) -> Callable[..., Any]:
        if not isinstance(call.operation, import_keras().Layer) or _stays(call):
            return _reshaped(call) if call.kind == "Reshape" else fresh(call)
        config = _seeded(call.operation.get_config(), rng)
        if call.name not in last:
            config = _scaled(config, width, multiple)
        config = {key: value for key, value in config.items() if key not in FUNCTIONS}  # which stay as they are
        return _built(call, {**config, "name": call.name, "trainable": True})

    return rebuild(graph, per_operation(make))


def _first_line(cause: Exception) -> str:
    """What went wrong, without the frame that Keras puts around it."""
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in str(cause).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception encountered")), type(cause).__name__)


def channels(count: int, width: float, multiple: int) -> int:
    """`count` times `width` in multiples, rounded to the nearest, never more than `count`."""
    return min(count, max(multiple, round(count * width / multiple) * multiple))


def _last(graph: Graph) -> set[str]:
    """Names of the layers with a size of their own from which an output is reached without another such layer."""
    found: set[str] = set()
    open_ends, seen = list(tensors(graph.outputs)), set()
    while open_ends:
        tensor = open_ends.pop()
        call = graph.producers.get(tensor)
        if call is None or tensor in seen:
            continue
        seen.add(tensor)
        if _sized(call):
            found.add(call.name)
        else:
            open_ends += call.inputs
    return found


def _sized(call: Call) -> bool:
    layer = call.operation
    inner = getattr(layer, "layer", None) or getattr(layer, "forward_layer", None) or layer
    return any(isinstance(getattr(inner, size, None), int) for size in _SIZES)


def _stays(call: Call) -> bool:
    """Whether a layer has no size to change and nothing to draw anew."""
    layers = import_keras().layers
    return isinstance(call.operation, (layers.Normalization, layers.Reshape, layers.Lambda))


def _scaled(config: dict[str, Any], width: float, multiple: int) -> dict[str, Any]:
    """The configuration with its sizes multiplied, also those of the layer in a wrapper."""
    sizes = {key: channels(config[key], width, multiple) for key in _SIZES if isinstance(config.get(key), int)}
    inner = {
        key: {**part, "config": _scaled(part["config"], width, multiple), "build_config": None}
        for key in ("layer", "backward_layer")
        if isinstance(part := config.get(key), dict)
    }
    return {**config, **sizes, **inner}


def _seeded(config: Any, rng: np.random.Generator) -> Any:
    """The configuration with a seed drawn wherever it leaves one open, in initializers and in random layers."""
    if isinstance(config, list | tuple):
        return type(config)(_seeded(item, rng) for item in config)
    if not isinstance(config, dict):
        return config
    return {
        key: int(rng.integers(2**31)) if key == "seed" and value is None else _seeded(value, rng)
        for key, value in config.items()
    }


def _built(call: Call, config: dict[str, Any]) -> Callable[..., Any]:
    """The new layer; groups of a convolution are made to divide what it then has."""
    made: list[Any] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if not made:
            groups = config.get("groups", 1)
            whole = math.gcd(groups, int(args[0].shape[-1]), config["filters"]) if groups > 1 else groups
            made.append(cloned(call, **(config if groups == whole else {**config, "groups": whole})))
        return made[0](*args, **kwargs)

    return run


def _reshaped(call: Call) -> Callable[..., Any]:
    """A reshape that keeps the channels last: to the number of channels there now are."""
    layers = import_keras().layers
    old = call.inputs[0].shape[-1]

    def run(x: Any, *args: Any, **kwargs: Any) -> Any:
        shape = getattr(call.operation, "target_shape", None) or getattr(call.operation, "newshape", None)
        target = [*shape] if isinstance(shape, list | tuple) else [shape]
        if target[-1] == old:
            target[-1] = x.shape[-1]
        if isinstance(call.operation, layers.Layer):
            return layers.Reshape(target, name=call.name)(x)
        return import_keras().ops.reshape(x, target)

    return run
