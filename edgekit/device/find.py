"""From an address, or a name of the user's devices file, to a device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import structs

from edgekit.device.adb import AdbDevice, AdbPhone
from edgekit.device.address import AdbAddress, SshAddress, parse_address
from edgekit.device.cache import cache_folder
from edgekit.device.devices_file import Entry, devices_path, find_entry, host_path
from edgekit.device.download import parse_pinned, tool_file
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.device.ssh import SshDevice
from edgekit.device.wheels import RuntimeName
from edgekit.errors import InputError


def find_device(
    address: str,
    runtime: RuntimeName = "auto",
    say: Callable[[str], None] = lambda text: None,
    benchmark_model: str | Path | None = None,
    native: bool = True,
    wait: float | None = None,
) -> Device:
    """The device at an address or of a name, not yet open; `runtime` is what it must have or get.

    `wait` is for how many seconds to wait for another run to end, in place of what the devices file says; with it this
    machine, too, is had by one run at a time.

    A phone is an `AdbPhone` if there is a `benchmark_model` for it (given, in the devices file, or in this user's cache
    folder), else it must have Python; so it must where `native` is false, for what that tool cannot do. The tool is a
    path, or an https address with its digest (`edgekit.device.download`), which is fetched when the phone is opened.
    Raises InputError for what is neither address nor name, and for an address of a tool without a digest.
    """
    entry = _entry(address)
    if wait is not None:
        entry = structs.replace(entry, wait=wait)
    name = None if entry.address == address else address
    place = parse_address(entry.address)
    if place is None:
        return LocalDevice(wait=wait)
    if isinstance(place, SshAddress):
        identity, config = (_there(address, named) for named in (entry.identity, entry.ssh_config))
        return SshDevice(place, entry.options(runtime), name=name, identity=identity, config=config, say=say)
    tool = (benchmark_model or _tool_of(entry) or _kept_tool()) if native else None
    if tool is not None:
        if "://" in str(tool):
            parse_pinned(str(tool))
        return AdbPhone(place, lambda check: tool_file(tool, say, check), name=name, wait=entry.wait)
    return AdbDevice(place, entry.options(runtime), name=name, say=say)


def refuse_same(addresses: Iterable[str]) -> None:
    """Raise InputError for a device that is named twice, as by its name and by its address.

    Entries with another Python or cache folder there are others, which take turns.
    """
    seen: list[tuple[object, Entry, str]] = []
    for address in addresses:
        entry = _entry(address)
        place, rest = parse_address(entry.address), structs.replace(entry, address="")
        if first := next((name for *known, name in seen if known == [place, rest]), None):
            raise InputError(f"{first} and {address} are one device", "name it once: one run at a time has a device")
        seen.append((place, rest, address))


def _there(device: str, named: str | None) -> Path | None:
    """A file that the devices file names; ssh itself goes on without, with a key that nobody asked for."""
    path = host_path(named)
    if path is not None and not path.is_file():
        raise InputError(f"device {device!r}: {path}: no such file", f"correct it in {devices_path()}")
    return path


def find_phone(address: str) -> AdbPhone | None:
    """The phone at an address or of a name, for files and commands only; None for any other device."""
    entry = _entry(address)
    place = parse_address(entry.address)
    name = None if entry.address == address else address
    return AdbPhone(place, None, name=name, wait=entry.wait) if isinstance(place, AdbAddress) else None


def tool_for(address: str) -> str | None:
    """The `benchmark_model` that a phone is measured with unless one is given: a path or a pinned address."""
    found = _tool_of(_entry(address)) or _kept_tool()
    return None if found is None else str(found)


def _entry(address: str) -> Entry:
    return Entry(address) if address == "local" or "://" in address else find_entry(address)


def _tool_of(entry: Entry) -> str | Path | None:
    named = entry.benchmark_model
    return named if named is not None and "://" in named else host_path(named)


def _kept_tool() -> Path | None:
    path = cache_folder() / "benchmark_model"
    return path if path.is_absolute() and os.path.isfile(path) else None
