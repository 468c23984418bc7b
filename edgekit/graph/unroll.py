"""Recurrent layers without a loop: each step becomes operations of its own.

TFLite runs the body of a loop in float, whatever quantizes the file; unrolled steps become integer operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.graph.rebuild import cloned, fresh, loaded, per_operation, rebuild
from edgekit.graph.walk import Call, walk
from edgekit.tf import import_keras

MOST_STEPS = 128


def unrolled(model: Any) -> Any:
    """A copy of the model with its recurrent layers unrolled; the model itself where it has none.

    Raises ModelError for more steps than a file should hold one by one, or an open number of them.
    """
    graph = walk(model)
    if not any(map(_is_looped, graph.calls)):
        return model
    return rebuild(graph, per_operation(_make))


def _make(call: Call) -> Callable[..., Any]:
    if not _is_looped(call):
        return fresh(call)  # type: ignore[no-any-return]
    steps = call.inputs[0].shape[1]
    if steps is None or steps > MOST_STEPS:
        raise ModelError(
            f"recurrent layer {call.name!r} runs {steps or 'an open number of'} steps: too many to unroll",
            f"shorten the sequence to at most {MOST_STEPS} steps (pool or stride before the layer), or leave qat out: "
            "post-training quantization keeps the loop, which then runs in float",
        )
    weights = [np.asarray(weight) for weight in call.operation.weights]
    return loaded(cloned(call, **_unrolled(call.operation)), weights)


def _unrolled(layer: Any) -> dict[str, Any]:
    """The settings that unroll a recurrent layer, or both directions of a bidirectional one."""
    if not isinstance(layer, import_keras().layers.Bidirectional):
        return {"unroll": True}
    settings = layer.get_config()
    return {side: _inner(settings[side]) for side in ("layer", "backward_layer") if settings.get(side)}


def _inner(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key != "build_config"}
    return {**kept, "config": {**settings["config"], "unroll": True}}


def _is_looped(call: Call) -> bool:
    layers = import_keras().layers
    layer = call.operation
    inner = layer.forward_layer if isinstance(layer, layers.Bidirectional) else layer
    return isinstance(inner, layers.RNN) and not inner.unroll
