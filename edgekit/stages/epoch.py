"""One epoch of any training: its steps in turn, told of to whoever waits, and the mean of their losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from edgekit.talk import Say

_EVERY_SECONDS = 2.0


def mean_loss(
    step: Callable[[int], float], steps: int, epoch: str, stage: str, say: Say, diverged: Callable[[str], Exception]
) -> float:
    """The mean of what `step` gives for each place of an epoch, which is called `3/10` where it is the third of ten.

    Raises what `diverged` makes of the reason, at the first loss that is not finite.
    """
    total, said = 0.0, time.monotonic()
    for index in range(steps):
        loss = step(index)
        if not math.isfinite(loss):
            number = epoch.partition("/")[0]
            raise diverged(f"the loss is {loss} in epoch {number}, step {index + 1} of {steps}")
        total += loss
        if time.monotonic() - said > _EVERY_SECONDS:
            said = time.monotonic()
            say(f"{stage}: epoch {epoch}, step {index + 1}/{steps}, loss {total / (index + 1):.4g}")
    return total / steps
