"""The user's devices: a TOML file of names, each with an address and how it is used there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from edgekit import strict_toml
from edgekit.device.address import AdbAddress, SshAddress, parse_address
from edgekit.device.remote import CacheFolder, PythonWord, RemoteOptions, WaitSeconds
from edgekit.device.wheels import RuntimeName
from edgekit.errors import InputError, did_you_mean

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOOL = "The native tool for a phone: a path of this machine, or https://...#sha256=HEX."
_BOTH = ("ssh:// and adb", (SshAddress, AdbAddress))
_ONLY_FOR: dict[str, tuple[str, tuple[type, ...]]] = {
    "identity": ("ssh", (SshAddress,)),
    "ssh_config": ("ssh", (SshAddress,)),
    "benchmark_model": ("adb", (AdbAddress,)),
    **dict.fromkeys(("python", "cache", "runtime", "wait"), _BOTH),
}


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One device. Paths of this machine are taken from the folder of the file, `~` is the home folder."""

    address: Annotated[str, Meta(description="ssh://user@host:port, adb://SERIAL, or local.")]
    python: Annotated[PythonWord, Meta(description="Python on the device that runs the agent.")] = "python3"
    cache: Annotated[CacheFolder | None, Meta(description="Folder on the device for models and runtimes.")] = None
    runtime: Annotated[RuntimeName, Meta(description="Runtime that it has or gets, and that runs.")] = "auto"
    wait: Annotated[WaitSeconds, Meta(description="Seconds to wait while another run has the device.")] = 60.0
    identity: Annotated[str | None, Meta(description="File of the ssh key.")] = None
    ssh_config: Annotated[str | None, Meta(description="File of ssh settings instead of ~/.ssh/config.")] = None
    benchmark_model: Annotated[str | None, Meta(description=_TOOL)] = None

    def options(self, runtime: RuntimeName = "auto") -> RemoteOptions:
        """How it is used; a runtime asked for at the call wins over that of the file."""
        return RemoteOptions(self.python, self.cache, self.runtime if runtime == "auto" else runtime, self.wait)


def devices_path() -> Path:
    """The file: EDGEKIT_DEVICES if set, else `edgekit/devices.toml` in XDG_CONFIG_HOME or ~/.config."""
    if named := os.environ.get("EDGEKIT_DEVICES"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "edgekit" / "devices.toml"


def load_devices() -> dict[str, Entry]:
    """{name: entry} of the user's file; empty where there is none. Raises InputError for what does not fit."""
    path = devices_path()
    if not os.path.exists(path) and not os.environ.get("EDGEKIT_DEVICES"):
        return {}
    entries = strict_toml.load_tables(path, Entry, InputError)
    for name, entry in entries.items():
        _check(name, entry, path)
    return entries


def find_entry(name: str) -> Entry:
    """The device of a name. Raises InputError naming the known ones."""
    known = load_devices()
    if name not in known:
        what = f"device {name!r}: no address, and no name in {devices_path()}"
        host = name if "@" in name else "user@host"
        raise InputError(what, f"{did_you_mean(name, ['local', *known])}; or write ssh://{host}")
    return known[name]


def host_path(text: str | None) -> Path | None:
    """A path of this machine as the file means it."""
    return None if text is None else devices_path().parent / Path(text).expanduser()


def _check(name: str, entry: Entry, path: Path) -> None:
    if not _NAME.fullmatch(name) or name == "local":
        raise InputError(f"{path}: [{name}]: not a name for a device", "use letters, digits, `-`, `_` and `.`")
    try:
        place = parse_address(entry.address)
    except InputError as fault:
        raise InputError(f"{path}: [{name}]: {fault.problem}", fault.mend) from None
    foreign = [
        f"{key} is for {scheme}:// only"
        for key, (scheme, kinds) in _ONLY_FOR.items()
        if getattr(entry, key) != getattr(Entry(""), key) and not isinstance(place, kinds)
    ]
    if foreign:
        raise InputError(f"{path}: [{name}]: {foreign[0]}", "remove this key")
