"""Gate: what a variant has to keep to be accepted."""

from __future__ import annotations

import re

from msgspec import Struct

from edgekit.artifact import Manifest
from edgekit.errors import DataError
from edgekit.limit import SHARE, parse_amount
from edgekit.metrics import higher_is_better

SHARES = re.compile(r"accuracy|auc|mean_iou|top\d+")
"""Metrics that lie between 0 and 1."""


class Gate(Struct, frozen=True):
    """The greatest loss that is accepted, in the metric's own unit; `percent` if it was given in points of a share."""

    max_drop: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str | float) -> Gate:
        """`0.01`, `"0.01"` or `"1%"`. Raises DataError for anything else."""
        sign, number, unit = parse_amount(str(text)) or ("", 0.0, "?")
        if sign or unit not in SHARE:
            raise DataError(f"{text!r} is no greatest drop", "write 0.01, or 1% for one point")
        return cls(number * SHARE[unit], unit == "%")

    def check(self, metric: str | None) -> None:
        """Raise DataError where the bound does not go with the metric."""
        if metric is None:
            raise DataError("a greatest drop needs labelled data", "give --data with labels, or no --max-drop")
        share = SHARES.fullmatch(metric)
        if share and self.max_drop >= 1:
            raise DataError(
                f"--max-drop {self.max_drop:g} accepts every loss: {metric} is never above 1",
                f"for {self.max_drop:g} points write --max-drop {self.max_drop:g}%",
            )
        if self.percent and not share:
            raise DataError(
                f"a percentage of {metric} is not defined", f"write the greatest drop in the unit of {metric}"
            )

    def unmet(self, manifest: Manifest, metric: str) -> list[str]:
        """What of a variant loses more than is accepted."""
        judged, found = manifest.verification, []
        for score, difference in zip(judged.scores, judged.differences, strict=True) if judged else ():
            drop = -difference.value if higher_is_better(metric) else difference.value
            if not drop <= self.max_drop:
                found.append(f"{manifest.name} loses {drop:.4g} {score.name}, more than {self.max_drop:g}")
        return found


def unrunnable(manifest: Manifest) -> list[str]:
    """What keeps a variant from running on its target."""
    errors = [finding for finding in manifest.findings if finding.level == "error"]
    return [f"{manifest.name} cannot run on its target: {finding.problem}" for finding in errors]
