"""What a device is: a place that takes files, runs a command and gives files back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

MOST_PULLED_BYTES = 2**31


class Completed(NamedTuple):
    """How a command ended: `returncode` is negative for a signal (-11 is SIGSEGV) and None when time ran out."""

    returncode: int | None
    stdout: str
    stderr: str


class Device(Protocol):
    """One device, open inside its `with` block only: entering makes a scratch folder there, leaving removes it.

    All methods raise DeviceError when the device itself fails; a command that fails is a `Completed` like any other.
    """

    @property
    def name(self) -> str:
        """The name in results and messages, for example `local`."""
        ...

    @property
    def python(self) -> str:
        """The Python on the device that has numpy and a runtime."""
        ...

    @property
    def scratch(self) -> str:
        """A folder on the device, empty at the start, gone at the end."""
        ...

    def push(self, local: Path, keep: bool = False) -> str:
        """Make a file of this machine readable on the device; gives its path there. It must not be written to.

        `keep` lets the device have it beyond this session, so that it is sent once.
        """
        ...

    def pull(self, remote: str, local: Path, most_bytes: int = MOST_PULLED_BYTES) -> None:
        """Copy a file of the device to `local`; a larger one than `most_bytes` is not taken from another machine."""
        ...

    def run(self, argv: Sequence[str], timeout: float | None = None) -> Completed:
        """Run a command until it ends or `timeout` seconds are over; no process of it is left in any case."""
        ...

    def cancel(self) -> None:
        """End what runs, from another thread: the call that waits for it raises, as does every later one."""
        ...

    def __enter__(self) -> Device:
        """Open the device."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the scratch folder and close the device."""
        ...
