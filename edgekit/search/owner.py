"""Owner: which process tries a recipe, and whether that process is no more."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner() -> str:
    """This process, so that any other can tell whether it is still there."""
    return f"{socket.gethostname()}:{os.getpid()} {_machine()} {_born(os.getpid())}"


def _machine() -> str:
    """Where process ids mean the same: this boot of this kernel, and in it this container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


def dead(owner: str | None) -> bool:
    """Whether the process that a trial belongs to is known to be no more; of other machines nothing is known.

    In a turn, a trial without an owner is of a process that ended before it could say who it is.
    """
    if owner is None:
        return True
    name, machine, born = owner.split(" ")
    return machine == _machine() and _born(int(name.rpartition(":")[2])) != born


def _born(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where there is none. Ids are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a dead one that nobody asked about yet
