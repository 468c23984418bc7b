"""Front: what nothing beats, and which of it is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.search.budget import Budget, keeps, sure
from edgekit.search.point import Point

Vector = Sequence[float]
Prefer = Literal["score", "bytes", "latency", "ram"]
"""What the recommended file is best in."""


def dominates(a: Vector, b: Vector) -> bool:
    """Whether `a` is nowhere larger than `b`, and somewhere smaller."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def nondominated(vectors: Sequence[Vector]) -> list[int]:
    """Places of the vectors that no other dominates, in their order; of equal ones the first."""
    return [
        index
        for index, one in enumerate(vectors)
        if not any(dominates(other, one) for other in vectors)
        and not any(tuple(other) == tuple(one) for other in vectors[:index])
    ]


def front(points: Sequence[Point], budget: Budget, floor: float) -> tuple[Point, ...]:
    """The points taken to the end that keep floor and budgets, and that no other such point dominates."""
    kept = [point for point in points if accepted(point, budget, floor)]
    download = budget.max_download is not None
    return tuple(kept[index] for index in nondominated([point.objectives(download) for point in kept]))


def accepted(point: Point, budget: Budget, floor: float) -> bool:
    """Whether a point was taken to the end, keeps the floor by its value, and is within every budget."""
    return point.rung == "full" and keeps(point.loss, floor) and not budget.excess(point.cost)


def preference(budget: Budget) -> Prefer:
    """What is best where the user does not say: the score within given budgets, else speed at a given score."""
    return "score" if budget.resources else "latency"


def pick(found: Sequence[Point], prefer: Prefer, floor: float, download: bool = False) -> Point | None:
    """The recommended point of a front; None of an empty one.

    One whose whole interval is within the floor goes before one whose interval reaches below it; then the best in what
    is preferred, ties broken by the score, latency, bytes and memory.
    """
    places: dict[Prefer, int] = {"score": 0, "bytes": 1, "latency": 2, "ram": 3}

    def order(point: Point) -> tuple[float, ...]:
        loss, size, pace, memory = point.objectives(download)
        return (not sure(point.loss, floor), point.objectives(download)[places[prefer]], loss, pace, size, memory)

    return min(found, key=order, default=None)
