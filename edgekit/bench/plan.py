"""What is measured, how long, and with which runtime: decided before anything runs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

RuntimeName = Literal["auto", "ai-edge-litert", "tflite-runtime"]
Seconds = Annotated[float, Meta(ge=0)]


class WarmUp(Struct, frozen=True, forbid_unknown_fields=True):
    """Runs in windows until the medians of two neighbours differ by at most `tolerance`, or time is over."""

    window_runs: Annotated[int, Meta(ge=1)] = 3
    window_seconds: Seconds = 0.05
    tolerance: Annotated[float, Meta(ge=0)] = 0.02
    max_seconds: Seconds = 1.0


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """How one model is measured.

    Steady runs stop after `min_runs` and `min_seconds`, or at `max_runs` or `max_seconds`, whichever comes first.
    """

    threads: Annotated[int, Meta(ge=1)] = 1
    xnnpack: bool = True
    runtime: RuntimeName = "auto"
    min_runs: Annotated[int, Meta(ge=1)] = 30
    max_runs: Annotated[int, Meta(ge=1)] = 50_000
    min_seconds: Seconds = 1.0
    max_seconds: Seconds = 10.0
    warm_up: WarmUp = WarmUp()
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.min_runs > self.max_runs or self.min_seconds > self.max_seconds:
            raise ValueError("the least runs and seconds must not be above the most")

    @property
    def fixed_runs(self) -> bool:
        """True if the number of runs was asked for, whatever time they take."""
        return self.min_runs == self.max_runs


def plan_for(
    runs: int | None = None,
    seconds: float | None = None,
    threads: int = 1,
    xnnpack: bool = True,
    runtime: RuntimeName = "auto",
    seed: int = 0,
) -> Plan:
    """A plan for exactly `runs` runs, or for at least `seconds` of them, or the default; never both limits."""
    base = Plan(threads=threads, xnnpack=xnnpack, runtime=runtime, seed=seed)
    if runs is not None and seconds is not None:
        raise ValueError("give runs or seconds, not both")
    changes: dict[str, float] = {}
    if runs is not None:
        changes = {"min_runs": runs, "max_runs": runs, "min_seconds": 0.0, "max_seconds": 3600.0}
    if seconds is not None:
        changes = {"min_runs": 2, "max_runs": 1_000_000, "min_seconds": seconds, "max_seconds": seconds}
    fields = {name: getattr(base, name) for name in base.__struct_fields__}
    return Plan(**{**fields, **changes})
