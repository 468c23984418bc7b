"""What is known of one recipe: what its file costs, and what it loses against the float model."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from edgekit.estimate import Estimate
from edgekit.metrics import Score, higher_is_better
from edgekit.verify import Verification

Rung = Literal["shape", "proxy", "full"]
"""How far a recipe was taken: its untrained network, a share of its epochs, all of it."""

_GRID = math.log(1.05)


class Timing(Struct, frozen=True):
    """Median seconds of one inference as measured on a device, with its 95 % interval."""

    seconds: float
    low: float
    high: float
    device: str
    runtime: str
    kind: Literal["measurement"] = "measurement"


class Cost(Struct, frozen=True):
    """What a file takes. `arena_bytes` are the tensors between operators and states, None where a delegate has them.

    Latency is `timing` where a device measured it, or `estimate` where figures of others say something, never both;
    where there is neither, multiply-accumulates rank. `faults` are what keeps the file from running on the target.
    """

    file_bytes: int
    deflated_bytes: int
    macs: int
    arena_bytes: int | None = None
    timing: Timing | None = None
    estimate: Estimate | None = None
    faults: tuple[str, ...] = ()

    @property
    def latency(self) -> float | None:
        """Seconds of one inference, measured or estimated; None where it is not known."""
        found = self.timing or self.estimate
        return found.seconds if found else None

    @property
    def pace(self) -> float:
        """What ranks by speed: seconds, or multiply-accumulates where those are not known.

        Measured times are on a grid of 5 %, so that noise makes no file better than its like. Where figures cover some
        number formats only, what is known goes before what is not: multiply-accumulates are larger than any seconds.
        """
        if self.timing:
            return math.exp(round(math.log(self.timing.seconds) / _GRID) * _GRID)
        return self.estimate.seconds if self.estimate else float(self.macs)


class Loss(Struct, frozen=True):
    """How much worse than the float model on the same samples, in the unit of the metric, with its 95 % interval.

    Below zero the file is better. Of several outputs it is the one that loses most, `head` by its place.
    """

    value: float
    low: float
    high: float
    samples: int
    head: int = 0

    @classmethod
    def of(cls, found: Verification, metric: str) -> Loss:
        """The loss that a verification found; it must have scores."""
        sign = -1.0 if higher_is_better(metric) else 1.0
        losses = [sign * one.value for one in found.differences]
        head = losses.index(max(losses))
        worst = found.differences[head]
        low, high = sorted((sign * worst.low, sign * worst.high))
        return cls(losses[head], low, high, found.samples, head)


class Point(Struct, frozen=True):
    """One recipe, taken as far as `rung` says: the file it made, what that costs and what it loses."""

    recipe: str
    sha256: str
    cost: Cost
    loss: Loss
    scores: tuple[Score, ...]
    rung: Rung = "full"

    @property
    def score(self) -> Score:
        """That of the output that loses most."""
        return self.scores[self.loss.head]

    def objectives(self, download: bool) -> tuple[float, float, float, float]:
        """What the search makes small: loss, bytes (deflated ones if `download`), latency or work, working memory."""
        size = self.cost.deflated_bytes if download else self.cost.file_bytes
        return self.loss.value, float(size), self.cost.pace, float(self.cost.arena_bytes or 0)
