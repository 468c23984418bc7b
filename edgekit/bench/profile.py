"""Where the time goes: each operator of a model timed alone, in turns with the whole, in one process.

A delegate takes a graph whole and tells nothing of its inside, so each operator runs as a model of its own, with the
same runtime, threads and delegate. The time of a call that computes nothing is taken off. What that cannot see, such as
values that are still in the cache, is told by `sum_of_parts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from edgekit.bench.disturbances import open_dimensions
from edgekit.bench.plan import Plan
from edgekit.bench.result import Delegation, Runtime
from edgekit.bench.run import alternate
from edgekit.device.protocol import Device
from edgekit.errors import ModelError
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.pieces import Piece, empty, pieces
from edgekit.units import format_seconds

_TURNS, _TURN_SECONDS = 8, 0.004
_NO_END = 1e9  # seconds
ADDS_UP = (0.85, 1.15)
_SHORT = 20  # calls
_INSTANT = 1e-9  # seconds: the clock's own unit


class OperatorTime(Struct, frozen=True):
    """One operator, alone: median seconds of a run without those of the call, and its share of the sum of all.

    `delegated` is null where the runtime does not tell; `delegate` is the name of the one that took it.
    """

    index: int
    operator: str
    output: str
    dtype: str
    macs: int
    seconds: float
    share: float
    delegated: bool | None
    delegate: str | None = None


class TypeTime(Struct, frozen=True):
    """All operators of one type together."""

    operator: str
    dtype: str
    count: int
    macs: int
    seconds: float
    share: float


class Untimed(Struct, frozen=True):
    """An operator that cannot run alone, and why."""

    index: int
    operator: str
    output: str
    reason: str


class Profile(Struct, frozen=True):
    """Times of a model's operators on a device, in the order in which they run; seconds are medians.

    `call_seconds` is what calling the runtime from Python takes, which is in `whole_seconds`. `sum_of_parts` is the sum
    of the operators' times over that of the whole model, the call taken off. `delegations` is what delegates took of
    the whole. `warnings` tell if the parts do not add up to the whole within `ADDS_UP`, and of open dimensions.
    """

    model: str
    device: str
    runtime: Runtime
    threads: int
    whole_seconds: float
    call_seconds: float
    sum_of_parts: float
    operators: tuple[OperatorTime, ...]
    untimed: tuple[Untimed, ...]
    delegations: tuple[Delegation, ...] = ()
    warnings: tuple[str, ...] = ()
    format_version: int = 1

    @property
    def types(self) -> tuple[TypeTime, ...]:
        """The same by type of operator and of its numbers, the slowest first."""
        groups = defaultdict(list)
        for one in self.operators:
            groups[one.operator, one.dtype].append(one)
        found = [
            TypeTime(
                *key,
                count=len(group),
                macs=sum(one.macs for one in group),
                seconds=sum(one.seconds for one in group),
                share=sum(one.share for one in group),
            )
            for key, group in groups.items()
        ]
        return tuple(sorted(found, key=lambda one: -one.seconds))


def profile(
    model: Path, plan: Plan | None = None, device: Device | None = None, *, timeout: float | None = 600.0
) -> Profile:
    """Time each operator of a `.tflite` alone, and the whole, by the threads, cores, runtime and delegate of the plan.

    `device` must be open; without one this machine is used. Raises ModelError for a file in which no operator can run
    alone, and what `alternate` raises.
    """
    plan, data = plan or Plan(), bytes(flatbuffer.read_bytes(model))
    flatbuffer.open_model(data, str(model))
    found = list(pieces(data))
    timed = [(piece, piece.file) for piece in found if piece.file is not None]
    if not timed:
        raise ModelError(f"{model}: none of its {len(found)} operators can run alone", "use `edgekit benchmark`")
    files: list[bytes | Path] = [empty(), model, *(file for _, file in timed)]
    seen = alternate(files, plan, device, turns=_TURNS, turn_seconds=_TURN_SECONDS, seconds=_NO_END, timeout=timeout)
    call, whole, *medians = (float(np.median(samples)) / 1e9 for samples in seen.steady_ns)
    alone = [max(seconds - call, 0.0) for seconds in medians]
    total = sum(alone) or _INSTANT
    took = zip(seen.delegate_partitions[2:], seen.delegations[2:], strict=True)
    operators = tuple(
        _timed(piece, seconds, total, *by) for (piece, _), seconds, by in zip(timed, alone, took, strict=True)
    )
    untimed = tuple(
        Untimed(piece.operator.index, piece.operator.name, piece.operator.output_name, piece.reason)
        for piece in found
        if piece.file is None
    )
    where = device.name if device else "local"
    parts = total / max(whole - call, _INSTANT)
    took_of_whole, inputs = seen.delegations[1], read_contents(data, str(model)).inputs
    doubts = (*open_dimensions(inputs), *not_adding_up(parts, call, whole, len(untimed)))
    return Profile(
        str(model), where, seen.runtime, plan.threads, whole, call, parts, operators, untimed, took_of_whole, doubts
    )


def not_adding_up(parts: float, call_seconds: float, whole_seconds: float, untimed: int) -> Iterator[str]:
    """What a sum of parts outside of `ADDS_UP` means, in words; nothing inside.

    Measured on the build host: 0.98 to 1.01 for four networks whose operators all run alone and that take longer than
    20 calls; 0.81 to 2.83 for nine others.
    """
    if ADDS_UP[0] <= parts <= ADDS_UP[1]:
        return
    if whole_seconds < _SHORT * call_seconds:
        why = f"the whole takes little more than the call ({format_seconds(call_seconds)}), which each alone needs"
    elif parts > ADDS_UP[1]:
        why = "alone each pays what they share in the whole: threads are started, values copied for a delegate"
    elif untimed:
        why = "1 operator is not timed" if untimed == 1 else f"{untimed} operators are not timed"
    else:
        why = "in the whole they wait for each other's values, which alone are in the cache"
    yield f"the operators alone add up to {parts:.2f} times the whole, so the shares are a rough guide: {why}"


def _timed(
    piece: Piece, seconds: float, total: float, partitions: int | None, delegations: tuple[Delegation, ...]
) -> OperatorTime:
    operator, delegated = piece.operator, None if partitions is None else partitions > 0
    return OperatorTime(
        operator.index,
        operator.name,
        operator.output_name,
        operator.dtype,
        operator.macs,
        seconds,
        seconds / total,
        delegated,
        next((one.delegate for one in delegations if one.partitions), None),
    )
