"""A phone over the `adb` program: with Python on it like any other device, and without by its own shell.

All words for the phone's shell are quoted here; what it answers is limited and checked.
"""

from __future__ import annotations

import contextlib
import re
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import msgspec

from edgekit.device.address import AdbAddress
from edgekit.device.channel import TOO_OLD, Channel, far_end_words
from edgekit.device.printable import last_line, printable
from edgekit.device.process import run_bounded
from edgekit.device.protocol import MOST_PULLED_BYTES, Completed
from edgekit.device.remote import BUSY, RemoteDevice, RemoteOptions, sha256_of
from edgekit.errors import DeviceBusy, DeviceError, EdgekitError, MissingDependency

CACHE = "/data/local/tmp/edgekit"
_PUSH_SECONDS = 600.0
_ANSWER_SECONDS = 60.0
_SAID_BYTES = 2**20
_GONE_SECONDS = 0.5
_KEPT_DAYS = 30  # unused, on a phone where no Python looks how much is kept


class AdbDevice(RemoteDevice):
    """A phone with Python: the agent runs there as on a board."""

    def __init__(
        self,
        address: AdbAddress,
        options: RemoteOptions | None = None,
        *,
        name: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        label, options = name or str(address), options or RemoteOptions()
        if options.cache is None:
            options = msgspec.structs.replace(options, cache=CACHE)
        argv = [*adb_words(address), "shell", "-T", far_end_words(options.python)]
        lock = f"{CACHE}/lock"  # which an AdbPhone has, too
        super().__init__(
            label, lambda: Channel(argv, label, lambda *how: _far_end_error(label, *how)), options, say, lock
        )


class AdbPhone:
    """A phone without Python: files and commands only; open inside its `with` block only.

    `tool` gives a `benchmark_model` of this machine that runs there, if there is one; it is asked when the phone is
    opened, so that a download which fails is a failure of this phone.

    One `adb shell` holds a lock on the phone as long as the block lasts; when its input ends, also because the cable
    was pulled, the phone removes this session's folder by itself.
    """

    def __init__(
        self,
        address: AdbAddress,
        tool: Callable[[Callable[[], None]], Path] | None,
        *,
        name: str | None = None,
        wait: float = 60.0,
    ) -> None:
        self._tool = tool
        self.name = name or str(address)
        self._adb = adb_words(address)
        self._wait = wait
        self._holder: subprocess.Popen[bytes] | None = None
        self._there: set[str] = set()
        self._folder = ""
        self._cancelled = False

    @cached_property
    def tool(self) -> Path | None:
        """The tool of this machine, got at the first look. Raises what getting it does."""
        return None if self._tool is None else self._tool(self._refuse_cancelled)

    @property
    def python(self) -> str:
        """Raises MissingDependency: there is none."""
        raise MissingDependency(f"{self.name}: this needs Python on the phone", _NO_PYTHON)

    @property
    def scratch(self) -> str:
        """The folder of this session on the phone. Raises DeviceError outside of the `with` block."""
        if self._holder is None:
            raise DeviceError(f"{self.name} is not open", "use it inside a `with` block")
        return self._folder

    @property
    def _kill(self) -> str:
        """Words that end what runs on the phone."""
        return f"test -s {self._folder}/pid && kill -9 $(cat {self._folder}/pid) 2>/dev/null"

    def push(self, local: Path, keep: bool = False) -> str:
        """Send a file, unless it is kept there already; its hash is checked on the phone either way."""
        try:
            digest = sha256_of(local)
        except OSError as cause:
            raise DeviceError(f"{local}: {cause.strerror}", "check the path") from None
        path = f"{CACHE}/files/{digest}" if keep else f"{self.scratch}/{digest}"
        if digest not in self._there:
            partial = f"{self.scratch}/{digest}.partial"
            done = self._call("push", str(local), partial, timeout=_PUSH_SECONDS)
            if done.returncode != 0:
                self._see_connected(done)
                raise DeviceError(f"{self.name}: {last_line(done.stderr or done.stdout)}", _mend_of(done.stderr))
            self._shell(f"mv {shlex.quote(partial)} {shlex.quote(path)}")
        words = f"touch -c {shlex.quote(path)} && sha256sum {shlex.quote(path)}"  # its age is that of its last use
        if self._shell(words).split()[:1] != [digest]:
            self._shell(f"rm -f {shlex.quote(path)}")
            raise DeviceError(f"{self.name}: a file on the phone has another hash, and was removed", "run it again")
        if keep:
            self._there.add(digest)
        return path

    def pull(self, remote: str, local: Path, most_bytes: int = MOST_PULLED_BYTES) -> None:
        """Copy a file out; DeviceError if there is none, or it is larger than `most_bytes`."""
        done = run_bounded(
            [*self._adb, "shell", "-T", f"cat {shlex.quote(remote)}"], _PUSH_SECONDS, _SAID_BYTES, (local, most_bytes)
        )
        if done.returncode is None:
            raise DeviceError(f"{self.name}: {remote} takes too long, or has more than {most_bytes} bytes", "run again")
        if done.returncode != 0:
            raise DeviceError(f"{self.name}: {last_line(done.stderr)}", "look at what the phone printed")

    def run(self, argv: Sequence[str], timeout: float | None = None) -> Completed:
        """Run a command; it is killed when time runs out, and by the phone itself when the connection ends."""
        note = f"{self.scratch}/pid"
        words = f"{shlex.join(argv)} </dev/null & echo $! > {note}; wait $!; code=$?; rm -f {note}; exit $code"
        done = self._call("shell", "-T", words, timeout=timeout)
        self._see_connected(done)
        if done.returncode is None:
            self._call("shell", "-T", self._kill, timeout=_ANSWER_SECONDS)
        if done.returncode is not None and done.returncode > 128:
            return Completed(128 - done.returncode, done.stdout, done.stderr)  # a shell tells a signal so
        return done

    def cancel(self) -> None:
        """Cut the connection, or end the wait for one."""
        self._cancelled = True
        if (holder := self._holder) is not None:
            holder.kill()

    def __enter__(self) -> AdbPhone:
        """Get the tool, lock the phone and make the folder of this session."""
        _ = self.tool
        self._folder = f"{CACHE}/runs/{uuid4().hex}"
        deadline = time.monotonic() + self._wait
        try:
            while not self._hold():
                if time.monotonic() >= deadline:
                    raise DeviceBusy(f"{self.name}: another run has the device", BUSY)
                time.sleep(0.5)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the phone remove the folder."""
        self._release()

    def _hold(self) -> bool:
        """Start the shell that holds the lock; False if another one has it."""
        self._refuse_cancelled()
        sweep = f"rm -rf runs/*; find {CACHE}/files -type f -mtime +{_KEPT_DAYS} -exec rm -f {{}} +"
        script = f"cd {CACHE} && {sweep}; mkdir {self._folder} && ls files && echo held && cat >/dev/null"
        inside = shlex.quote(f"trap '' HUP; {script}; {self._kill}; rm -rf {self._folder}")
        # Android's flock takes a descriptor only, and its shell keeps one that `exec 9>` opens from other programs.
        locked = f"{{ flock -n 9 && sh -c {inside}; }} 9>{CACHE}/lock"
        words = f"mkdir -p {CACHE}/files {CACHE}/runs && {locked}; echo ended $?"
        self._holder = self._started(words)
        lines = self._first_lines(self._holder)
        if lines[-1:] == ["held"]:
            self._there = {line for line in lines if re.fullmatch(r"[0-9a-f]{64}", line)}
            return True
        self._release()
        self._refuse_cancelled()
        if lines == ["ended 1"]:
            return False
        raise adb_error(self.name, "\n".join(line for line in lines if not line.startswith("ended")))

    def _started(self, words: str) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._adb, "shell", "-T", words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as cause:
            raise DeviceError(f"cannot start adb: {cause.strerror}", "`apt install adb`, or put it on PATH") from None

    def _first_lines(self, holder: subprocess.Popen[bytes]) -> list[str]:
        """What it prints before it waits, or before it ends."""
        assert holder.stdout is not None
        text, deadline = b"", time.monotonic() + _ANSWER_SECONDS
        while not text.endswith(b"held\n") and len(text) < _SAID_BYTES:
            rest = deadline - time.monotonic()
            if rest <= 0 or not select.select([holder.stdout], [], [], rest)[0]:
                raise DeviceError(f"{self.name}: no answer over adb", "`adb kill-server`, then connect the phone again")
            chunk = holder.stdout.read1(2**16)  # type: ignore[attr-defined]
            if not chunk:
                break
            text += chunk
        return printable(text.decode(errors="replace")).splitlines()

    def _release(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None:
            return
        for stream in (holder.stdin, holder.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            holder.wait(timeout=10)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()

    def _shell(self, words: str) -> str:
        done = self._call("shell", "-T", words, timeout=_ANSWER_SECONDS)
        if done.returncode != 0:
            self._see_connected(done)
            raise DeviceError(f"{self.name}: {last_line(done.stderr)}", _mend_of(done.stderr))
        return done.stdout

    def _see_connected(self, done: Completed) -> None:
        """Raise DeviceError if the connection is gone; a command that fails by that may end just before the lock."""
        assert self._holder is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._holder.wait(_GONE_SECONDS if done.returncode else 0)
            said = f": {last_line(done.stderr)}" if done.stderr.strip() else ""
            raise DeviceError(
                f"{self.name}: the connection was lost{said}",
                "check the cable and whether the phone is on, then run again; what ran there ends by itself",
            )

    def _refuse_cancelled(self) -> None:
        if self._cancelled:
            raise DeviceError(f"{self.name}: the run was cancelled", "run it again")

    def _call(self, *words: str, timeout: float | None) -> Completed:
        self._refuse_cancelled()
        if self._holder is None:
            raise DeviceError(f"{self.name} is not open", "use it inside a `with` block")
        return run_bounded([*self._adb, *words], timeout, _SAID_BYTES)


_NO_PYTHON = (
    'name a Python there in the devices file (`python = "/path"`); without one, `edgekit benchmark --benchmark-model '
    "PATH` measures (a build of TensorFlow Lite's benchmark_model for the phone), with no --data, --retries or --strict"
)


def adb_words(address: AdbAddress) -> list[str]:
    """How every command to this phone starts."""
    return ["adb", *address.words]


def _far_end_error(name: str, code: int | None, said: str, greeted: bool) -> EdgekitError:
    """The error for an `adb shell` that ended, before or after the far end had answered."""
    if greeted:
        return DeviceError(
            f"{name}: the connection was lost, or the far end was killed",
            "check the cable and whether the phone is on, then run again; what ran there ends by itself",
        )
    if code in (126, 127):
        return MissingDependency(f"{name}: no Python on the phone ({last_line(said)})", _NO_PYTHON)
    if code == TOO_OLD:
        return MissingDependency(f"{name}: its Python is older than 3.8", _NO_PYTHON)
    return adb_error(name, said)


def adb_error(name: str, said: str) -> DeviceError:
    """The error for what `adb` itself says."""
    return DeviceError(f"{name}: {last_line(said) or 'adb ended without a word'}", _mend_of(said))


# What adb and the phone's shell say, and what to do (adb's transport.cpp, and errno's texts).
_MENDS = (
    (
        "more than one device",
        "`adb devices -l` lists them: name one as adb://SERIAL, or where two have the same serial by its port, "
        "adb://usb:1-4.2, or its transport_id, adb://transport:3",
    ),
    ("no device with transport id", "`adb devices -l` lists the transport_id of each, which a new connection changes"),
    ("flock: ", "give a phone with Android 9 or newer: the shell of older ones has no flock"),
    ("unauthorized", "unlock the phone and allow USB debugging for this computer"),
    ("offline", "connect the cable again, or `adb reconnect`"),
    ("no permissions", "install the udev rules for phones, and connect the cable again"),
    ("not found", "`adb devices` lists what is connected; switch USB debugging on, check the cable"),
    ("no devices", "switch USB debugging on, and check the cable"),
    ("cannot connect to daemon", "`adb start-server` says why the server does not start"),
    ("No space left", f"free space on the phone; edgekit keeps models in {CACHE}"),
    ("Read-only file system", f"{CACHE} must be writable"),
    ("Permission denied", f"{CACHE} must be writable for the user of `adb shell`"),
)


def _mend_of(said: str) -> str:
    return next((mend for words, mend in _MENDS if words in said), "see whether `adb shell` works")
