"""Results of several files as one, for a fleet or for several processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from edgekit.bench.result import Measurement, NativeMeasurement, Results

T = TypeVar("T", Measurement, NativeMeasurement)


def merge(several: Iterable[Results]) -> Results:
    """All measurements, identical ones once, ordered by model, device and time."""
    files = list(several)
    return Results(
        _in_order(one for results in files for one in results.measurements),
        _in_order(one for results in files for one in results.native),
    )


def _in_order(found: Iterable[T]) -> tuple[T, ...]:
    distinct = {msgspec.json.encode(one): one for one in found}
    return tuple(sorted(distinct.values(), key=lambda one: (one.model.name, one.device, one.started)))
