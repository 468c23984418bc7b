"""What `edgekit benchmark` refuses: options that mean nothing on a phone, and at the end what misses a demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.bench.baseline import NATIVE_METRICS
from edgekit.bench.delegation import Demand, unmet
from edgekit.bench.disturbances import disturbances, passing
from edgekit.bench.native import refuse_impossible
from edgekit.bench.plan import Plan
from edgekit.bench.result import Measurement, NativeMeasurement, Results
from edgekit.device.adb import AdbPhone
from edgekit.device.protocol import Device
from edgekit.errors import GateError, InputError
from edgekit.limit import Limit


def refuse_for_phones(
    places: Sequence[Device], given: Mapping[str, bool], plan: Plan | None = None, limits: Sequence[Limit] = ()
) -> None:
    """Raise InputError for an option, a plan or a limit that a phone's `benchmark_model` cannot follow.

    It makes its own inputs, and prints no single runs that could be judged.
    """
    phones = [place.name for place in places if isinstance(place, AdbPhone)]
    options = [option for option, is_given in given.items() if is_given]
    if phones and options:
        raise InputError(
            f"{phones[0]} is measured by benchmark_model, which cannot follow {', '.join(options)}",
            "leave that out; or leave --benchmark-model out, where the phone has Python with numpy and ai-edge-litert",
        )
    if phones and plan is not None:
        try:
            refuse_impossible(plan)
        except InputError as fault:
            raise InputError(f"{phones[0]}: {fault.problem}", fault.mend) from None
    unknown = [limit.text for limit in limits if limit.metric not in NATIVE_METRICS]
    if phones and unknown:
        known = f"{', '.join(NATIVE_METRICS[:-1])} or {NATIVE_METRICS[-1]}"
        raise InputError(
            f"{phones[0]} is measured by benchmark_model, which tells nothing for {', '.join(unknown)}",
            f"gate phones in a command of their own, with {known}",
        )


def refuse_unused_tool(places: Sequence[Device], tool: str | None) -> None:
    """Raise InputError for a `benchmark_model` that no device would be measured with."""
    if tool is not None and not any(isinstance(place, AdbPhone) for place in places):
        raise InputError("--benchmark-model is for phones, and none is named", "name one: --device adb://SERIAL")


def demand_delegate(results: Results, demand: Demand) -> None:
    """Raise GateError for the first measurement whose delegate did less than is demanded."""
    measured: tuple[Measurement | NativeMeasurement, ...] = (*results.measurements, *results.native)
    for one in measured:
        missing = unmet(one, demand)
        if missing is not None:
            raise GateError(
                f"{one.model.name} on {one.device}: {missing}",
                "`edgekit inspect` lists the operators and `edgekit check` says which a target's delegates take"
                + ("; --require-delegate any asks for a part only" if demand == "all" else ""),
            )


def refuse_disturbed(results: Results) -> None:
    """Raise GateError for the first measurement that was disturbed."""
    for one in results.measurements:
        found = disturbances(one)
        if found:
            raise GateError(
                f"{one.model.name} on {one.device} was disturbed: {'; '.join(found)}",
                "do what is said there and run again"
                + ("; --retries repeats it while it is disturbed" if passing(one) else ""),
            )
