"""From an address to a device."""

from __future__ import annotations

from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.errors import InputError


def find_device(address: str) -> Device:
    """The device at an address, not yet open. Raises InputError for any but `local`."""
    if address == "local":
        return LocalDevice()
    raise InputError(
        f"device {address!r}: this version measures on this machine only",
        "leave `--device` out or give `--device local`; on a board, install edgekit[runtime] there and run it there",
    )
