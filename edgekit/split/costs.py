"""What each operator takes: measured, estimated from published figures, or counted; and the parameters of a segment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from edgekit.bench.plan import Plan as Run
from edgekit.bench.profile import profile
from edgekit.device.protocol import Device
from edgekit.errors import ModelError
from edgekit.estimate import estimate_latency
from edgekit.split.flow import Flow
from edgekit.target import Target

Array = np.ndarray[Any, Any]


class Costs(Struct, frozen=True):
    """What each operator takes, by number: seconds, or something in proportion (then not `in_seconds`).

    `basis` says where it is from; `notes` what it does not know.
    """

    values: dict[int, float]
    basis: str
    in_seconds: bool = True
    notes: tuple[str, ...] = ()

    def of(self, operators: Sequence[int]) -> float:
        """The sum over operators."""
        return sum(self.values.get(number, 0.0) for number in operators)


def measured(model: Path, run: Run, device: Device | None = None, timeout: float | None = 600.0) -> Costs:
    """Each operator alone on a device, by `bench.profile`. Raises what that raises."""
    found = profile(model, run, device, timeout=timeout)
    untimed = tuple(f"{one.operator} #{one.index} is not timed: it {one.reason}" for one in found.untimed)
    values = {one.index: one.seconds for one in found.operators}
    where = f"operators measured on {found.device}, {found.runtime.name} {found.runtime.version}"
    return Costs(values, where, notes=(*untimed, *found.warnings))


def estimated(flow: Flow, target: Target | None = None) -> Costs:
    """By a target's published figures where they carry an answer, else in proportion to multiply-accumulates.

    Raises ModelError for a model without any.
    """
    operators = {number: flow.operator(number) for number in flow.order}
    if not any(one.macs for one in operators.values()):
        raise ModelError("the model has no multiply-accumulates to count", "balance by bytes, or by measurement")
    forecast = None if target is None else estimate_latency(flow.contents, target)
    found = None if forecast is None else forecast.preferred
    if target is None or found is None:
        notes = () if forecast is None else (f"{forecast.target}: {forecast.unknown}",)
        counted = {number: float(one.macs) for number, one in operators.items()}
        return Costs(counted, "multiply-accumulates, which are no times", False, notes)
    dense, depthwise, *_ = found.terms
    values = {
        number: one.macs * (dense + depthwise * (one.name == "DEPTHWISE_CONV_2D")) for number, one in operators.items()
    }
    return Costs(values, f"estimated for {target.name}: {found.basis} ({found.source})")


def step_costs(flow: Flow, places: Sequence[int], costs: Costs) -> Array:
    """`[i, j]`: what the operators from place i to place j take, 0 where there are none."""
    sums = np.cumsum([0.0, *(costs.values.get(number, 0.0) for number in flow.order)])[list(places)]
    found: Array = np.maximum(sums[None, :] - sums[:, None], 0.0)
    return found


def step_bytes(flow: Flow, places: Sequence[int]) -> Array:
    """`[i, j]`: bytes of parameters of a segment from place i to place j; what several operators read counts once."""
    steps = [flow.order[first:last] for first, last in pairwise(places)]
    read = [{key: size for number in step for key, size in _constants(flow, number)} for step in steps]
    found = np.zeros((len(places), len(places)))
    for first in range(len(steps)):
        seen: set[int] = set()
        for last in range(first, len(steps)):
            new = {key: size for key, size in read[last].items() if key not in seen}
            seen.update(new)
            found[first, last + 1] = found[first, last] + sum(new.values())
    return found


def parameter_bytes(flow: Flow, operators: Sequence[int]) -> int:
    """Bytes of the constants that operators read, each once."""
    return sum({key: size for number in operators for key, size in _constants(flow, number)}.values())


def _constants(flow: Flow, number: int) -> list[tuple[int, int]]:
    """(buffer, bytes) of what an operator and those that prepare for it read."""
    every = (*flow.preparing[number], number)
    indices = {index for one in every for index in flow.operator(one).inputs if index >= 0}
    return [(flow.tensor(index).buffer, size) for index in indices if (size := flow.tensor(index).constant_bytes)]
