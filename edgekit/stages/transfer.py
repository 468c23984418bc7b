"""Transfer: a network begins with the weights of another one, layer by layer, where names and shapes are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import RecipeError
from edgekit.graph.rebuild import assign
from edgekit.graph.walk import walk

_SHOWN = 5


@dataclass(frozen=True)
class Transferred:
    """Names of the layers that took over weights, why each other layer with weights did not, and what was left over."""

    loaded: tuple[str, ...]
    kept: dict[str, str]
    unused: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """What to tell of it."""
        kept = [f"{name} ({why})" for name, why in self.kept.items()]
        told = [f"weights: {len(self.loaded)} of {len(self.loaded) + len(kept)} layers begin with those of the file"]
        told += [f"begin anew: {_some(kept)}"] if kept else []
        return (*told, *([f"in the file and not here: {_some(self.unused)}"] if self.unused else []))


def transfer(network: Any, source: Any) -> Transferred:
    """Give the layers of a Keras model the weights of those of `source` that have their names and shapes.

    `network` is changed. Raises RecipeError where no layer fits.
    """
    ours, theirs = _weighted(network), _weighted(source)
    kept = {name: why for name, layer in ours.items() if (why := _misfit(layer, theirs.get(name)))}
    loaded = tuple(name for name in ours if name not in kept)
    if not loaded:
        raise RecipeError(
            f"weights: no layer of {network.name!r} fits one of {source.name!r}: "
            f"{_some([f'{name} ({why})' for name, why in kept.items()])}",
            f"give weights of a network with the same layer names; it has {_some(list(theirs)) or 'none with weights'}",
        )
    for name in loaded:
        assign(ours[name], [np.asarray(weight) for weight in theirs[name].weights])
    return Transferred(loaded, kept, tuple(name for name in theirs if name not in ours))


def _weighted(model: Any) -> dict[str, Any]:
    return {name: layer for name, layer in walk(model).layers.items() if layer.weights}


def _misfit(ours: Any, theirs: Any | None) -> str:
    """Why a layer cannot take over weights; empty where it can."""
    if theirs is None:
        return "not in the file"
    here, there = ([tuple(weight.shape) for weight in layer.weights] for layer in (ours, theirs))
    pair = next(((a, b) for a, b in zip(here, there) if a != b), None)  # noqa: B905
    if pair:
        return f"{pair[1]} in the file, {pair[0]} here"
    return "" if len(here) == len(there) else f"{len(there)} weights in the file, {len(here)} here"


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
