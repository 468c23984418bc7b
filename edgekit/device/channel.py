"""Requests to the far end of a connection (`remote.py` of `edgekit.agent`), through the pipes of a child process."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from msgspec import Struct

from edgekit.device.printable import printable
from edgekit.errors import DeviceError, EdgekitError

T = TypeVar("T")
Explain = Callable[[int | None, str, bool], EdgekitError]

MAGIC = b"\nedgekit-remote-1\n"
TOO_OLD = 88  # exit code of a Python that is
BOOTSTRAP = (
    f"import os, sys; sys.version_info < (3, 8) and sys.exit({TOO_OLD}); sys.path = [p for p in sys.path if p]; "
    'n, b = int(sys.argv[1]), bytes(); exec("while len(b) < n: b += os.read(0, n - len(b)) or sys.exit(1)"); exec(b)'
)
_CHUNK = 2**18
_MOST_LINE_BYTES = 4 * 2**20
_SAID_BYTES = 2**16
_PING_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0


class Fault(Struct, frozen=True):
    """Why the far end did not do what it was asked: the name of an errno, or a word of its own."""

    kind: str
    message: str


class RemoteFault(Exception):  # noqa: N818 - carries a Fault
    """A request that the far end refused; the device turns it into an error with a mend."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.kind, self.message = printable(fault.kind), printable(fault.message)


class _Answer(Struct, frozen=True):
    error: Fault | None = None


class Channel:
    """One child process (`ssh`, `adb shell`) and the far end behind it.

    `explain(returncode, what the child said, whether the far end had answered)` gives the error for a child that ends
    by itself. `round_trips` counts how often this side waited for an answer.
    """

    def __init__(self, argv: Sequence[str], name: str, explain: Explain) -> None:
        self.name = name
        self.round_trips = 0
        self._explain = explain
        self._pending = 0
        self._greeted = False
        self._buffer = bytearray()
        self._said = bytearray()
        self._writing = threading.Lock()
        self._closing = threading.Event()
        try:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as cause:
            raise DeviceError(
                f"cannot start {argv[0]}: {cause.strerror}", f"install {argv[0]}, or put it on PATH"
            ) from None
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._ping)]
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Send the far end its own text; it has to come before any request."""
        self._write([_far_end()])

    def post(self, request: Mapping[str, object], payload: Path | None = None) -> None:
        """Send a request and do not wait; a fault shows at the next `call`."""
        size = {} if payload is None else {"size": payload.stat().st_size}
        self._pending += 1
        self._write(_pieces(msgspec.json.encode({**request, **size}) + b"\n", payload, size.get("size", 0)))

    def call(self, request: Mapping[str, object], kind: type[T], patience: float | None = _PATIENCE_SECONDS) -> T:
        """The answer to a request, after those to all that was posted before.

        Raises RemoteFault for the first of them that was refused, DeviceError for an answer that cannot be believed
        or none within `patience` seconds (None: waits on), and what `explain` gives if the connection ends.
        """
        self.post(request)
        return self._answers(kind, patience)

    def receive(self, path: Path, size: int) -> None:
        """Bytes that follow an answer, into a file."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with path.open("wb") as file:
            while size:
                if not self._buffer:
                    self._fill(deadline)
                    deadline = time.monotonic() + _PATIENCE_SECONDS
                piece = self._take(min(size, len(self._buffer)))
                file.write(piece)
                size -= len(piece)

    def cut(self) -> None:
        """End the connection at once, from any thread."""
        self._child.kill()

    def close(self) -> None:
        """End the far end by ending its input, and wait until it has cleaned up."""
        self._closing.set()
        for stream in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for thread in self._threads:
            thread.join(timeout=1)
        if self._child.stderr is not None:
            self._child.stderr.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._child.stdin is not None
        return self._child.stdin

    def _answers(self, kind: type[T], patience: float | None) -> T:
        deadline = None if patience is None else time.monotonic() + patience
        self.round_trips += 1
        if not self._greeted:
            self._greet(deadline)
        first: Fault | None = None
        line = b""
        while self._pending:
            line = self._line(deadline)
            self._pending -= 1
            first = first or self._believed(line, _Answer).error
        if first is not None:
            raise RemoteFault(first)
        return self._believed(line, kind)

    def _believed(self, line: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
            raise self._odd(str(cause)) from None

    def _odd(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.name}: an answer cannot be believed: {printable(what)}",
            "check that it is the device you mean, and that its Python is sound",
        )

    def _greet(self, deadline: float | None) -> None:
        """Skip what a login prints before the far end speaks."""
        while (start := self._buffer.find(MAGIC)) < 0:
            if len(self._buffer) > _SAID_BYTES:
                raise self._odd(f"{len(self._buffer)} bytes of other text")
            self._fill(deadline)
        del self._buffer[: start + len(MAGIC)]
        self._greeted = True

    def _line(self, deadline: float | None) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MOST_LINE_BYTES:
                raise self._odd(f"a line of more than {_MOST_LINE_BYTES} bytes")
            self._fill(deadline)
        return self._take(end + 1)

    def _take(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def _fill(self, deadline: float | None) -> None:
        assert self._child.stdout is not None
        rest = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([self._child.stdout], [], [], rest)[0]:
            raise DeviceError(f"{self.name}: no answer for a long time", "look at what the device is doing, and retry")
        chunk = os.read(self._child.stdout.fileno(), _CHUNK)
        if not chunk:
            raise self._ended()
        self._buffer += chunk

    def _ended(self) -> EdgekitError:
        """The error for a connection that is gone."""
        try:
            code: int | None = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        self._threads[0].join(timeout=1)
        return self._explain(code, printable(self._said.decode(errors="replace")).strip(), self._greeted)

    def _write(self, pieces: Iterator[bytes] | list[bytes]) -> None:
        try:
            with self._writing:
                for piece in pieces:
                    self._input.write(piece)
                self._input.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _listen(self) -> None:
        """Keep the end of what the child says."""
        assert self._child.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._child.stderr.fileno(), _CHUNK):
                self._said += chunk
                del self._said[:-_SAID_BYTES]

    def _ping(self) -> None:
        """Signs of life: the far end gives up without them."""
        while not self._closing.wait(_PING_SECONDS):
            with contextlib.suppress(OSError, ValueError), self._writing:
                self._input.write(b"\n")
                self._input.flush()


def far_end_words(python: str) -> str:
    """The command that a login shell of any kind turns into the far end; `python` is used as it is."""
    return f"exec {python} -u -c '{BOOTSTRAP}' {len(_far_end())}"


def _far_end() -> bytes:
    return (resources.files("edgekit.agent") / "remote.py").read_bytes()


def _pieces(head: bytes, payload: Path | None, size: int) -> Iterator[bytes]:
    """A request and the file after it, cut or refused if the file changes its length meanwhile."""
    yield head
    if payload is None:
        return
    with payload.open("rb") as file:
        while size:
            piece = file.read(min(_CHUNK, size))
            if not piece:
                raise DeviceError(f"{payload} became shorter while it was sent", "run it again")
            size -= len(piece)
            yield piece
