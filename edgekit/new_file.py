"""A file that is there whole or not at all, whatever ends the writing: an error, a full disk, a kill, a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edgekit.errors import OutputError


@contextmanager
def new_file(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A stream whose bytes become `path` in one step when the block ends, and are thrown away if it raises.

    A device or a pipe is written to, and not replaced. Raises OutputError if `path` exists (unless `overwrite`) or
    cannot be written.
    """
    if path.is_char_device() or path.is_fifo():
        with _straight(path) as stream:
            yield stream
        return
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already", "give another name, or --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder", "make it first, or give another place")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as cause:
        full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "free some space, and repeat the command" if full else "give a place that can be written"
        raise OutputError(f"{path}: {cause.strerror}", mend) from cause
    finally:
        with suppress(OSError):
            partial.unlink()


def write_new(path: Path, data: bytes, overwrite: bool = False) -> None:
    """Write a file whole or not at all. Raises OutputError if it exists (unless `overwrite`) or cannot be written."""
    with new_file(path, overwrite) as stream:
        stream.write(data)


@contextmanager
def _straight(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("wb") as stream:
            yield stream
    except OSError as cause:
        raise OutputError(f"{path}: {cause.strerror}", "give a place that can be written") from cause
