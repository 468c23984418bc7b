"""The same work on several devices at once; what fails on one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgekit.device.protocol import Device
from edgekit.errors import EdgekitError

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What one device gave: a value, or the error that ended it."""

    device: str
    value: T | None = None
    error: EdgekitError | None = None


def on_all(devices: Sequence[Device], work: Callable[[Device], T]) -> list[Outcome[T]]:
    """`work` on each device, opened for it, all at once, in the order given.

    Ctrl-C ends what runs on all of them before it goes on.
    """
    if len(devices) == 1:
        return [_on(devices[0], work)]
    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(_on, device, work) for device in devices]
        try:
            wait(futures)
        except BaseException:
            for device in devices:
                device.cancel()
            raise
    return [future.result() for future in futures]


def _on(device: Device, work: Callable[[Device], T]) -> Outcome[T]:
    try:
        with device as place:
            return Outcome(device.name, value=work(place))
    except EdgekitError as error:
        return Outcome(device.name, error=error)
