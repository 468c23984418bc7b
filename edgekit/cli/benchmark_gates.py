"""What `edgekit benchmark` refuses after it has shown and written everything: `--require-delegate` and `--strict`."""

from __future__ import annotations

from edgekit.bench.delegation import Demand, unmet
from edgekit.bench.disturbances import disturbances
from edgekit.bench.result import Measurement, NativeMeasurement, Results
from edgekit.errors import GateError


def demand_delegate(results: Results, demand: Demand) -> None:
    """Raise GateError for the first measurement whose delegate did less than is demanded."""
    measured: tuple[Measurement | NativeMeasurement, ...] = (*results.measurements, *results.native)
    for one in measured:
        missing = unmet(one, demand)
        if missing is not None:
            raise GateError(
                f"{one.model.name} on {one.device}: {missing}",
                "`edgekit inspect` lists the operators and `edgekit check` says which a target's delegates take; "
                "--require-delegate any asks for a part only",
            )


def refuse_disturbed(results: Results) -> None:
    """Raise GateError for the first measurement that was disturbed."""
    for one in results.measurements:
        found = disturbances(one)
        if found:
            raise GateError(
                f"{one.model.name} on {one.device} was disturbed: {'; '.join(found)}",
                "do what is said there and run again; --retries repeats it while it is disturbed",
            )
