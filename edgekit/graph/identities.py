"""Identities of channels, united where channels depend on each other: the state of the channel analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.graph.walk import Call, Graph, Tensor

Ids = np.ndarray[Any, np.dtype[np.int64]]
Count = Callable[[Ids], int]
Setting = Callable[[Count], dict[str, Any]]
Place = tuple[str, int, int]
"""Name of an operation, position of the weight in `layer.weights`, axis of the weight."""


class Identities:
    """Grows call by call; `carried` holds the identities along the last axis of each tensor, None where it is open."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.carried: dict[Tensor, Ids | None] = {}
        self.slots: dict[Place, Ids] = {}
        self.made: set[Place] = set()
        self.settings: dict[str, Setting] = {}
        self.reasons: list[tuple[int, str]] = []
        self._parents: list[int] = []

    def new(self, count: int) -> Ids:
        """Identities that nothing else has."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, one: int) -> int:
        """The identity that stands for all that `one` was united with."""
        parents = self._parents
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    def roots(self) -> Ids:
        """The root of every identity."""
        return np.array([self.root(one) for one in range(len(self._parents))], np.int64)

    def unite(self, left: Ids | None, right: Ids | None) -> None:
        """Position by position, what is in one is also in the other; open axes lock."""
        if left is None or right is None:
            self.lock(left, "meets a tensor whose channels are open")
            self.lock(right, "meets a tensor whose channels are open")
            return
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            if a != b:
                self._parents[self.root(a)] = self.root(b)

    def lock(self, ids: Ids | None, reason: str) -> None:
        """These can never be removed."""
        if ids is not None:
            self.reasons += [(int(one), reason) for one in np.unique(ids)]

    def locked(self, tensor: Tensor, reason: str) -> Ids | None:
        """New identities for a tensor that can never be removed."""
        width = tensor.shape[-1] if len(tensor.shape) > 1 else None
        if width is None:
            return None
        ids = self.new(width)
        self.lock(ids, reason)
        return ids

    def slot(self, call: Call, variable: Any, axis: int, ids: Ids) -> None:
        """The axis of a weight runs along `ids`; where the layer was called before, along those as well."""
        place = self.place(call, variable, axis)
        if place in self.slots:
            self.unite(self.slots[place], ids)
        self.slots[place] = ids

    def make(self, call: Call, variable: Any, axis: int) -> Ids:
        """The identities that a layer makes along an axis of its weight: the same at each of its calls."""
        place = self.place(call, variable, axis)
        if place not in self.slots:
            self.slots[place] = self.new(variable.shape[axis])
            self.made.add(place)
        return self.slots[place]

    def place(self, call: Call, variable: Any, axis: int) -> Place:
        """Where a weight of the call's layer is."""
        number = next(number for number, weight in enumerate(call.operation.weights) if weight is variable)
        return call.name, number, axis % len(variable.shape)
