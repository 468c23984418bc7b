"""Where operators run: one placement an operator, one forecast a unit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Unit = Literal["edgetpu", "ethos-u", "xnnpack", "gpu", "nnapi", "cpu", "micro"]


class Placement(Struct, frozen=True):
    """Where one operator of the main graph runs, and why not on the unit that was asked about."""

    index: Annotated[int, Meta(description="Number of the operator, as `edgekit inspect` counts.")]
    name: str
    taken: Annotated[bool | None, Meta(description="Whether the unit takes it; null: nothing is documented.")]
    code: Annotated[str, Meta(description="Name of the rule that keeps it off; empty where it is taken.")] = ""
    reason: str = ""
    mend: str = ""
    source: str = ""


class Forecast(Struct, frozen=True):
    """What one unit takes of a file: every operator of the main graph in order, and in how many connected pieces."""

    unit: Unit
    placements: tuple[Placement, ...]
    partitions: int
    version: Annotated[str, Meta(description="Version of the runtime or compiler that the rules are those of.")] = ""

    @property
    def left(self) -> tuple[Placement, ...]:
        """The operators that the unit does not take for certain."""
        return tuple(placement for placement in self.placements if not placement.taken)
