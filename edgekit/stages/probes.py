"""Probes: the parts of a network that may go by degrees, each with what its variables become.

A kernel loses its smallest weights. A group of channels loses the least of its classes: every weight along them becomes
zero, those that make a channel and those that read it, which computes what the network without them would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.graph.channels import Channels, Group
from edgekit.graph.identities import Ids
from edgekit.graph.macs import Cost, total, uses
from edgekit.graph.walk import Graph
from edgekit.stages import sparsity
from edgekit.stages.channel_choice import Costs, Ranked
from edgekit.stages.channel_scores import Scores
from edgekit.stages.kernels import Kernel
from edgekit.stages.sparsity import Pattern

Values = list[tuple[Any, npt.NDArray[Any]]]
"""Variables of a network with the values they take."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A part of a network that can go by degrees; `weights` and `macs` are what it costs while it is all there.

    `values(share)` says what the variables of the network become when that share of the part is gone.
    """

    name: str
    kind: str
    weights: int
    macs: int
    values: Callable[[float], Values] = field(repr=False)


def kernel_probes(kernels: Sequence[Kernel], pattern: Pattern, macs: Mapping[str, int] | None = None) -> list[Probe]:
    """A probe for each kernel: the share of its blocks with the least magnitude goes."""
    known = macs or {}

    def values(kernel: Kernel, before: npt.NDArray[Any]) -> Callable[[float], Values]:
        return lambda share: [
            (kernel.variable, before * kernel.shaped(sparsity.mask(kernel.matrix(before), share, pattern)))
        ]

    return [
        Probe(kernel.name, kernel.kind, before.size, known.get(kernel.name, 0), values(kernel, before))
        for kernel, before in ((kernel, kernel.value) for kernel in kernels)
    ]


def kernel_macs(graph: Graph, kernels: Sequence[Kernel]) -> dict[str, int]:
    """Multiply-accumulates of each kernel by name. Raises ModelError where they depend on an open dimension."""
    times: dict[int, int] = {}
    for name, used in uses(graph).items():
        weights = getattr(graph.operations[name], "weights", ())
        times |= {id(weights[place]): count for place, count in used.weights}
    return {kernel.name: times.get(id(kernel.variable), 0) * kernel.value.size for kernel in kernels}


def channel_probes(channels: Channels, network: Graph, groups: Sequence[Group], scores: Scores) -> list[Probe]:
    """A probe for each group: the share of its classes that rank last goes, rounded, but never all.

    `network` is a graph of the same names as that of `channels`, whose variables are assigned to.
    """
    costs = Costs(channels)
    whole = total(costs.each(np.ones(channels.classes, bool)))

    def probe(group: Group, order: Ids) -> Probe:
        without = np.ones(channels.classes, bool)
        without[group.classes] = False
        left: Cost = total(costs.each(without))
        return Probe(
            group.makers[0],
            f"{group.size} channels" + (f" of {len(group.makers)} layers" if len(group.makers) > 1 else ""),
            whole.parameters - left.parameters,
            whole.macs - left.macs,
            lambda share: silenced(channels, network, order[group.size - _gone(share, group.size) :]),
        )

    return [probe(group, Ranked.of(group, scores).order) for group in groups]


def _gone(share: float, size: int) -> int:
    """How many of `size` channels a share is, never all."""
    return min(round(share * size), size - 1)


def silenced(channels: Channels, network: Graph, classes: Ids) -> Values:
    """Every weight along some classes at zero: the network computes what it would without them."""
    found: dict[int, tuple[Any, npt.NDArray[Any]]] = {}
    for name, slots in channels.slots.items():
        for slot in slots:
            places = np.flatnonzero(np.isin(slot.classes, classes))
            if len(places):
                variable = network.operations[name].weights[slot.weight]
                _, value = found.get(id(variable), (variable, variable.numpy().copy()))
                value[(slice(None),) * slot.axis + (places,)] = 0
                found[id(variable)] = variable, value
    return list(found.values())
