"""Latency choice: the largest choice of channels whose measured latency is within a budget, by few measurements.

A measurement costs seconds, so the next candidate is where a line through those measured (share of the latency over the
share of the multiply-accumulates) meets the budget, and the middle of what is left where the line leads outside.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from edgekit.errors import RecipeError, RunError
from edgekit.graph.channels import Kept
from edgekit.stages.channel_choice import Allocation, Chooser, Costs
from edgekit.talk import Say
from edgekit.units import format_seconds

_MOST = 8
_CLOSE = 0.03
_AIM = 0.99


class Candidate(Struct, frozen=True):
    """A network that was measured: its multiply-accumulates and its latency, as shares of the original's."""

    macs: float
    latency: float
    seconds: float


def within_latency(
    chooser: Chooser,
    budget: float,
    allocation: Allocation,
    costs: Costs,
    seconds: Callable[[Kept], float],
    say: Say,
) -> tuple[Kept, tuple[Candidate, ...]]:
    """The choice, and the candidates in the order in which they were measured, the original first.

    Raises RecipeError naming the least latency where even the smallest choice is above the budget, RunError for a
    latency that is no positive number.
    """
    search = _Search(chooser.chain(allocation), costs, seconds, say)
    over, within = 0, len(search.choices)
    while within - over > 1 and len(search.found) <= _MOST:
        place = search.next(over, within, budget)
        share = search.measured(place).latency
        over, within = (over, place) if share <= budget else (place, within)
        if budget - _CLOSE < share <= budget:
            break
    if within == len(search.choices):
        within -= 1
        _refuse(search.measured(within).latency, budget)
    return search.choices[within], tuple(search.found.values())


class _Search:
    """The choices by their place, and what was measured of them; place 0 is the original."""

    def __init__(self, choices: list[Kept], costs: Costs, seconds: Callable[[Kept], float], say: Say) -> None:
        self.choices, self.costs, self.seconds, self.say = choices, costs, seconds, say
        self.whole = costs.share(choices[0], "macs", 1)
        self.found: dict[int, Candidate] = {}
        self.measured(0)

    def measured(self, place: int) -> Candidate:
        """Measure a choice, once."""
        if place not in self.found:
            seconds, macs = self.seconds(self.choices[place]), self.macs(place)
            if not 0 < seconds < math.inf:
                raise RunError(
                    f"prune_channels: a latency of {seconds} seconds was measured",
                    "give a function that returns seconds, more than 0",
                )
            share = seconds / self.found[0].seconds if self.found else 1.0
            self.found[place] = Candidate(macs, share, seconds)
            self.say(f"prune_channels: {macs:.1%} of the MACs take {format_seconds(seconds)}, {share:.1%}")
        return self.found[place]

    def macs(self, place: int) -> float:
        """Multiply-accumulates of a choice, as a share of the original's."""
        return self.costs.share(self.choices[place], "macs", self.whole)

    def next(self, over: int, within: int, budget: float) -> int:
        """The place between two where the latency should be that of the budget."""
        macs = self._line(_AIM * budget)
        places = range(over + 1, within)
        place = places.start + bisect_left(places, True, key=lambda at: self.macs(at) <= macs)
        middle = (places.start + places.stop) // 2
        return place if over + 1 < place < within - 1 else middle

    def _line(self, latency: float) -> float:
        """Where a line through what was measured (and no latency without work, at first) has a latency."""
        points = [(one.macs, one.latency) for one in self.found.values()]
        macs, shares = np.array(points if len(points) > 1 else [*points, (0.0, 0.0)]).T
        slope, start = np.polyfit(macs, shares, 1)
        return float((latency - start) / slope) if slope > 0 else math.nan


def _refuse(least: float, budget: float) -> None:
    if least > budget:
        nearest = math.ceil(least * 100) / 100
        say = f"say latency = {nearest:g} or more, " if nearest < 1 else "drop this stage, or say "
        raise RecipeError(
            f"prune_channels: latency = {budget:g} cannot be met: the least this network gets is {least:.1%}",
            f"{say}a smaller `minimum`, `floor` or `multiple`, or fewer exceptions",
        )
