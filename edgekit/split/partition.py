"""The best places to cut a chain: the heaviest segment as light as it can be, then the fewest bytes across the cuts.

Dynamic programming over contiguous segments: best[k, j] = min over i of max(best[k - 1, i], cost[i, j]). Places are
numbers of a list of places where a cut is allowed, the ends among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def partition(cost: Array, crossing: Array, parts: int, slack: float = 0.0) -> tuple[int, ...] | None:
    """The `parts` - 1 inner places of the best partition of places 0 to n; None where there is none.

    `cost[i, j]` is that of a segment from place i to place j, `inf` for one that may not be; `crossing[i]` are the
    bytes across a cut at i. Of the partitions whose heaviest segment is within `slack` (a share) of the best, the one
    with the fewest bytes across its cuts is taken.
    """
    places = len(crossing)
    cost = np.where(np.triu(np.ones((places, places), bool), 1), cost, np.inf)
    best = cost[0]
    for _ in range(parts - 1):
        best = np.maximum(best[:, None], cost).min(axis=0)
    if not np.isfinite(best[-1]):
        return None
    return _cheapest(cost <= best[-1] * (1 + slack), crossing, parts)


def _cheapest(allowed: Array, crossing: Array, parts: int) -> tuple[int, ...]:
    """Inner places of the partition into allowed segments with the fewest bytes across its cuts."""
    total, before = np.where(allowed[0], 0.0, np.inf), []
    for _ in range(parts - 1):
        ways = np.where(allowed, (total + crossing)[:, None], np.inf)
        before.append(ways.argmin(axis=0))
        total = ways.min(axis=0)
    found = [len(crossing) - 1]
    for back in reversed(before):
        found.append(int(back[found[-1]]))
    return tuple(reversed(found[1:]))


def fewest(weight: Array, limit: float) -> int | None:
    """The fewest contiguous segments none of which weighs more than `limit`; None if one step alone is heavier.

    `weight[i, j]` grows with j and falls with i, so a segment may always be taken as long as it can be.
    """
    place, count, last = 0, 0, len(weight) - 1
    while place < last:
        fits = [end for end in range(place + 1, last + 1) if weight[place, end] <= limit]
        if not fits:
            return None
        place, count = max(fits), count + 1
    return count
