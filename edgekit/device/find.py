"""From an address to a device."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.device.address import SshAddress, parse_address
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.device.remote import RemoteOptions
from edgekit.device.ssh import SshDevice
from edgekit.device.wheels import RuntimeName
from edgekit.errors import InputError


def find_device(address: str, runtime: RuntimeName = "auto", say: Callable[[str], None] = lambda text: None) -> Device:
    """The device at an address, not yet open; `runtime` is what it must have or get. Raises InputError."""
    place = parse_address(address)
    if place is None:
        return LocalDevice()
    if isinstance(place, SshAddress):
        return SshDevice(place, RemoteOptions(runtime=runtime), say=say)
    raise InputError(f"device {address!r}: phones are not here yet", "give ssh://user@host or local")
