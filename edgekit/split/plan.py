"""The plan of a split, as a value to print, test and write: segments and what goes between them.

Segments are in an order in which they can run. A tensor has the number that it has in the whole model.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Balance = Literal["latency", "bytes"]
UNEVEN = 0.15


class Port(Struct, frozen=True):
    """A tensor that goes in or out: real = (stored - zero_point) * scale, where it has a scale."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    bytes: int = 0


class Segment(Struct, frozen=True):
    """A part of the model as a file of its own; `operators` are numbers in the whole model.

    `passes` are the tensors made before it (inputs of the model among them) that a later segment reads: a device that
    runs segments one after the other hands them on. `seconds` are those of its operators, None where nothing was
    measured or estimated. With an accelerator, by its forecast: how many operators it takes (`accelerated`), and bytes
    of parameters that it cannot keep (`streamed_bytes`).
    """

    file: str
    sha256: str
    file_bytes: int
    operators: tuple[int, ...]
    parameter_bytes: int
    macs: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    passes: tuple[int, ...] = ()
    seconds: float | None = None
    accelerated: int | None = None
    streamed_bytes: int | None = None


class Edge(Struct, frozen=True):
    """Tensors that go from one segment to another; None is the outside. `hops`: segments on the longest way there."""

    source: int | None
    target: int | None
    tensors: tuple[int, ...]
    bytes: int
    hops: int


class Plan(Struct, frozen=True):
    """A model in segments. `basis` says what the balance rests on.

    `uneven` is how far the worst segment is off the even share, as a share of it: for bytes to either side, for latency
    the slowest, which sets the pace. `reason` is why, where that is more than 15 %.
    """

    model: str
    sha256: str
    balance: Balance
    basis: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    segments: tuple[Segment, ...]
    edges: tuple[Edge, ...]
    uneven: float
    reason: str = ""
    format_version: int = 1

    @property
    def way_seconds(self) -> float | None:
        """Seconds of the slowest way through the segments, which one sample takes; None where they have no seconds."""
        done: list[float] = []
        for at, segment in enumerate(self.segments):
            if segment.seconds is None:
                return None
            before = [done[edge.source] for edge in self.edges if edge.target == at and edge.source is not None]
            done.append(max(before, default=0.0) + segment.seconds)
        return max(done)
