"""A device at the other end of a connection, whatever carries it: files by their hash, commands, and what fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from edgekit.device.channel import Channel, RemoteFault
from edgekit.device.protocol import MOST_PULLED_BYTES, Completed
from edgekit.device.wheels import Needs, RuntimeName, resolve_wheels
from edgekit.errors import DeviceBusy, DeviceError

_LOST_SECONDS = 60.0

Word = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
Version = Annotated[str, Meta(max_length=40, pattern=r"^[0-9]+(\.[0-9]+)+\Z")]  # these two are in names of files here
Machine = Annotated[str, Meta(max_length=40, pattern=r"^[A-Za-z0-9_-]*\Z")]
PythonWord = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_~/][A-Za-z0-9_./+-]*\Z")]
CacheFolder = Annotated[str, Meta(pattern=r"^[~/][^\x00-\x1f\x7f]*\Z")]
WaitSeconds = Annotated[float, Meta(ge=0, le=86400)]
T = TypeVar("T")


class Hello(Struct, frozen=True, forbid_unknown_fields=True):
    """What the far end is and has."""

    version: Literal[1]
    python: tuple[int, int, int]
    executable: Word
    machine: Machine
    bits: Literal[32, 64]
    glibc: Version | None
    packages: dict[Word, Word]
    files_folder: Word
    runtimes_folder: Word
    scratch: Word
    files: Annotated[tuple[Word, ...], Meta(max_length=2000)]
    runtimes: Annotated[tuple[Word, ...], Meta(max_length=2000)]


class _Done(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Ended(Struct, frozen=True, forbid_unknown_fields=True):
    returncode: int | None
    stdout: str
    stderr: str


class _Sent(Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=0)]


class RemoteOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How a device is used: its Python, its cache folder, the runtime wanted, seconds to wait for another run."""

    python: PythonWord = "python3"
    cache: CacheFolder | None = None
    runtime: RuntimeName = "auto"
    wait: WaitSeconds = 60.0


class RemoteDevice:
    """A device reached through a `Channel`, which `connect` makes; open inside its `with` block only.

    Models and the agent are kept on the device under their hash, everything else in a folder of this session. Where
    the device has no runtime, wheels are resolved here and unpacked into a folder of its cache. `lock` is the file
    there that one run at a time has, by default one in its temporary folder.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Channel],
        options: RemoteOptions | None = None,
        say: Callable[[str], None] = lambda text: None,
        lock: str | None = None,
    ) -> None:
        self.name = name
        self.options = options or RemoteOptions()
        self._lock = lock
        self._connect = connect
        self._say = say
        self._channel: Channel | None = None
        self._cancelled = False
        self._hello: Hello | None = None
        self._sure: set[str] = set()
        self._python_path: str | None = None

    @property
    def hello(self) -> Hello:
        """What the device said when it was opened. Raises DeviceError outside of the `with` block."""
        if self._hello is None:
            raise DeviceError(f"{self.name} is not open", "use it inside a `with` block")
        return self._hello

    @property
    def python(self) -> str:
        """The Python that runs the agent."""
        return self.hello.executable

    @property
    def runtime(self) -> RuntimeName:
        """The runtime that is wanted there."""
        return self.options.runtime

    @property
    def scratch(self) -> str:
        """The folder of this session."""
        return self.hello.scratch

    @property
    def round_trips(self) -> int:
        """How often this side waited for an answer of the device."""
        return self._open.round_trips

    def push(self, local: Path, keep: bool = False) -> str:
        """Send a file, unless it is kept there already; nothing waits for the device here."""
        try:
            digest = sha256_of(local)
        except OSError as cause:
            raise DeviceError(f"{local}: {cause.strerror}", "check the path") from None
        if not keep or digest not in self._sure:
            there = keep and digest in self.hello.files
            request = {"do": "use" if there else "put", "sha256": digest, "keep": keep}
            self._open.post(request, None if there else local)
        if keep:
            self._sure.add(digest)
        return f"{self.hello.files_folder if keep else self.scratch}/{digest}"

    def pull(self, remote: str, local: Path, most_bytes: int = MOST_PULLED_BYTES) -> None:
        """Copy a file out; DeviceError if it is larger than `most_bytes`."""
        size = self._call({"do": "get", "path": remote, "most_bytes": most_bytes}, _Sent).size
        if size > most_bytes:
            raise DeviceError(f"{self.name}: {remote} has {size} bytes, at most {most_bytes} are taken", "run it again")
        self._open.receive(local, size)

    def run(self, argv: Sequence[str], timeout: float | None = None) -> Completed:
        """Run a command; its process group is killed when time runs out and when the connection ends."""
        request = {"do": "run", "argv": list(argv), "timeout": timeout, "python_path": self._python_path}
        ended = self._call(request, _Ended, None if timeout is None else timeout + _LOST_SECONDS)
        return Completed(ended.returncode, ended.stdout, ended.stderr)

    def cancel(self) -> None:
        """Cut the connection; the far end then kills what runs."""
        self._cancelled = True
        if self._channel is not None:
            self._channel.cut()

    def __enter__(self) -> RemoteDevice:
        """Connect, wait for the device to be free, and see that it has a runtime."""
        self._say(f"connecting to {self.name}")
        self._channel = self._connect()
        try:
            self._channel.begin()
            request = {"do": "hello", "cache": self.options.cache, "wait": self.options.wait, "lock": self._lock}
            self._hello = self._call(request, Hello, self.options.wait + _LOST_SECONDS)
            self._provide_runtime()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the far end, which removes its folder."""
        self._close()

    @property
    def _open(self) -> Channel:
        if self._cancelled:
            raise DeviceError(f"{self.name}: the run was cancelled", "run it again")
        if self._channel is None:
            raise DeviceError(f"{self.name} is not open", "use it inside a `with` block")
        return self._channel

    def _close(self) -> None:
        channel, self._channel, self._hello = self._channel, None, None
        if channel is not None:
            channel.close()

    def _call(self, request: Mapping[str, object], kind: type[T], patience: float | None = 120.0) -> T:
        try:
            return self._open.call(request, kind, patience)
        except RemoteFault as fault:
            raise fault_error(self.name, fault) from None

    def _provide_runtime(self) -> None:
        """Find a runtime on the device, among what edgekit put there before, or put one there."""
        hello = self.hello
        needs = Needs(hello.python[:2], hello.machine, hello.bits, hello.glibc, hello.packages, self.options.runtime)
        if needs.met():
            return
        name = needs.met_by(hello.runtimes)
        if name is None:
            self._say(f"{self.name}: getting a runtime for it")
            wheels = resolve_wheels(needs, self.name)
            name = wheels.name
            self._say(f"{self.name}: installing {name}")
            self._unpack(name, wheels.files)
        self._python_path = f"{hello.runtimes_folder}/{name}"

    def _unpack(self, name: str, files: Sequence[Path]) -> None:
        for file in files:
            self.push(file, keep=True)
        self._call({"do": "unpack", "name": name, "wheels": [sha256_of(file) for file in files]}, _Done, 600.0)


def sha256_of(path: Path) -> str:
    """Hash of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(2**20), b""):
            digest.update(piece)
    return digest.hexdigest()


BUSY = "wait for it to end; `wait = SECONDS` in the devices file waits longer"
_ELSEWHERE = 'name another folder (`cache = "/path"` in the devices file)'
_MENDS = {
    "busy": BUSY,
    "ENOSPC": f"free space there, or {_ELSEWHERE}",
    "EDQUOT": f"free space there, or {_ELSEWHERE}",
    "EROFS": f"mount it for writing, or {_ELSEWHERE}",
    "EACCES": f"correct the rights there, or {_ELSEWHERE}",
    "EPERM": f"correct the rights there, or {_ELSEWHERE}",
    "ENOENT": f"see what was removed there, or {_ELSEWHERE}",
    "ENOTDIR": f"see what lies in its way there, or {_ELSEWHERE}",
    "EEXIST": f"see what lies in its way there, or {_ELSEWHERE}",
    "EIO": "its storage fails: check the card, and what `dmesg` says there",
    "ENOMEM": "free memory there, or use a smaller model",
    "damaged": "run it again; if it comes back, check the device's storage",
}


def fault_error(name: str, fault: RemoteFault) -> DeviceError:
    """The error for what the far end could not do."""
    kind = DeviceBusy if fault.kind == "busy" else DeviceError
    return kind(f"{name}: {fault.message}", _MENDS.get(fault.kind, "look at the device, then run it again"))
