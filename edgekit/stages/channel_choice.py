"""Which channels go: from scores and a wish, a share of the channels or a budget, to the classes that stay."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.errors import RecipeError
from edgekit.graph.channels import Channels, Group, Kept
from edgekit.graph.identities import Ids
from edgekit.graph.macs import Cost, cost, total, uses
from edgekit.stages.allocation import Curve, prices
from edgekit.stages.channel_scores import Scores

Measure = Literal["macs", "parameters"]
Allocation = Literal["uniform", "global", "sensitivity"]


@dataclass(frozen=True)
class Limits:
    """How far a group may shrink: to `minimum` channels and to `share` of them, in multiples of `multiple`."""

    multiple: int
    minimum: int
    share: float

    def rounded(self, count: int, size: int) -> int:
        """The count brought within the limits: up to a multiple, at most the group itself."""
        wanted = max(count, self.minimum, _part(self.share, size), 1)
        return min(math.ceil(wanted / self.multiple) * self.multiple, size)


@dataclass(frozen=True, eq=False)
class Ranked:
    """A group with its classes by falling score; `retain` is the share that was asked for by name.

    `curve` says what the loss of a share changes, where that was measured.
    """

    order: Ids = field(repr=False)
    scores: npt.NDArray[np.float64] = field(repr=False)
    retain: float | None = None
    curve: Curve | None = None

    @classmethod
    def of(cls, group: Group, scores: Scores, retain: float | None = None) -> Ranked:
        """Equal scores stay in the order of the channels."""
        own = scores[group.classes]
        order = np.argsort(-own, kind="stable")
        return cls(group.classes[order], own[order], retain)


@dataclass(frozen=True, eq=False)
class Chooser:
    """Turns one number, a ratio, a threshold or a price, into the classes that stay."""

    classes: int
    groups: tuple[Ranked, ...]
    limits: Limits

    def by_ratio(self, ratio: float) -> Kept:
        """The best `ratio` of each group stays."""
        return self._kept(lambda group: _part(ratio, len(group.order)))

    def by_threshold(self, threshold: float) -> Kept:
        """What scores above `threshold` stays."""
        return self._kept(lambda group: int((group.scores > threshold).sum()))

    def by_price(self, price: float) -> Kept:
        """What is worth more than `price` stays, by the curves of the groups."""
        return self._kept(lambda group: _part(1 - group.curve.share(price) if group.curve else 1.0, len(group.order)))

    def choices(self, allocation: Allocation) -> tuple[Callable[[float], Kept], list[float]]:
        """What makes a choice of a number, and the numbers, each of which keeps at most what those before it keep."""
        if allocation == "uniform":
            return self.by_ratio, _ratios(self.groups)
        if allocation == "global":
            return self.by_threshold, _thresholds(self.groups)
        return self.by_price, prices([group.curve for group in self.groups if group.curve])

    def chain(self, allocation: Allocation) -> list[Kept]:
        """The choices from the network as it is to the smallest, one group shrinking at a time, the worst first."""
        choose, values = self.choices(allocation)
        found = [np.ones(self.classes, bool)]
        for value in values:
            wanted, last = choose(value), found[-1]
            steps = [(group, last[group.order] & ~wanted[group.order]) for group in self.groups]
            for group, _ in sorted(
                [(group, float(group.scores[goes].mean())) for group, goes in steps if goes.any()], key=lambda s: s[1]
            ):
                found.append(found[-1].copy())
                found[-1][group.order] = wanted[group.order]
        return found

    def _kept(self, count: Callable[[Ranked], int]) -> Kept:
        kept = np.ones(self.classes, bool)
        for group in self.groups:
            size = len(group.order)
            wanted = count(group) if group.retain is None else _part(group.retain, size)
            kept[group.order[self.limits.rounded(wanted, size) :]] = False
        return kept

    def within(self, budget: float, measure: Measure, allocation: Allocation, costs: Costs) -> Kept:
        """The largest choice that costs at most `budget` of the original.

        Raises RecipeError naming the smallest that the limits allow where that is too much.
        """
        choose, values = self.choices(allocation)
        whole = costs.share(np.ones(self.classes, bool), measure, 1)

        def fits(value: float) -> bool:
            return costs.share(choose(value), measure, whole) <= budget

        if not fits(values[-1]):
            least = costs.share(choose(values[-1]), measure, whole)
            nearest = math.ceil(least * 1000) / 1000
            say = f"say {measure} = {nearest:g} or more, " if nearest < 1 else "drop this stage, or say "
            raise RecipeError(
                f"prune_channels: {measure} = {budget:g} cannot be met: the least this network gets is {least:.1%}",
                f"{say}a smaller `minimum`, `floor` or `multiple`, or fewer exceptions",
            )
        first = choose(values[bisect_left(values, True, key=fits)])
        return self._filled(first, lambda kept: costs.share(kept, measure, whole) <= budget)

    def _filled(self, kept: Kept, fits: Callable[[Kept], bool]) -> Kept:
        """One more step for each group that still fits, the best channels first: rounding leaves much of a budget."""
        steps: list[tuple[float, Ids]] = []
        for group in self.groups:
            stays = int(kept[group.order].sum())
            if group.retain is None and stays < len(group.order):
                step = slice(stays, stays + self.limits.multiple)
                steps.append((float(group.scores[step].mean()), group.order[step]))
        for _, classes in sorted(steps, key=lambda step: -step[0]):
            more = kept.copy()
            more[classes] = True
            kept = more if fits(more) else kept
        return kept


class Costs:
    """What a network costs for any choice of classes."""

    def __init__(self, channels: Channels) -> None:
        self.channels, self._uses = channels, uses(channels.graph)

    def each(self, kept: Kept) -> dict[str, Cost]:
        """The cost of every operation."""

        def size(name: str, place: int) -> int:
            return math.prod(self.channels.weight_shape(name, place, kept))

        return {name: cost(self.channels.graph, name, used, size) for name, used in self._uses.items()}

    def share(self, kept: Kept, measure: Measure, whole: float) -> float:
        """The cost of the network, divided by `whole`."""
        return float(getattr(total(self.each(kept)), measure)) / whole


def _part(ratio: float, size: int) -> int:
    return math.ceil(ratio * size - 1e-9)


def _ratios(groups: tuple[Ranked, ...]) -> list[float]:
    """Every ratio that changes a count, falling."""
    return sorted({place / len(group.order) for group in groups for place in range(len(group.order) + 1)}, reverse=True)


def _thresholds(groups: tuple[Ranked, ...]) -> list[float]:
    """Every threshold that changes a count, rising."""
    found: list[Any] = sorted({float(score) for group in groups for score in group.scores})
    return [-math.inf, *found]
