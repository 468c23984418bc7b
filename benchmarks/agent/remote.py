"""The far end of a connection to a device: takes files, runs commands, gives files back, and leaves nothing behind.

It needs Python 3.8 or newer and nothing else. edgekit sends this text over the connection and speaks to it through
standard input and output. A request is one line of JSON, then `size` bytes if it names a size; so is an answer, and
answers come in the order of the requests. An empty line is a sign of life. When the input ends, or is silent for
SILENCE seconds, whatever still runs is killed, the folder of this session is removed, and the process ends.

Requests: `hello` (waits for the device to be free, says what is here), `put` a file, `use` one that is here already,
`unpack` wheels into a folder, `run` a command, `get` a file. Sizes are in bytes, times in seconds.
"""

import errno
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from importlib import metadata, util

SILENCE = 60.0
CHUNK = 1 << 18
KEPT_BYTES = 2 << 30
SAID_BYTES = 1 << 16
MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "numpy": "numpy"}


class Closed(Exception):  # noqa: N818 - it says what happened
    """The other side is gone."""


class Refused(Exception):  # noqa: N818 - it says what happened
    """A request that cannot be met, and the kind of reason."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# ---------------------------------------------------------------- the line


class Line:
    """Requests from one descriptor, answers to another."""

    def __init__(self, source, sink):
        self.source, self.sink, self.buffer = source, sink, bytearray()

    def fill(self):
        """Read what there is; Closed at the end, and after a long silence."""
        ready, _, _ = select.select([self.source], [], [], SILENCE)
        chunk = os.read(self.source, CHUNK) if ready else b""
        if not chunk:
            raise Closed
        self.buffer += chunk

    def request(self):
        """The next request; empty lines are skipped."""
        while True:
            end = self.buffer.find(b"\n")
            if end < 0:
                self.fill()
                continue
            text = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
            if text:
                return json.loads(text.decode())

    def payload(self, size):
        """`size` bytes after a request, in pieces."""
        while size:
            if not self.buffer:
                self.fill()
            piece = bytes(self.buffer[:size])
            del self.buffer[: len(piece)]
            size -= len(piece)
            yield piece

    def send(self, data):
        """All bytes of an answer."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.sink, view) :]

    def answer(self, **fields):
        """One answer."""
        self.send(json.dumps(fields).encode() + b"\n")


# ---------------------------------------------------------------- the machine


def bits():
    """Of this Python: a 64-bit kernel may carry a 32-bit system."""
    return struct.calcsize("P") * 8


def glibc():
    """Version of glibc; None on another C library."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError, AttributeError):
        return None
    return version if name == "glibc" else None


def packages():
    """{name: version} of what a model needs and this Python finds."""
    found = {}
    for name, module in MODULES.items():
        if util.find_spec(module) is not None:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = "unknown"
    return found


def listing(folder):
    """Names in a folder, newest first."""
    rows = [(entry.stat().st_mtime, entry.name) for entry in os.scandir(folder)]
    return [name for _, name in sorted(rows, reverse=True)]


# ---------------------------------------------------------------- the session


class Session:
    """Folders and children of one connection."""

    def __init__(self, line):
        self.line = line
        self.cache = self.files = self.runtimes = self.scratch = self.lock = self.child = None

    def hello(self, request):
        """Make the folders, wait until no other session is on this device, and say what is here."""
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        self.cache = os.path.expanduser(request["cache"] or os.path.join(base, "edgekit"))
        self.files, self.runtimes, runs = (os.path.join(self.cache, name) for name in ("files", "runtimes", "runs"))
        for folder in (self.files, self.runtimes, runs):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.path.join(tempfile.gettempdir(), "edgekit.lock")
        with suppress(OSError):  # where its folder cannot be made, nobody without Python has one there
            os.makedirs(os.path.dirname(request.get("lock") or lock), exist_ok=True)
            lock = request.get("lock") or lock
        self.seize(lock, time.monotonic() + request["wait"])
        mark = os.uname().nodename + "@"  # boards may share a home; the sign is in no name of a host
        for left in os.listdir(runs):  # of a session that was killed, or ended with the power
            if left.startswith(mark) or "@" not in left:  # the others are older, or of a session without Python
                shutil.rmtree(os.path.join(runs, left), ignore_errors=True)
        self.evict()
        self.scratch = tempfile.mkdtemp(prefix=mark, dir=runs)
        self.line.answer(
            version=1,
            python=list(sys.version_info[:3]),
            executable=sys.executable,
            machine=os.uname().machine,
            bits=bits(),
            glibc=glibc(),
            packages=packages(),
            files_folder=self.files,
            runtimes_folder=self.runtimes,
            scratch=self.scratch,
            files=listing(self.files)[:2000],
            runtimes=listing(self.runtimes)[:2000],
        )

    def seize(self, path, deadline):
        """Lock the device: one run at a time, whoever the user is."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.lock = os.open(path, flags)
        except FileNotFoundError:
            self.lock = os.open(path, flags | os.O_CREAT, 0o644)
            os.fchmod(self.lock, 0o644)  # for every user, whatever the umask
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Refused("busy", "another run has the device") from None
            self.listen(0.5)

    def listen(self, seconds):
        """Wait, and notice that the other side is gone."""
        if select.select([self.line.source], [], [], seconds)[0]:
            self.line.fill()

    def put(self, request):
        """Keep a file under its hash, or put it into the scratch folder; whole or not at all."""
        keep, digest = request["keep"], request["sha256"]
        path = os.path.join(self.files if keep else self.scratch, digest)
        sink = Sink(os.path.join(self.scratch, f"{digest}.partial"))  # a cut leaves nothing among the kept ones
        for piece in self.line.payload(request["size"]):
            sink.write(piece)
        sink.keep(path, digest, lasting=keep)
        self.line.answer()

    def use(self, request):
        """Check a file that is here: a card that lost some bits must not be measured."""
        path = os.path.join(self.files, request["sha256"])
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(CHUNK), b""):
                digest.update(piece)
        if digest.hexdigest() != request["sha256"]:
            os.remove(path)
            raise Refused("damaged", "a file kept on the device had changed, and was removed")
        os.utime(path)
        self.line.answer()

    def evict(self):
        """Drop the oldest kept files beyond KEPT_BYTES: at the start, since what is listed then must stay."""
        total = 0
        for name in listing(self.files):
            path = os.path.join(self.files, name)
            total += os.path.getsize(path)
            if total > KEPT_BYTES:
                os.remove(path)

    def unpack(self, request):
        """Wheels, kept here before, into one folder that a Python path can name; whole or not at all."""
        folder = os.path.join(self.runtimes, request["name"])
        partial = tempfile.mkdtemp(dir=self.scratch)
        for digest in request["wheels"]:
            path = os.path.join(self.files, digest)
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(partial)
            os.remove(path)
        os.sync()  # a power cut must not leave a folder of empty files under this name
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
        self.line.answer()

    def get(self, request):
        """Send a file, if it is not larger than what was asked for."""
        with open(request["path"], "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > request["most_bytes"]:
                raise Refused("large", f"{size} bytes")
            self.line.answer(size=size)
            for piece in iter(lambda: file.read(CHUNK), b""):
                self.line.send(piece)

    def run(self, request):
        """Run a command to its end or for `timeout` seconds; the code is null when time ran out."""
        paths = [path for path in (request["python_path"], os.environ.get("PYTHONPATH")) if path]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else None
        self.child = Child(request["argv"], env)
        try:
            code = self.child.wait(request["timeout"], self.line)
        finally:
            self.child.end()
        out, err = (tail.decode(errors="replace") for tail in self.child.said.values())
        self.line.answer(returncode=code, stdout=out, stderr=err)

    def serve(self):
        """Meet requests until the other side is gone."""
        calls = {"hello": self.hello, "put": self.put, "use": self.use, "unpack": self.unpack, "run": self.run}
        calls["get"] = self.get
        while True:
            request = self.line.request()
            try:
                calls[request["do"]](request)
            except Refused as refusal:
                self.line.answer(error={"kind": refusal.kind, "message": str(refusal)})
            except (OSError, zipfile.BadZipFile) as fault:
                kind = errno.errorcode.get(getattr(fault, "errno", None), "damaged")
                place = getattr(fault, "filename", None) or self.cache
                words = getattr(fault, "strerror", None) or str(fault)
                self.line.answer(error={"kind": kind, "message": f"{place}: {words}" if place else words})

    def close(self):
        """Leave nothing behind."""
        if self.child is not None:
            self.child.end()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


class Sink:
    """A file that is being written. After a fault the rest is thrown away, so that the line stays in step."""

    def __init__(self, path):
        self.path, self.file, self.fault, self.digest = path, None, None, hashlib.sha256()
        try:
            self.file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by keep
        except OSError as fault:
            self.fault = fault

    def write(self, piece):
        """Add bytes."""
        self.digest.update(piece)
        try:
            while piece and self.fault is None:
                piece = piece[self.file.write(piece) :]
        except OSError as fault:
            self.fault = fault

    def flush(self):
        """Wait until the disk has it."""
        try:
            os.fsync(self.file.fileno())
        except OSError as fault:
            self.fault = self.fault or fault

    def keep(self, path, digest, lasting):
        """Put the file in its place, and where it is to outlast a power cut wait for the disk; or raise the fault."""
        if self.file is not None:
            if lasting:
                self.flush()
            self.file.close()
        if self.fault is None and self.digest.hexdigest() != digest:
            self.fault = Refused("damaged", "a file arrived with another hash")
        if self.fault is None:
            return os.replace(self.path, path)
        if self.file is not None:
            os.remove(self.path)
        raise self.fault


class Child:
    """A command in a process group of its own; the end of what it says is kept."""

    def __init__(self, argv, env):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env, preexec_fn=die_together
        )
        self.said = {self.process.stdout.fileno(): bytearray(), self.process.stderr.fileno(): bytearray()}

    def wait(self, timeout, line):
        """Its exit code (negative for a signal), None when time ran out; Closed when the other side is gone."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        heard, silent, open_ends = time.monotonic(), SILENCE, set(self.said)
        while open_ends or self.process.poll() is None:
            now = time.monotonic()
            if now >= deadline:
                return None
            if now - heard >= silent:
                raise Closed
            pause = min(deadline - now, 1.0 if open_ends else 0.02)
            ready = select.select([line.source, *open_ends], [], [], pause)[0]
            if line.source in ready:
                line.fill()
                heard = now
            open_ends -= {end for end in ready if end != line.source and not self.keep(end)}
        return self.process.returncode

    def keep(self, end):
        """Take what the command said; False at its end."""
        piece = os.read(end, CHUNK)
        said = self.said[end]
        said += piece
        del said[:-SAID_BYTES]
        return bool(piece)

    def end(self):
        """Kill what is left of the process group and collect it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def die_together():
    """Before the command starts: a group of its own, killed by the kernel when this process is killed."""
    os.setsid()
    if PRCTL is not None:
        PRCTL(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def kernel_call():
    """The function prctl of Linux; None where there is none."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


PRCTL = kernel_call()


def main():
    """Serve one connection; what a signal ends is cleaned up too."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    session = Session(Line(os.dup(0), os.dup(1)))
    os.dup2(2, 1)  # what anything prints must not stand between the answers
    session.line.send(b"\nedgekit-remote-1\n")
    try:
        with suppress(Closed, ConnectionError):
            session.serve()
    finally:
        session.close()


if __name__ == "__main__":
    main()
