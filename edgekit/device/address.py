"""Where a device is: `local`, `ssh://user@host:port`, `adb://SERIAL` or `adb://transport:N`, checked here first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.errors import InputError

_SSH = re.compile(
    r"ssh://(?:(?P<user>[^@/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]|[^@/:?#\[\]]*)(?::(?P<port>[^/]*))?/?"
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TRANSPORT = re.compile(r"transport(?:_id)?:([0-9]{1,18})")
_SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


@dataclass(frozen=True)
class SshAddress:
    """A host that ssh knows or finds, without brackets; None where ssh's own configuration decides."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def words(self) -> str:
        """As words after `ssh`, for messages."""
        port = f"-p {self.port} " if self.port else ""
        return f"{port}{self.user}@{self.host}" if self.user else f"{port}{self.host}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class AdbAddress:
    """A serial number as `adb devices` prints it; None for the only device there is.

    `transport` is the number of one connection in place of a serial, which two devices may share. A port of USB,
    `usb:1-4.2`, is a serial to adb.
    """

    serial: str | None = None
    transport: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The options of `adb` that choose it."""
        if self.transport is not None:
            return ("-t", str(self.transport))
        return () if self.serial is None else ("-s", self.serial)

    def __str__(self) -> str:
        return f"adb://{self.serial or ''}" if self.transport is None else f"adb://transport:{self.transport}"


def parse_address(text: str) -> SshAddress | AdbAddress | None:
    """An address; None for `local`. Raises InputError for anything else, and for odd characters in it."""
    if text == "local":
        return None
    if text.startswith("ssh://"):
        return _ssh(text)
    if text.startswith("adb://"):
        serial = text.removeprefix("adb://")
        if transport := _TRANSPORT.fullmatch(serial):
            return AdbAddress(transport=int(transport[1]))
        if serial and not _SERIAL.fullmatch(serial):
            raise InputError(f"device {text!r}: not a serial number", "`adb devices` lists them")
        return AdbAddress(serial or None)
    raise InputError(f"device {text!r}: not an address", "write local, ssh://user@host, or adb://SERIAL")


def _ssh(text: str) -> SshAddress:
    found = _SSH.fullmatch(text)
    if found is None:
        raise InputError(f"device {text!r}: not an address", "write ssh://user@host or ssh://user@host:port")
    user, host, port = found["user"], found["host"], found["port"]
    if user is not None and ":" in user:
        raise InputError("device: a password in an address is not used", "use a key: ssh-copy-id user@host")
    if user is not None and not _USER.fullmatch(user):
        raise InputError(f"device {text!r}: not a user name: {user!r}", "write ssh://user@host")
    if not host.startswith("[") and not _HOST.fullmatch(host):
        raise InputError(f"device {text!r}: not a host name: {host!r}", "write ssh://user@host, IPv6 in [brackets]")
    if port is not None and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise InputError(f"device {text!r}: not a port: {port!r}", "give a number from 1 to 65535")
    return SshAddress(host.strip("[]"), user, int(port) if port else None)
