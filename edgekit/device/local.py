"""This machine as a device: commands run in a child process, so a crash there is not a crash here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from edgekit.device.protocol import MOST_PULLED_BYTES, Completed
from edgekit.errors import DeviceBusy, DeviceError


class LocalDevice:
    """This machine; `python` is the interpreter that runs the agent, by default the one that runs edgekit.

    With `wait` it is had by one at a time, as every other device is: that long it is waited for, in seconds. Without,
    several runs may share it: the commands that time something here leave it to you to run one at a time.
    """

    name = "local"

    def __init__(self, python: str = sys.executable, wait: float | None = None) -> None:
        self.python, self.wait = python, wait
        self._lock: int | None = None
        self._folder: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = False

    @property
    def scratch(self) -> str:
        """A temporary folder. Raises DeviceError outside of the `with` block."""
        if self._folder is None:
            raise DeviceError("the device is not open", "use it inside `with LocalDevice() as device:`")
        return self._folder

    def push(self, local: Path, keep: bool = False) -> str:
        """The absolute path: nothing has to be copied. Raises DeviceError where there is no such file."""
        if not local.is_file():
            raise DeviceError(f"{local}: no such file", "check the path")
        return str(local.resolve())

    def pull(self, remote: str, local: Path, most_bytes: int = MOST_PULLED_BYTES) -> None:
        """Copy a file. Raises DeviceError where that fails."""
        try:
            shutil.copyfile(remote, local)
        except OSError as cause:
            raise DeviceError(f"{remote}: {cause.strerror}", "look at what the device printed") from cause

    def run(self, argv: Sequence[str], timeout: float | None = None) -> Completed:
        """Run a command in its own process group, and kill the group on time-out, Ctrl-C and every other way out."""
        if self._cancelled:
            raise DeviceError("the run was cancelled", "run it again")
        try:
            self._process = process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as cause:
            raise DeviceError(f"cannot start {argv[0]}: {cause.strerror}", "check that this program exists") from cause
        try:
            stdout, stderr = process.communicate(timeout=timeout)
            return Completed(process.returncode, stdout, stderr)
        except subprocess.TimeoutExpired:
            return Completed(None, "", "")
        finally:
            _end(process)

    def cancel(self) -> None:
        """Kill what runs."""
        self._cancelled = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> LocalDevice:
        """Make the scratch folder. Raises DeviceBusy where the machine was waited for in vain."""
        if self.wait is not None:
            self._lock = _seized(self.wait)
        self._folder = tempfile.mkdtemp(prefix="edgekit-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the scratch folder, and let others have the machine."""
        folder, self._folder = self.scratch, None
        shutil.rmtree(folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _seized(wait: float) -> int:
    """Lock the machine, whoever the user is; the lock goes with the process."""
    path, flags = Path(tempfile.gettempdir(), "edgekit.local.lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(path, flags)
    except FileNotFoundError:
        lock = os.open(path, flags | os.O_CREAT, 0o644)
        os.fchmod(lock, 0o644)  # for every user, whatever the umask
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(lock)
                raise DeviceBusy("local: another run measures on this machine", "wait for it to end") from None
            time.sleep(0.1)
        else:
            return lock


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a process group and collect it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
