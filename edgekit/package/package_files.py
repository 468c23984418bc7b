"""The files of a package, in a folder or in an archive of one, read in place: nothing is unpacked or followed.

Whoever made the package may mean harm. Links, names that lead out of it, names that are there twice and what is no file
are refused by name. An archive has to unpack to at most 256 MiB, or a hundred times its own size if that is more.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from edgekit.errors import InputError
from edgekit.package.archive import SUFFIXES, archive_suffix
from edgekit.package.folder import MANIFEST
from edgekit.units import format_bytes

Open = Callable[[], IO[bytes]]

_MOST_FILES = 100_000
_LEAST_ROOM = 256 << 20
_RATIO = 100
_CHUNK = 1 << 20
_AGAIN = "take the package from its maker again"
_GIVE = f"give the folder of a package, or a {', '.join(SUFFIXES)} of one"

# What a damaged or hostile archive makes its readers raise.
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, OverflowError, RuntimeError, MemoryError, NotImplementedError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)


@dataclass(frozen=True)
class PackageFiles:
    """Regular files by name, relative to the package, and the names that are refused, each with the reason."""

    opens: dict[str, Open]
    refused: dict[str, str]

    def sha256(self, name: str) -> str:
        """Hexadecimal SHA-256 of a file. Raises InputError where it cannot be read."""
        digest = hashlib.sha256()
        for chunk in self._chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def read(self, name: str, most: int) -> bytes:
        """A file of at most `most` bytes. Raises InputError for a larger one, or one that cannot be read."""
        data = bytearray()
        for chunk in self._chunks(name):
            data += chunk
            if len(data) > most:
                raise InputError(f"{name} is larger than {format_bytes(most)}", _AGAIN)
        return bytes(data)

    @contextmanager
    def nested(self, name: str) -> Iterator[PackageFiles]:
        """The files of an archive that is one of these files. Raises InputError for one that is damaged."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self.opens[name]())
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                found = _in_archive(name, file, size, stack)
            except _DAMAGE as cause:
                raise InputError(f"{name} cannot be read: {_reason(cause)}", _AGAIN) from None
            yield found

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self.opens[name]() as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except _DAMAGE as cause:
            raise InputError(f"{name} cannot be read: {_reason(cause)}", _AGAIN) from None


@dataclass
class _Room:
    """How many bytes an archive may still unpack to."""

    name: str
    left: int

    def take(self, size: int) -> None:
        """Raise InputError where that is more than is left."""
        if not 0 <= size <= self.left:
            raise InputError(f"{self.name} unpacks to far more than its own size", "do not unpack it")
        self.left -= size


@contextmanager
def package_files(path: Path) -> Iterator[PackageFiles]:
    """Open a package: a folder, or a .zip, .tar or .tar.gz of one. Raises InputError for what is neither."""
    if not path.is_dir() and path.exists() and not archive_suffix(path):
        raise InputError(f"{path}: neither a folder nor an archive", _GIVE)
    with ExitStack() as stack:
        try:
            found = _in_folder(path) if path.is_dir() else _below_one_folder(_opened(path, stack))
        except _DAMAGE as cause:
            raise InputError(f"{path}: {_reason(cause)}", _GIVE) from None
        if MANIFEST not in found.opens:
            raise InputError(f"{path}: no {MANIFEST} in it", "give what edgekit package made")
        yield found


def _opened(path: Path, stack: ExitStack) -> PackageFiles:
    return _in_archive(path.name.lower(), stack.enter_context(path.open("rb")), path.stat().st_size, stack)


def _in_folder(root: Path) -> PackageFiles:
    found = PackageFiles({}, {})
    for place, folders, files in os.walk(root, onerror=_unreadable):
        for entry in (Path(place, name) for name in (*folders, *files)):
            _count(found)
            _sort_in(found, entry, entry.relative_to(root).as_posix())
    return found


def _sort_in(found: PackageFiles, entry: Path, name: str) -> None:
    mode = entry.lstat().st_mode
    if stat.S_ISREG(mode):
        found.opens[name] = lambda: os.fdopen(os.open(entry, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    elif stat.S_ISLNK(mode):
        found.refused[name] = "is a link"
    elif not stat.S_ISDIR(mode):
        found.refused[name] = "is no file"


def _in_archive(name: str, file: IO[bytes], size: int, stack: ExitStack) -> PackageFiles:
    """The files of an archive; the end of its name says which kind it is."""
    room = _Room(name, max(_LEAST_ROOM, _RATIO * size))
    if name.endswith((".zip", ".aar")):
        return _in_zip(file, room, stack)
    if name.endswith(".deb"):
        return _in_deb(file, stack)
    return _in_tar(file if name.endswith(".tar") else _inflated(file, room, stack), room)


def _in_zip(file: IO[bytes], room: _Room, stack: ExitStack) -> PackageFiles:
    archive, found = stack.enter_context(zipfile.ZipFile(file)), PackageFiles({}, {})
    for entry in archive.infolist():
        if not entry.orig_filename.endswith("/"):
            room.take(entry.file_size)
            # zipfile cuts a name at a zero byte, and other readers do not.
            _add(found, entry.orig_filename, _zip_fault(entry), partial(archive.open, entry))
    return found


def _in_deb(file: IO[bytes], stack: ExitStack) -> PackageFiles:
    """What a Debian package installs: an `ar` archive, headers of 60 bytes, has it as `data.tar` (deb(5))."""
    if file.read(8) != b"!<arch>\n":
        raise ValueError("it does not begin as an archive of ar does")
    while header := file.read(60):
        name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
        data = file.read(size + size % 2)[:size]
        if name in ("data.tar", "data.tar.gz"):
            return _in_archive(name, io.BytesIO(data), size, stack)
    raise ValueError("it has no data.tar or data.tar.gz")


def _zip_fault(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 1:
        return "is encrypted"
    return "is a link" if kind == stat.S_IFLNK else "is no file" if kind not in (0, stat.S_IFREG) else ""


def _in_tar(file: IO[bytes], room: _Room) -> PackageFiles:
    archive, found = tarfile.TarFile(fileobj=file), PackageFiles({}, {})
    for entry in archive:
        if entry.isdir():
            _count(found)
            continue
        room.take(entry.size)
        plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
        fault = "" if plain else "is a link" if entry.issym() or entry.islnk() else "is no file"
        _add(found, entry.name, fault, partial(_member, archive, entry))
    return found


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(entry)
    assert file is not None  # it has contents, being a plain file
    return file


def _inflated(file: IO[bytes], room: _Room, stack: ExitStack) -> IO[bytes]:
    """A .gz, inflated into a file that nobody else sees, since a reader of tar goes back and forth."""
    plain = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    inflated = _Room(room.name, room.left)
    with gzip.GzipFile(fileobj=file) as packed:
        while chunk := packed.read(_CHUNK):
            inflated.take(len(chunk))
            plain.write(chunk)
    plain.seek(0)
    return plain


def _add(found: PackageFiles, name: str, reason: str, opens: Open) -> None:
    _count(found)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        found.refused[name] = "leads out of the package"
    elif path.as_posix() in found.opens:
        found.refused[path.as_posix()] = "is there twice"
    elif reason:
        found.refused[path.as_posix()] = reason
    else:
        found.opens[path.as_posix()] = opens


def _below_one_folder(found: PackageFiles) -> PackageFiles:
    """The files as the package names them, where the archive has all of it in one folder."""
    tops = {name.split("/")[0] for name in found.opens}
    below = [top for top in sorted(tops) if f"{top}/{MANIFEST}" in found.opens]
    if MANIFEST in found.opens or len(below) != 1:
        return found
    prefix = f"{below[0]}/"
    beside = {name: "lies beside the package" for name in found.opens if not name.startswith(prefix)}
    opens = {name.removeprefix(prefix): opens for name, opens in found.opens.items() if name.startswith(prefix)}
    refused = {name.removeprefix(prefix): reason for name, reason in found.refused.items()}
    return PackageFiles(opens, refused | beside)


def _count(found: PackageFiles) -> None:
    if len(found.opens) + len(found.refused) >= _MOST_FILES:
        raise InputError(f"more than {_MOST_FILES} files", "give the folder of a package, or an archive of one")


def _unreadable(cause: OSError) -> None:
    raise InputError(f"{cause.filename}: {cause.strerror}", "give a folder that can be read") from None


def _reason(cause: BaseException) -> str:
    return (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__
