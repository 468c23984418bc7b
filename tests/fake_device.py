"""A device for tests: it keeps files in memory of a real folder, and a script decides how each command ends."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edgekit.device.protocol import MOST_PULLED_BYTES, Completed
from edgekit.errors import DeviceError

Script = Callable[[dict[str, Any]], "Completed | bytes"]


class FakeDevice:
    """Answers each agent request with what `script(request)` gives.

    Bytes become the agent's answer with exit code 0; a `Completed` is the end of a command that answered nothing.
    `requests` keeps what was asked.
    """

    python = "python3"

    def __init__(self, script: Script, name: str = "fake") -> None:
        self.name = name
        self.requests: list[dict[str, Any]] = []
        self._script = script
        self._folder: Path | None = None

    @property
    def scratch(self) -> str:
        """A temporary folder. Raises DeviceError outside of the `with` block."""
        if self._folder is None:
            raise DeviceError("the device is not open", "use it inside a `with` block")
        return str(self._folder)

    def push(self, local: Path, keep: bool = False) -> str:
        """Copy a file into the scratch folder, under a name of its own."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        return str(shutil.copy(local, folder))

    def pull(self, remote: str, local: Path, most_bytes: int = MOST_PULLED_BYTES) -> None:
        """Copy a file out. Raises DeviceError where there is none."""
        try:
            shutil.copyfile(remote, local)
        except OSError as cause:
            raise DeviceError(f"{remote}: {cause.strerror}", "script an answer for it") from cause

    def run(self, argv: Sequence[str], timeout: float | None = None) -> Completed:
        """Play the script for the request that the last word names."""
        request = json.loads(Path(argv[-1]).read_text(encoding="utf-8"))
        self.requests.append(request)
        result = self._script(request)
        if isinstance(result, Completed):
            return result
        Path(request["response"]).write_bytes(result)
        return Completed(0, "", "")

    def cancel(self) -> None:
        """Nothing runs."""

    def __enter__(self) -> FakeDevice:
        """Make the scratch folder."""
        self._folder = Path(tempfile.mkdtemp(prefix="edgekit-fake-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the scratch folder."""
        folder, self._folder = self.scratch, None
        shutil.rmtree(folder, ignore_errors=True)
