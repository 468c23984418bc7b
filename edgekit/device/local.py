"""This machine as a device: commands run in a child process, so a crash there is not a crash here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from edgekit.device.protocol import MOST_PULLED_BYTES, Completed
from edgekit.errors import DeviceError


class LocalDevice:
    """This machine; `python` is the interpreter that runs the agent, by default the one that runs edgekit."""

    name = "local"

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python
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
        """Make the scratch folder."""
        self._folder = tempfile.mkdtemp(prefix="edgekit-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the scratch folder."""
        folder, self._folder = self.scratch, None
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a process group and collect it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
