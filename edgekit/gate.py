"""Gate: what a variant has to keep to be accepted."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct, structs

from edgekit.artifact import Manifest
from edgekit.errors import DataError, did_you_mean
from edgekit.limit import SHARE, parse_amount
from edgekit.metrics import higher_is_better, is_share


class Gate(Struct, frozen=True):
    """The greatest loss that is accepted, in the metric's own unit; `percent` if it was given in points of a share.

    `heads` are the bounds of outputs by their names; `max_drop` is that of every other judged output, None where none
    was given.
    """

    max_drop: float | None = None
    percent: bool = False
    heads: dict[str, Gate] = {}

    @classmethod
    def parse(cls, text: str | float) -> Gate:
        """`0.01`, `"1%"`, or by output `"kind=1%,value=0.5"`, to which one bound for all others may be added.

        Raises DataError for anything else.
        """
        text = f"{Decimal(str(text)):f}" if isinstance(text, float) else str(text)  # 5e-05 is 0.00005
        parts = [part.strip() for part in text.split(",")]
        named = [(name.strip(), drop) for name, equals, drop in (part.rpartition("=") for part in parts) if equals]
        plain = [part for part in parts if "=" not in part]
        if len(plain) > 1 or len(dict(named)) < len(named):
            raise DataError(f"{text!r} says a greatest drop twice", "give one for each output, and one for all others")
        other = cls._one(plain[0]) if plain else cls()
        return structs.replace(other, heads={name: cls._one(drop) for name, drop in named})

    @classmethod
    def _one(cls, text: str) -> Gate:
        sign, number, unit = parse_amount(text) or ("", 0.0, "?")
        if sign or unit not in SHARE:
            raise DataError(f"{text!r} is no greatest drop", "write 0.01, or 1% for one point; by output: kind=1%")
        return cls(number * SHARE[unit], unit == "%")

    def of(self, output: str) -> Gate | None:
        """The bound of an output; None where none was given."""
        return self.heads.get(output, None if self.max_drop is None else self)

    def check(self, metric: str | Sequence[str] | None, outputs: Sequence[str] = ()) -> None:
        """Raise DataError where a bound does not go with its metric, and for an output without a bound.

        `metric` is one for all judged `outputs`, or one for each of them.
        """
        if metric is None:
            raise DataError("a greatest drop needs labelled data", "give --data with labels, or no --max-drop")
        if self.heads and (unknown := sorted(self.heads.keys() - set(outputs))):
            judged = did_you_mean(unknown[0], outputs) if outputs else "the one judged output has no name: write 1%"
            raise DataError(f"--max-drop: no judged output is called {unknown[0]!r}", judged)
        for name, one in self._pairs(metric, outputs):
            bound = self.of(name)
            if bound is None:
                raise DataError(
                    f"--max-drop: no bound for the output {name!r}", f"add {name}=..., or one for all others"
                )
            bound._refuse(one)

    @staticmethod
    def _pairs(metric: str | Sequence[str], outputs: Sequence[str]) -> list[tuple[str, str]]:
        """(output, its metric) of each judged output."""
        names = outputs or ("",)
        return list(zip(names, [metric] * len(names) if isinstance(metric, str) else metric, strict=True))

    def _refuse(self, metric: str) -> None:
        share = is_share(metric)
        if share and self.max_drop is not None and self.max_drop >= 1:
            raise DataError(
                f"--max-drop {self.max_drop:g} accepts every loss: {metric} is never above 1",
                f"for {self.max_drop:g} points write --max-drop {self.max_drop:g}%",
            )
        if self.percent and not share:
            raise DataError(
                f"a percentage of {metric} is not defined", f"write the greatest drop in the unit of {metric}"
            )

    def unmet(self, manifest: Manifest, metric: str | Sequence[str], outputs: Sequence[str] = ()) -> list[str]:
        """What of a variant loses more than is accepted; `metric` and `outputs` are as for `check`."""
        judged, found = manifest.verification, []
        pairs = self._pairs(metric, outputs or [""] * len(judged.scores)) if judged else []
        for (name, one), score, difference in (
            zip(pairs, judged.scores, judged.differences, strict=True) if judged else ()
        ):
            bound = self.of(name)
            drop = -difference.value if higher_is_better(one) else difference.value
            if bound is not None and bound.max_drop is not None and not drop <= bound.max_drop:
                found.append(f"{manifest.name} loses {drop:.4g} {score.name}, more than {bound.max_drop:g}")
        return found


def unrunnable(manifest: Manifest) -> list[str]:
    """What keeps a variant from running on its target."""
    errors = [finding for finding in manifest.findings if finding.level == "error"]
    return [f"{manifest.name} cannot run on its target: {finding.problem}" for finding in errors]
