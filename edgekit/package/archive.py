"""Archives whose bytes follow from their contents and SOURCE_DATE_EPOCH alone.

Names are sorted, modes are 644 or 755, owners are 0, and all times are the same
(https://reproducible-builds.org/specs/source-date-epoch/). Members of a zip are stored, as Android wants of a model
that is mapped into memory; a `.tar.gz` is deflated by the zlib at hand, and another zlib may give other bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path

from edgekit.errors import InputError, OutputError

EARLIEST = int(datetime(1980, 1, 1, tzinfo=timezone.utc).timestamp())
_LATEST = int(datetime(2107, 12, 31, tzinfo=timezone.utc).timestamp())

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def source_date_epoch() -> int:
    """Seconds since 1970 that members are dated with: SOURCE_DATE_EPOCH, or else 1980-01-01, the first that zip knows.

    Earlier dates become that one, as the specification lets a format with a smaller range do. Raises InputError.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return EARLIEST
    if not (text.isascii() and text.isdigit()) or int(text) > _LATEST:
        raise InputError(
            f"SOURCE_DATE_EPOCH is {text!r}", "give whole seconds since 1970, before the year 2108, or unset it"
        )
    return max(int(text), EARLIEST)


def zip_bytes(files: Mapping[str, bytes], executables: Collection[str] = ()) -> bytes:
    """A zip of files by name (`folder/name`). Raises InputError for a name that could leave the unpacked folder."""
    _check(files, executables)
    when = datetime.fromtimestamp(source_date_epoch(), timezone.utc).timetuple()[:6]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, when)
            info.create_system, info.external_attr = 3, (0o100000 | _mode(name, executables)) << 16
            archive.writestr(info, files[name])
    return made.getvalue()


def tar_bytes(files: Mapping[str, bytes], executables: Collection[str] = (), *, compressed: bool = False) -> bytes:
    """A tar (POSIX.1-2001) of files by name, gzipped if asked. Raises InputError as `zip_bytes` does."""
    _check(files, executables)
    when = source_date_epoch()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="strict") as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(files[name]), when, _mode(name, executables)
            archive.addfile(info, io.BytesIO(files[name]))
    return _gzipped(made.getvalue(), when) if compressed else made.getvalue()


def archive_bytes(suffix: str, files: Mapping[str, bytes], executables: Collection[str] = ()) -> bytes:
    """The archive that a suffix (one of `SUFFIXES`) stands for. Raises OutputError for another suffix."""
    if suffix == ".zip":
        return zip_bytes(files, executables)
    if suffix not in SUFFIXES:
        raise OutputError(f"no archive ends in {suffix!r}", f"end the name in {', '.join(SUFFIXES)}")
    return tar_bytes(files, executables, compressed=suffix != ".tar")


def archive_suffix(path: Path) -> str:
    """The ending of a file's name that says which archive it is; empty if it is none."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def _gzipped(data: bytes, when: int) -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=made, mtime=when) as stream:
        stream.write(data)
    return made.getvalue()


def _mode(name: str, executables: Collection[str]) -> int:
    return 0o755 if name in executables else 0o644


def _check(files: Mapping[str, bytes], executables: Collection[str]) -> None:
    """Refuse names that mean another place elsewhere, or that two files share where case does not count."""
    seen: dict[str, str] = {}
    for name in files:
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
            raise InputError(f"{name!r} is no name for a file in an archive", "give a name such as folder/file.txt")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise InputError(f"{other!r} and {name!r} are one file where case does not count", "rename one of them")
    if unknown := sorted(set(executables) - files.keys()):
        raise InputError(f"{unknown[0]!r} is to be executable and is not in the archive", "add it, or leave it out")
