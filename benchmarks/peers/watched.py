"""A process that is watched from outside: its time, the most memory that it and its children took, and what else ran.

Its resident memory (VmRSS) is added to the proportional memory (Pss) of its children, ten times a second.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

TICK_SECONDS = 0.1
_PROC = Path("/proc")


class Watched(Struct, frozen=True):
    """How a process ended: its code (below 0 by a signal, None by the clock), words and seconds.

    `others` is the share of the processor's time, 0 to 1, that other processes took meanwhile.
    """

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int
    others: float


class Load:
    """What the cores do from now on."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def others(self) -> float:
        """Share of all cores, 0 to 1, that others had than this process and its children, which must have ended."""
        whole = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        theirs = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return min(max(theirs / whole, 0.0), 1.0)


def watched(words: Sequence[str | Path], most_seconds: float, env: Mapping[str, str] | None = None) -> Watched:
    """Run a command to its end; whatever it has started ends with it, and when `most_seconds` are over."""
    began, load, peak = time.perf_counter(), Load(), 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, start_new_session=True, env=env)
        try:
            while process.poll() is None and time.perf_counter() - began < most_seconds:
                peak = max(peak, tree_bytes(process.pid))
                time.sleep(TICK_SECONDS)
            code = process.poll()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        return Watched(code, out.read(), err.read(), seconds, peak, load.others())


def tree_bytes(root: int) -> int:
    """Resident memory of a process, and the proportional memory of all that came from it."""
    parents = dict(_parents())
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    own = _counter(_PROC / str(root) / "status", "VmRSS:")
    return own + sum(_counter(_PROC / str(pid) / "smaps_rollup", "Pss:") for pid in below - {root})


def _parents() -> Iterator[tuple[int, int]]:
    for place in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            yield int(place.name), int((place / "stat").read_text().rpartition(")")[2].split()[1])


def _counter(path: Path, name: str) -> int:
    """Bytes of one line in kB; 0 for a process that has just ended."""
    try:
        found = path.read_text().partition(name)[2].split()
    except OSError:
        return 0
    return 1024 * int(found[0]) if found else 0


def _busy_seconds() -> float:
    """What all cores have worked since the machine started (proc_stat(5)), without idling and waiting for disks."""
    ticks = [*map(int, (_PROC / "stat").read_text().splitlines()[0].split()[1:9])]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """What this process and its ended children have worked."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)
