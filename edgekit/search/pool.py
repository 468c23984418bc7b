"""Pool: several devices of one kind, measured by several workers, one run at a time on each.

A device is had only while it measures. One that stops answering is left out, asked again after a growing pause, and
taken back when it answers; where none does, the pool waits for the first that comes back.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from edgekit.bench.plan import Plan
from edgekit.bench.result import Measurement
from edgekit.bench.run import measure
from edgekit.bench.statistics import summarize
from edgekit.device.find import find_device
from edgekit.device.protocol import Device
from edgekit.errors import DeviceBusy, DeviceError, RunError
from edgekit.talk import Line, Say
from edgekit.units import format_seconds

ALIKE = 0.10
"""Share by which the latencies of one file may differ between devices of one kind."""
_BUSY_SECONDS = 0.5
_GONE_SECONDS = (5.0, 120.0)
_MOST_FAILURES = 3

Find = Callable[[str], Device]


class Pool:
    """The devices at `addresses`; `find` gives one that is not yet open and waits for nobody."""

    def __init__(self, addresses: Sequence[str], say: Say, find: Find | None = None) -> None:
        self.addresses, self.say = tuple(dict.fromkeys(addresses)), say
        self._find = find or (lambda address: find_device(address, native=False, wait=0.0))
        for address in self.addresses:
            self._find(address)  # an address that is none is told at the beginning
        self._next = os.getpid() % len(self.addresses)  # workers begin with different devices
        self._at = self.addresses[0]
        self._gone: dict[str, _Gone] = {}

    @property
    def name(self) -> str:
        """The devices in a word."""
        return ", ".join(self.addresses)

    def measure(self, file: bytes, plan: Plan) -> Measurement:
        """Measure a file on the first device that is free.

        Raises what `measure` raises of the file, and RunError where devices fail again and again while they measure it.
        """
        failures: list[str] = []
        while len(failures) < _MOST_FAILURES:
            with self._free() as device:
                try:
                    return measure(file, plan, device)
                except DeviceError as cause:
                    failures.append(cause.problem)
                    self._lost(self._at, cause)
        raise RunError(
            f"devices failed {len(failures)} times while they measured it: {failures[-1]}",
            "see that the devices stay on and connected, then run the same command again",
        )

    def greet(self) -> None:
        """Raise DeviceError where no device answers."""
        for address in self.addresses:
            try:
                with suppress(DeviceBusy), self._find(address):
                    return
                return
            except DeviceError as cause:
                problem = cause
        raise problem

    def each(self, file: bytes, plan: Plan) -> dict[str, float]:
        """Median seconds of a file on each device that answers now, by what it is called everywhere.

        Raises DeviceError where none does.
        """
        found: dict[str, float] = {}
        problems: list[DeviceError] = []
        for address in self.addresses:
            try:
                found[called(address)] = self._once(address, file, plan)
            except DeviceError as cause:
                problems.append(cause)
                self._lost(address, cause)
        if not found:
            raise problems[0]
        return found

    def _once(self, address: str, file: bytes, plan: Plan) -> float:
        while True:
            try:
                with self._find(address) as device:
                    return summarize(measure(file, plan, device)).p50_seconds.value
            except DeviceBusy:
                self.say(f"{address} is measured by another run: waiting")
                time.sleep(_BUSY_SECONDS)

    @contextmanager
    def _free(self) -> Iterator[Device]:
        """The first device that is free and answers, open."""
        while (found := self._first()) is None:
            self._waits()
        self._at, device = found
        try:
            yield device
        finally:
            device.__exit__(None, None, None)

    def _first(self) -> tuple[str, Device] | None:
        for address in self._order():
            if device := self._opened(address):
                return address, device
        return None

    def _order(self) -> list[str]:
        """The devices to ask now, the one after the last used first."""
        turned = [*self.addresses[self._next :], *self.addresses[: self._next]]
        return [one for one in turned if one not in self._gone or time.monotonic() >= self._gone[one].again]

    def _opened(self, address: str) -> Device | None:
        """The device, None where it is busy or does not answer."""
        try:
            device = self._find(address).__enter__()
        except DeviceBusy:
            self._back(address)
            return None
        except DeviceError as cause:
            self._lost(address, cause)
            return None
        self._back(address)
        self._next = (self.addresses.index(address) + 1) % len(self.addresses)
        return device

    def _lost(self, address: str, cause: DeviceError) -> None:
        """Leave a device out for a while, and say so once."""
        before = self._gone.get(address)
        self._gone[address] = _Gone(min(2 * before.pause, _GONE_SECONDS[1]) if before else _GONE_SECONDS[0])
        if before is None:
            rest = [one for one in self.addresses if one not in self._gone]
            then = f"going on with {', '.join(rest)}" if rest else "no device is left; waiting for the first to return"
            self.say(Line(f"{cause.problem}; {then}"))

    def _back(self, address: str) -> None:
        if self._gone.pop(address, None):
            self.say(Line(f"{address} is back"))

    def _waits(self) -> None:
        word = "no device answers" if len(self._gone) == len(self.addresses) else "every device is busy"
        self.say(f"{word}: waiting")
        time.sleep(_BUSY_SECONDS)


class _Gone:
    """A device that does not answer: how long it is left alone, and until when."""

    def __init__(self, pause: float) -> None:
        self.pause, self.again = pause, time.monotonic() + pause


def called(address: str) -> str:
    """What a device is called where several machines speak of theirs."""
    return f"local of {socket.gethostname()}" if address == "local" else address


def unlike(seconds: Mapping[str, float]) -> str:
    """A warning where devices differ in the time of one file by more than `ALIKE`; empty where they are alike."""
    if len(seconds) < 2:
        return ""
    slow, fast = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    more = seconds[slow] / seconds[fast] - 1
    if more <= ALIKE:
        return ""
    return (
        f"the devices are not alike: the float file takes {format_seconds(seconds[slow])} on {slow}, {more:.0%} more "
        f"than on {fast}; latencies of one search are comparable only on devices of one kind"
    )
