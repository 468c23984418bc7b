"""What a forecast means on a target: operators that stop the model, that fall back, or of which nothing is known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from edgekit.finding import Finding, Level, grouped, named
from edgekit.forecast.placement import Forecast, Placement
from edgekit.forecast.units import TITLES
from edgekit.target import Target

_TOLD_BY_IO = "float-rim"  # a cast at the outside: the rule on inputs and outputs reports it
_REFUSED = {"file", "file-refused"}  # for one operator the runtime, or the compiler, takes no part of the file


def placement_findings(
    forecasts: Sequence[Forecast], target: Target, homeless: Collection[str] = ()
) -> Iterator[Finding]:
    """One finding for all operators that the first unit leaves for the same reason; not for the `homeless`.

    Of these it is said elsewhere that no unit has them.
    """
    first, rest = forecasts[0], forecasts[1:]

    def key(one: Placement) -> tuple[str, str, str, Level]:
        return one.code, one.reason, one.mend, _level(one, first, rest, target)

    left = [one for one in first.left if one.code != _TOLD_BY_IO and one.name not in homeless]
    for (code, _, mend, level), placements in grouped(left, key).items():
        one = placements[0]
        yield Finding(level, code, named(placements), _problem(one, first, level, target), mend, one.source)


def _level(one: Placement, first: Forecast, rest: Sequence[Forecast], target: Target) -> Level:
    """An info where it is not known or the delegate only hastens, a warning where another unit takes over."""
    if one.code in _REFUSED:
        return "error"
    if one.taken is None or first.unit == "xnnpack":
        return "info"
    return "warn" if _falls_back(one, rest, target) else "error"


def _falls_back(one: Placement, rest: Sequence[Forecast], target: Target) -> bool:
    """Whether the interpreter behind the first unit runs the operator."""
    interpreters = [forecast for forecast in rest if forecast.unit == "micro"]
    if interpreters:
        return bool(interpreters[0].placements[one.index].taken)
    return any(table.runs(one.name) or one.name in table.custom for table in target.operator_tables()[1:])


def _problem(one: Placement, first: Forecast, level: Level, target: Target) -> str:
    if one.taken is None:
        return f"{TITLES[first.unit]} may leave it: {one.reason}"
    tail = f"; {target.operator_tables()[-1].title} runs it" if level == "warn" else ""
    return f"not on {TITLES[first.unit]}: {one.reason}{tail}"
