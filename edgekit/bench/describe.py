"""What a device is: its machine, the runtimes on it, and its present state."""

from __future__ import annotations

from msgspec import Struct

from edgekit.bench.ask import ask
from edgekit.bench.result import Conditions, Machine, Runtime
from edgekit.device.protocol import Device


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent says about the device that it runs on."""

    machine: Machine
    runtimes: tuple[Runtime, ...]
    conditions: Conditions


def describe(device: Device, timeout: float | None = 120.0) -> Description:
    """Ask an open device what it is. Raises MissingDependency without numpy there, DeviceError, RunError."""
    return ask(device, {"command": "describe"}, Description, device.name, timeout)
