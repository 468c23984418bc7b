"""Whether the delegate that was asked for did the work: in words, and as a demand."""

from __future__ import annotations

from typing import Literal

from edgekit.bench.result import Delegation, Measurement, NativeMeasurement

Demand = Literal["any", "all"]


def unmet(measurement: Measurement | NativeMeasurement, demand: Demand) -> str | None:
    """What the demand misses, in words; None where it is met.

    `any` asks that the delegate took something, `all` that it left nothing. The delegate is the one of the plan, else
    XNNPACK.
    """
    if isinstance(measurement, NativeMeasurement):
        return _unmet_natively(measurement, demand)
    if not measurement.delegations:
        return "the runtime does not tell what a delegate took, or none was on"
    asked = measurement.delegations[0]
    met = asked.partitions > 0 and (demand == "any" or not asked.left)
    return None if met else in_words(asked)


def in_words(found: Delegation) -> str:
    """`XNNPACK took 29 of 31 operators in 2 partitions; left to others: 2 PAD`, the most frequent first."""
    pieces = f" in {_partitions(found.partitions)}" if found.partitions else ""
    by_count = sorted(found.left.items(), key=lambda item: (-item[1], item[0]))
    left = ", ".join(f"{count} {name}" for name, count in by_count)
    rest = f"; left to others: {left}" if left else ""
    return f"{found.delegate} took {found.delegated} of {found.operators} operators{pieces}{rest}"


def _unmet_natively(measurement: NativeMeasurement, demand: Demand) -> str | None:
    said = measurement.printed
    if said.delegate is None:
        return "benchmark_model names no delegate that it applied"
    met = bool(said.delegate_partitions) and (demand == "any" or said.fully_delegated)
    return None if met else native_in_words(measurement)


def native_in_words(measurement: NativeMeasurement) -> str:
    """The same of what `benchmark_model` says, which names no operators."""
    said = measurement.printed
    share = "nothing" if not said.delegate_partitions else "the whole graph" if said.fully_delegated else "a part"
    if said.operators is not None:
        share = f"{said.delegated} of {said.operators} operators"
    return f"{said.delegate} took {share} in {_partitions(said.delegate_partitions or 0)}"


def _partitions(count: int) -> str:
    return f"{count} partition{'s' * (count != 1)}"
