"""Owner: which process tries a recipe, and whether that process is no more."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

PROC = Path("/proc")


def owner() -> str:
    """This process, so that any other can tell whether it is still there."""
    return f"{socket.gethostname()}:{os.getpid()} {_machine()} {_born(os.getpid())}"


def _machine() -> str:
    """Where process ids mean the same: this boot of this kernel, and in it this container; without /proc, this host."""
    if not PROC.is_dir():
        return f"{uuid.getnode():x}"
    return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()}/{(PROC / 'self/ns/pid').stat().st_ino}"


def dead(owner: str | None) -> bool:
    """Whether the process that a trial belongs to is known to be no more; of other machines nothing is known.

    In a turn, a trial without an owner is of a process that ended before it could say who it is.
    """
    if owner is None:
        return True
    name, machine, born = owner.split(" ")
    return machine == _machine() and _born(int(name.rpartition(":")[2])) != born


def _born(pid: int) -> str:
    """When a process was started, which no other of that id was; empty where there is none, or a dead one unasked.

    Linux counts ticks since the machine was started; psutil's seconds there move with the clock, on macOS they do not.
    """
    if not PROC.is_dir():
        return _born_without_proc(pid)
    try:
        fields = (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _born_without_proc(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return ""
