"""Run a program of this machine whose output is not trusted: its length is limited."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgekit.device.protocol import Completed
from edgekit.errors import DeviceError

_CHUNK = 2**16


def run_bounded(
    argv: Sequence[str], timeout: float | None, said_bytes: int, into: tuple[Path, int] | None = None
) -> Completed:
    """How a program ended, with the end of what it said; code None when time ran out.

    With `into` = (path, most bytes) its standard output goes to that file, and more of it also ends with None. Raises
    DeviceError if the program is not there.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as cause:
        raise DeviceError(f"cannot start {argv[0]}: {cause.strerror}", f"install {argv[0]}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    tails, too_long = (bytearray(), bytearray()), threading.Event()
    readers = [threading.Thread(target=_keep_end, args=(process.stderr, tails[1], said_bytes), daemon=True)]
    if into is None:
        readers.append(threading.Thread(target=_keep_end, args=(process.stdout, tails[0], said_bytes), daemon=True))
    else:
        readers.append(threading.Thread(target=_copy, args=(process, *into, too_long), daemon=True))
    for reader in readers:
        reader.start()
    code = _waited(process, timeout)
    for reader in readers:
        reader.join(timeout=5)
    out, err = (tail.decode(errors="replace") for tail in tails)
    return Completed(None if too_long.is_set() else code, out, err)


def _waited(process: subprocess.Popen[bytes], timeout: float | None) -> int | None:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def _keep_end(stream: IO[bytes], tail: bytearray, most: int) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        while chunk := stream.read1(_CHUNK):  # type: ignore[attr-defined]
            tail += chunk
            del tail[:-most]


def _copy(process: subprocess.Popen[bytes], path: Path, most: int, too_long: threading.Event) -> None:
    assert process.stdout is not None
    with process.stdout as stream, path.open("wb") as file:
        while chunk := stream.read(_CHUNK):
            most -= len(chunk)
            if most < 0:
                too_long.set()
                process.kill()
                return
            file.write(chunk)
