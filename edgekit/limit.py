"""Limits of a gate, `p90>+5%`: one metric, the side that is refused, and an amount with its unit.

A signed amount is a change against the baseline, in per cent of it (`+5%`) or in the metric's own unit (`+0.5ms`); one
without a sign is the value itself (`12ms`). Inside, amounts are seconds, bytes and plain numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from edgekit.errors import InputError, did_you_mean

Side = Literal[">", "<"]
Sort = Literal["value", "difference", "share"]
Outcome = Literal["kept", "exceeded", "undecided"]
Units = Mapping[str, float]

SECONDS: Units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
BYTES: Units = {"B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}
NUMBER: Units = {"": 1.0}
SHARE: Units = {"": 1.0, "%": 0.01}

_AMOUNT = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)\s*([^\W\d_]*|%)")
_LIMIT = re.compile(r"\s*(\w+)\s*([<>])\s*(\S.*?)\s*")
_LIKE = "for example 'p90>+5%' (change against the baseline), 'p90>12ms' or 'peak>80MiB'"


class Limit(Struct, frozen=True):
    """What is refused: a `metric` on the `side` of `amount`; `text` is how it was written."""

    text: str
    metric: str
    side: Side
    amount: float
    sort: Sort

    @property
    def needs_baseline(self) -> bool:
        """True where the amount is a change against something."""
        return self.sort != "value"

    def judge(self, low: float, high: float) -> Outcome:
        """`exceeded` only if the whole interval is beyond the amount, `kept` if none of it is."""
        if self.side == "<":
            low, high = -high, -low
        amount = self.amount if self.side == ">" else -self.amount
        return "exceeded" if low > amount else "undecided" if high > amount else "kept"


def parse_amount(text: str) -> tuple[str, float, str] | None:
    """Sign, number and unit of `+5%` or `12 ms`; None where the text is no such thing."""
    found = _AMOUNT.fullmatch(text.strip())
    return (found[1], float(found[2]), found[3]) if found else None


def parse_limit(text: str, metrics: Mapping[str, Units]) -> Limit:
    """A limit on one of `metrics` (name to its units). Raises InputError naming the nearest word that there is."""
    found = _LIMIT.fullmatch(text)
    parts = parse_amount(found[3]) if found else None
    if found is None or parts is None:
        raise InputError(f"{text!r} is no limit", f"write METRIC>AMOUNT, {_LIKE}")
    metric, side, (sign, number, unit) = found[1], found[2], parts
    if metric not in metrics:
        raise InputError(f"{text!r}: {metric!r} is no metric", did_you_mean(metric, metrics))
    signed = -number if sign == "-" else number
    if sign and unit == "%":
        return Limit(text, metric, side, signed / 100, "share")  # type: ignore[arg-type]
    scale = _scale(text, metric, unit, metrics[metric])
    return Limit(text, metric, side, signed * scale, "difference" if sign else "value")  # type: ignore[arg-type]


def _scale(text: str, metric: str, unit: str, units: Units) -> float:
    if unit in units:
        return units[unit]
    if unit == "%":
        raise InputError(f"{text!r}: per cent of what?", "a change against the baseline has a sign: +5%")
    problem = f"{unit!r} is no unit of {metric}" if unit else f"the unit of {metric} is missing"
    near = {known.lower(): known for known in units}.get(unit.lower())
    raise InputError(
        f"{text!r}: {problem}",
        f"did you mean {near!r}?" if near else f"known: {', '.join(filter(None, units)) or 'none'}",
    )
