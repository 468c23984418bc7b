"""Ask the agent on a device one thing, and turn every way that can end into an answer or an error."""

from __future__ import annotations

import errno
import hashlib
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from edgekit.bench.missing_operator import missing_operator
from edgekit.device.printable import printable
from edgekit.device.protocol import Completed, Device
from edgekit.device.wheels import own_environment
from edgekit.errors import DataError, DeviceError, EdgekitError, InputError, MissingDependency, ModelError, RunError

T = TypeVar("T")

_MOST_ANSWER_BYTES = 64 * 2**20
# A script that Python is given keeps its syntax tree while it runs, 2 MiB for the agent; this one is short.
_START = (
    "import sys; sys.argv.pop(0); sys.path[:] = filter(None, sys.path); "
    "exec(compile(open(sys.argv[0], 'rb').read(), sys.argv[0], 'exec'))"
)
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, None}  # None: numpy wrote less than it had
_CRASHES = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL"}


class _Fault(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal[
        "runtime", "numpy", "model", "input", "run", "memory", "request", "library", "delegate", "cpus", "meter"
    ]
    message: str


class _Envelope(Struct, frozen=True):
    format_version: Literal[1]
    command: str
    error: _Fault | None = None


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder of this machine. Raises RunError where it cannot be written, as on a small disk."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            yield Path(folder)
    except OSError as cause:
        place = tempfile.gettempdir()
        if cause.errno not in _UNWRITABLE or not str(cause.filename or place).startswith(place):
            raise
        mend = "free some space there, or name a larger disk by TMPDIR=FOLDER"
        raise RunError(f"{place}: {cause.strerror or cause}", mend) from cause


def agent_sha256() -> str:
    """Identity of the agent that this version pushes."""
    return hashlib.sha256((resources.files("edgekit.agent") / "agent.py").read_bytes()).hexdigest()


def ask(device: Device, request: Mapping[str, object], kind: type[T], label: str, timeout: float | None) -> T:
    """The agent's answer to a request about the model `label`, checked field by field.

    Raises ModelError, DataError, RunError, MissingDependency for what the agent reports, RunError if it crashes or
    takes more than `timeout` seconds, DeviceError if its answer cannot be believed.
    """
    if request.get("runtime") == "auto":  # then the devices file decides
        request = {**request, "runtime": getattr(device, "runtime", "auto")}
    with scratch() as folder:
        words, response = folder / "request.json", f"{device.scratch}/{uuid4().hex}.json"
        words.write_bytes(msgspec.json.encode({**request, "response": response}))
        with resources.as_file(resources.files("edgekit.agent") / "agent.py") as agent:
            argv = [device.python, "-c", _START, device.push(agent, keep=True), device.push(words)]
            completed = device.run(argv, timeout)
        if completed.returncode != 0:
            raise _ended(completed, label, device.name, timeout, _delegate_of(request))
        answer = folder / "answer.json"
        device.pull(response, answer, _MOST_ANSWER_BYTES)
        return _believed(answer, request, kind, label, device.name)


def _believed(path: Path, request: Mapping[str, object], kind: type[T], label: str, device: str) -> T:
    if path.stat().st_size > _MOST_ANSWER_BYTES:
        raise DeviceError(
            f"{device}: the agent's answer is larger than {_MOST_ANSWER_BYTES} bytes", "ask for fewer runs"
        )
    data = path.read_bytes()
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.error is not None:
            raise _refused(envelope.error, label, device, request)
        if envelope.command != request["command"]:
            raise msgspec.ValidationError(f"answers {envelope.command!r}, not {request['command']!r}")
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        body = {key: value for key, value in fields.items() if key not in ("format_version", "command")}
        return msgspec.json.decode(msgspec.json.encode(body), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise DeviceError(
            f"{device}: the agent's answer cannot be believed: {printable(str(cause))}",
            "check that nothing else writes there, and that the device is the one you mean",
        ) from cause


def _delegate_of(request: Mapping[str, object]) -> str | None:
    """The library of the delegate that the request asks for."""
    wanted = request.get("delegate")
    return str(wanted["library"]) if isinstance(wanted, Mapping) else None


def _refused(fault: _Fault, label: str, device: str, request: Mapping[str, object]) -> EdgekitError:
    message = printable(fault.message)
    library = _delegate_of(request)
    if fault.kind == "library":
        return MissingDependency(
            f"{device}: the delegate cannot be loaded: {message}", _mend_of_library(library, message)
        )
    if fault.kind == "delegate":
        return RunError(f"{label}: the delegate {library} refused on {device}: {message}", _mend_of_delegate(library))
    if fault.kind == "meter":
        return InputError(message, "name a file of the device that this user may read, or leave --meter out")
    if fault.kind == "cpus":
        return InputError(f"{device}: {message}", "name cores that can be used (--cpus)")
    if fault.kind in ("runtime", "numpy"):
        return MissingDependency(message, _mend_of_runtime(fault, device, str(request.get("runtime", "auto"))))
    if fault.kind == "model":
        return ModelError(
            f"{label}: the runtime cannot read this file: {message}", "export it again, or compare checksums"
        )
    if fault.kind == "input":
        return DataError(f"{label}: {message}", f"`edgekit inspect {label}` shows what the model takes")
    if fault.kind == "memory":
        return RunError(f"{label}: {message} (on {device})", "use a smaller batch or a smaller model")
    if fault.kind == "request":
        return DeviceError(message, "the agent on the device is of another version: remove it there")
    if missing := missing_operator(message):
        return RunError(
            f"{label}: the runtime on {device} has no {missing.kind} operator {missing.name!r}", missing.mend
        )
    mend = "try it without XNNPACK (--no-xnnpack)" if request.get("xnnpack") else "try another runtime (--runtime)"
    return RunError(f"{label}: the runtime cannot run this model: {message}", mend)


def _mend_of_library(library: str | None, message: str) -> str:
    if "is no TFLite delegate" in message:
        return "give a library that has tflite_plugin_create_delegate"
    if library == "libedgetpu.so.1":
        return "install libedgetpu1-std from Coral's Debian repository there (coral.ai/docs/accelerator/get-started)"
    return "give the path of the library on the device, built for its processor (--delegate)"


def _mend_of_delegate(library: str | None) -> str:
    if library == "libedgetpu.so.1":
        return (
            "see that an Edge TPU is plugged in (lsusb, /dev/apex_0), that no other program uses it and that you may, "
            "and that the file was compiled for it by edgetpu_compiler; libedgetpu is built for tflite-runtime, which "
            "--runtime tflite-runtime asks for"
        )
    return "see which options the delegate takes (--delegate-option), or run without --delegate"


def _mend_of_runtime(fault: _Fault, device: str, runtime: str) -> str:
    if "GLIBC" in fault.message:
        return "this build of the runtime needs a newer system: upgrade it, or install an older build"
    where = "" if device == "local" else f"on {device}: "
    if fault.kind == "numpy":
        there = own_environment("tflite-runtime")
        return where + there if where else "pip install 'numpy<2', or ai-edge-litert where it has a wheel"
    if where:
        return where + own_environment("ai-edge-litert" if runtime == "auto" else runtime)
    if runtime == "tflite-runtime":
        return "pip install tflite-runtime 'numpy<2' (Python 3.11 or older), or leave --runtime out"
    return "pip install 'edgekit[runtime]'"


def _ended(completed: Completed, label: str, device: str, timeout: float | None, delegate: str | None) -> EdgekitError:
    """The error for a command that did not end with 0."""
    code, said = completed.returncode, printable(completed.stderr.strip())[-2000:]
    if code is None:
        return RunError(f"{label}: no answer from {device} after {timeout:g} s", "give more time (--timeout)")
    if code > 0 and "No space left on device" in said:
        return DeviceError(f"{label}: the disk of {device} is full", "free space there")
    if code > 0:
        return RunError(f"{label}: the agent failed on {device} with exit code {code}:\n{said}", "run `edgekit doctor`")
    name = _signal_name(-code)
    if name in _CRASHES and delegate is not None:
        return RunError(
            f"{label}: the interpreter with the delegate {delegate} crashed on {device} ({name})",
            "run without --delegate to see whether the model alone does; a delegate must fit the runtime, "
            "as libedgetpu fits tflite-runtime (--runtime)",
        )
    if name in _CRASHES:
        return RunError(
            f"{label}: this model crashed the interpreter on {device} ({name})",
            "try --no-xnnpack or another --runtime; `edgekit inspect` tells whether the file itself is sound",
        )
    reason = ", most often because memory ran out" if name == "SIGKILL" else ""
    return RunError(f"{label}: the run on {device} was killed ({name}){reason}", "free memory, or use a smaller batch")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
