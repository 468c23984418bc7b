"""Files beside each other on this host: they take turns in several processes, so that noise hits all of them alike.

A file *loses* to another one only if it is slower in every process, by more than 2 % and 10 us in the middle of them.
So two races of the same files end alike although their times do not, and nothing is given up for a difference that an
app cannot feel: handing over an input and reading an output takes as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from edgekit.bench.plan import Plan
from edgekit.bench.run import Turns, alternate
from edgekit.bench.statistics import Interval, median_interval

TOLERANCE = 0.02
LEAST_SECONDS = 10e-6
PROCESSES = 4
_SECONDS_A_FILE = 0.25


class Race(Struct, frozen=True):
    """Median seconds of a run by name, `[processes]` of each; the same place is the same process."""

    seconds: dict[str, tuple[float, ...]]

    def interval(self, name: str) -> Interval:
        """The median over the processes, from their least to their greatest."""
        return median_interval(self.seconds[name])

    def loses(self, name: str, other: str) -> bool:
        """Whether a file is slower than another one, beyond the noise and by what matters."""
        pairs = list(zip(self.seconds[name], self.seconds[other], strict=True))
        middle, seconds = self.interval(name).value, self.interval(other).value
        apart = middle > seconds * (1 + TOLERANCE) and middle - seconds > LEAST_SECONDS
        return apart and all(own > its for own, its in pairs)

    def first(self, wishes: Sequence[str]) -> str:
        """The first of the wishes that does not lose to any other of them."""
        return next(name for name in wishes if not any(self.loses(name, other) for other in wishes))


def race(files: Mapping[str, bytes]) -> Race:
    """Measure files in turns on this host. Raises what `alternate` raises."""
    models, share = list(files.values()), _SECONDS_A_FILE * len(files)
    found = []
    for process in range(PROCESSES):
        order = 1 if process % 2 == 0 else -1  # what is loaded later is a little slower
        found.append(_medians(alternate(models[::order], Plan(), seconds=share))[::order])
    return Race({name: tuple(one[place] for one in found) for place, name in enumerate(files)})


def _medians(turns: Turns) -> list[float]:
    return [float(np.median(one)) for one in turns.turn_medians()]
