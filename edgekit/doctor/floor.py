"""Floor: the least score that is accepted of a file."""

from __future__ import annotations

from msgspec import Struct

from edgekit.errors import DataError
from edgekit.gate import Gate
from edgekit.metrics import higher_is_better, is_share


class Floor(Struct, frozen=True):
    """A bound in the unit of the metric: the least score, or the greatest where less is better."""

    bound: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str | float) -> Floor:
        """`0.9`, `"0.9"` or `"90%"`. Raises DataError for anything else."""
        try:
            found = Gate.parse(text)
        except DataError:
            raise DataError(f"{text!r} is no score", "write --floor 0.9, or 90%") from None
        if found.max_drop is None or found.heads:
            raise DataError(f"{text!r} is no score", "write --floor 0.9, or 90%")
        return cls(found.max_drop, found.percent)

    def check(self, metric: str | None, float_score: float | None) -> None:
        """Raise DataError where there is nothing to hold against, or the float model itself does not reach it."""
        if metric is None or float_score is None:
            raise DataError("a floor needs labelled data, of one metric", "give --data with such labels, or no --floor")
        self.refuse_unit(metric)
        if not self.met(metric, float_score):
            raise DataError(
                f"the float model itself scores {float_score:.4f} {metric}, and the floor is {self.bound:g}",
                "set a floor that the float model reaches, or train it further: int8 does not improve on it",
            )

    def refuse_unit(self, metric: str) -> None:
        """Raise DataError for a percentage of a metric that is no share."""
        if self.percent and not is_share(metric):
            raise DataError(f"a percentage of {metric} is not defined", f"write the floor in the unit of {metric}")

    def met(self, metric: str | None, score: float | None) -> bool:
        """Whether a score is accepted; none is not."""
        if metric is None or score is None:
            return False
        return score >= self.bound if higher_is_better(metric) else score <= self.bound
