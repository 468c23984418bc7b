"""The ranges of the activations while they train: how far each moved, and whether one has collapsed or exploded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.stages.integer_graph import IntegerGraph
from edgekit.stages.integer_model import bounds_of
from edgekit.stages.training import Callback

Array = npt.NDArray[Any]

_WIDEST = 64.0


class MovedRange(Struct, frozen=True):
    """The range of the activations that share one scale: as calibrated, and as trained."""

    tensor: str
    before: tuple[float, float]
    after: tuple[float, float]


def moved_ranges(graph: IntegerGraph, before: Array, after: Array) -> tuple[MovedRange, ...]:
    """The ranges that may move; `before` and `after` are `[groups, 2]`."""
    return tuple(
        MovedRange(graph.tensors[group[0]].name, (float(old[0]), float(old[1])), (float(new[0]), float(new[1])))
        for group, fixed, old, new in zip(graph.groups, graph.fixed, before, after, strict=True)
        if not fixed
    )


class SoundRanges(Callback):
    """Ends the training where a range is 64 times wider or narrower than it was calibrated."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph

    def start(self, model: Any, steps: int) -> None:
        """Remember the calibrated ranges."""
        self.model, self.before = model, bounds_of(model)

    def unsound(self) -> str | None:
        """The first range that collapsed or exploded, in words."""
        for found in moved_ranges(self.graph, self.before, bounds_of(self.model)):
            width = np.ptp(found.after) / np.ptp(found.before)
            if not 1 / _WIDEST <= width <= _WIDEST:
                return (
                    f"the range of {found.tensor!r} {'exploded' if width > 1 else 'collapsed'}: "
                    f"{found.before[0]:.3g}..{found.before[1]:.3g} became {found.after[0]:.3g}..{found.after[1]:.3g}"
                )
        return None
