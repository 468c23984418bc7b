"""From an address, or a name of the user's devices file, to a device."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.device.address import SshAddress, parse_address
from edgekit.device.devices_file import Entry, find_entry, host_path
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.device.ssh import SshDevice
from edgekit.device.wheels import RuntimeName
from edgekit.errors import InputError


def find_device(address: str, runtime: RuntimeName = "auto", say: Callable[[str], None] = lambda text: None) -> Device:
    """The device at an address or of a name, not yet open; `runtime` is what it must have or get.

    Raises InputError for what is neither.
    """
    given = address == "local" or "://" in address
    entry = Entry(address) if given else find_entry(address)
    name = None if given else address
    place = parse_address(entry.address)
    if place is None:
        return LocalDevice()
    if isinstance(place, SshAddress):
        identity, config = host_path(entry.identity), host_path(entry.ssh_config)
        return SshDevice(place, entry.options(runtime), name=name, identity=identity, config=config, say=say)
    raise InputError(f"device {address!r}: phones are not here yet", "give ssh://user@host or local")
