"""A Debian package whose bytes follow from its contents and SOURCE_DATE_EPOCH alone.

deb(5): an `ar` archive of `debian-binary`, `control.tar.gz` and `data.tar.gz`. The gzip is of stored blocks: what a
compressor writes changes with its version, and models hardly get smaller; and its checksum finds a damaged copy, which
a plain `data.tar` would install.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import PurePosixPath

from msgspec import Struct

from edgekit.errors import InputError
from edgekit.package.archive import source_date_epoch

PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*")
_OLDEST = int(datetime(1984, 1, 1, tzinfo=timezone.utc).timestamp())
_KIB = 1024


class Control(Struct, frozen=True):
    """The control file: Debian Policy chapter 5. `description` is paragraphs of lines, wrapped as they shall be shown.

    Raises InputError where a field cannot be one.
    """

    package: str
    version: str
    maintainer: str
    synopsis: str
    description: tuple[tuple[str, ...], ...] = ()
    depends: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    architecture: str = "all"
    section: str = "misc"

    def __post_init__(self) -> None:
        if not PACKAGE_NAME.fullmatch(self.package):
            raise InputError(
                f"{self.package!r} is no name of a Debian package",
                "give at least two of a-z, 0-9, + - . beginning with a letter or digit (Policy 5.6.1)",
            )
        if not _VERSION.fullmatch(self.version):
            raise InputError(
                f"{self.version!r} is no version of a Debian package", "begin with a digit, such as 1.0.0 (5.6.12)"
            )
        for text in (self.maintainer, self.synopsis, *(line for part in self.description for line in part)):
            if not text.isprintable() or not text.strip():
                raise InputError(f"{text!r} cannot stand in a control file", "give one line of printable text")

    def to_text(self, installed_kib: int) -> str:
        """The file, in the order that dpkg writes."""
        fields = {
            "Package": self.package,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": self.maintainer,
            "Installed-Size": str(installed_kib),
            "Depends": ", ".join(self.depends),
            "Recommends": ", ".join(self.recommends),
            "Suggests": ", ".join(self.suggests),
            "Section": self.section,
            "Priority": "optional",
            "Description": "\n".join([self.synopsis, *self._extended()]),
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)

    def _extended(self) -> list[str]:
        parts = [" " + "\n ".join(lines) for lines in self.description]
        return ["\n .\n".join(parts)] if parts else []


def deb_bytes(
    control: Control,
    files: Mapping[str, bytes],
    executables: Collection[str] = (),
    scripts: Mapping[str, bytes] | None = None,
) -> bytes:
    """A package of files by path from the root (`usr/share/...`), owned by root.

    `scripts` are `postinst` and its like. Raises InputError for a name that a tar of POSIX.1-1988 cannot hold, or
    that could leave the root, and for a wrong SOURCE_DATE_EPOCH.
    """
    when = package_date()
    scripts = scripts or {}
    kib = sum(-(-len(data) // _KIB) for data in files.values()) + len(_folders(files))
    inside = {"control": control.to_text(kib).encode(), "md5sums": _md5sums(files), **scripts}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": gzip_stored(_tar(inside, scripts, when)),
        "data.tar.gz": gzip_stored(_tar(files, executables, when)),
    }
    return b"!<arch>\n" + b"".join(_member(name, data, when) for name, data in members.items())


def package_date() -> int:
    """SOURCE_DATE_EPOCH, or else 1984: what is older is refused from Debian archives as a mistake of a clock."""
    return max(source_date_epoch(), _OLDEST)


def gzip_stored(data: bytes) -> bytes:
    """A gzip file of stored blocks (RFC 1951, 3.2.4; RFC 1952), whose bytes no version of zlib changes."""
    most = 0xFFFF
    blocks = [data[start : start + most] for start in range(0, len(data), most)] or [b""]
    stored = b"".join(
        struct.pack("<BHH", place == len(blocks) - 1, len(block), len(block) ^ most) + block
        for place, block in enumerate(blocks)
    )
    head = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x02\x03"
    return head + stored + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _member(name: str, data: bytes, when: int) -> bytes:
    """One file of an `ar` archive; an odd one is filled up."""
    head = f"{name:<16}{when:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n".encode()
    return head + data + b"\n" * (len(data) % 2)


def _tar(files: Mapping[str, bytes], executables: Collection[str], when: int) -> bytes:
    """The only kind that dpkg reads besides GNU's, with every folder before what is in it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as archive:
        for name in ("", *_folders(files)):
            archive.addfile(_info(name, when, folder=True))
        for name, data in sorted(files.items()):
            info = _info(name, when)
            info.size, info.mode = len(data), 0o755 if name in executables else 0o644
            _add(archive, info, data)
    return made.getvalue()


def _add(archive: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> None:
    try:
        archive.addfile(info, io.BytesIO(data))
    except ValueError as cause:
        raise InputError(f"{info.name!r} cannot be in a Debian package: {cause}", "give it a shorter name") from None


def _info(name: str, when: int, folder: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{name}")
    info.mtime, info.mode, info.uname, info.gname = when, 0o755, "root", "root"
    info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return info


def _folders(files: Iterable[str]) -> list[str]:
    """Every folder above the files, outer ones first."""
    found = set()
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or str(path) != name or ".." in path.parts or not name.isprintable():
            raise InputError(f"{name!r} is no name for a file in a package", "give a path from the root, usr/share/...")
        found |= {str(parent) for parent in path.parents} - {"."}
    return sorted(found)


def _md5sums(files: Mapping[str, bytes]) -> bytes:
    """What `dpkg --verify` reads; it finds damage, and does not prove where a file is from."""
    lines = (
        f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    )
    return "".join(lines).encode()
