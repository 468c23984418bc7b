"""The arena as TensorFlow Lite Micro itself records it on this machine, and the smallest one in which the file runs.

The interpreter is that of the package `tflite-micro`: reference kernels, 64-bit structures, and an allocator that keeps
books. A child process runs it, with limits on time and memory, since a failed check of the interpreter aborts it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from edgekit.errors import MissingDependency, RunError
from edgekit.tflite import arena_child
from edgekit.tflite.flatbuffer import read_bytes
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.versions import version

PACKAGE = "tflite-micro"

_SECONDS = 60.0
_MEMORY_BYTES = 4 << 30
_ROOM_BYTES = 1 << 18
_LINE = re.compile(r"'(.+?)' used (\d+) bytes with alignment overhead \(requested (\d+) bytes for (\d+) ")
_ARENA = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
# The tail holds C structures of pointers and integers: micro_allocator.cc and recording_micro_allocator.cc in
# https://github.com/tensorflow/tflite-micro/tree/90b983c2b3f1480642e040bbd2ddb37b998f3424/tensorflow/lite/micro
_HALVED = {"TfLiteEvalTensor data", "NodeAndRegistration struct"}  # pointers, and one integer to fill up the last
_SAME = {"TfLiteTensor variable buffer data"}
_RECORDER_BYTES = 256  # the books themselves: 7 or 8 triples of size_t, four more, and rounding


class Allocation(Struct, frozen=True):
    """One kind of structure in the tail of the arena, as the interpreter names it; `used_bytes` with alignment."""

    name: str
    used_bytes: int
    requested_bytes: int
    count: int


class RecordedArena(Struct, frozen=True):
    """What the interpreter recorded on this machine, in bytes.

    The head is planned for tensors between operators and scratch buffers, the tail holds what stays: structures of the
    interpreter and of the kernels, and the variables of the model. `smallest_bytes` is above the total where the
    planner's lists, which lie in the head while it plans, are larger than the head.
    """

    total_bytes: int
    head_bytes: int
    tail_bytes: int
    smallest_bytes: Annotated[int, Meta(description="Smallest multiple of 16 in which the file was allocated and ran.")]
    allocations: tuple[Allocation, ...]
    version: Annotated[str, Meta(description="Version of the package tflite-micro.")]

    @property
    def device_bytes(self) -> tuple[int, int]:
        """(least, most) bytes of the arena on a 32-bit device with the same reference kernels.

        A pointer takes 4 bytes there instead of 8 and nothing takes more, so a structure keeps at least half its size.
        Kernels made for one core (CMSIS-NN, ESP-NN) ask for scratch buffers of their own, which is not in it. On eight
        files a 32-bit Arm build needed what is between; the most was 1 to 12 % too much where it was above 4 KiB.
        """
        known = sum(one.used_bytes for one in self.allocations)
        own = self.tail_bytes - known
        least = sum(_least(one) for one in self.allocations) + max(own - _RECORDER_BYTES, 0) // 2
        halved = sum(one.used_bytes // 2 for one in self.allocations if one.name in _HALVED)
        return self.head_bytes + least, self.smallest_bytes - halved


def _least(one: Allocation) -> int:
    return one.requested_bytes if one.name in _SAME else one.requested_bytes // 2


def record_arena(
    source: bytes | bytearray | Path, *, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES
) -> RecordedArena:
    """Run a file once on zeros in TensorFlow Lite Micro, and look for the smallest arena in which it still runs.

    Raises ModelError for what is no TFLite file, RunError where the interpreter refuses it, dies or takes longer than
    `seconds`, MissingDependency without the package.
    """
    contents = read_contents(source)
    if any(tensor.appended for tensor in read_graph(source).tensors):
        raise RunError(
            "constants lie behind the flatbuffer, where TensorFlow Lite Micro does not look for them",
            "write the file again with constants inside, as `edgekit optimize` does",
        )
    plan = plan_memory(contents, "micro")
    guess = 2 * (plan.arena_bytes + plan.persistent_bytes + contents.file_bytes) + _ROOM_BYTES
    data = bytes(read_bytes(source))
    answer = _child(data, {"guess_bytes": guess, "arena_bytes": None}, seconds, memory_bytes)
    if not answer["worked"]:
        raise RunError(
            f"TensorFlow Lite Micro does not run this file: {_last_words(answer)}",
            "see which operators and types it has: `edgekit check MODEL --target cortex-m4`",
        )
    return _parsed(answer)


def runs_in(
    source: bytes | bytearray | Path, arena_bytes: int, *, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES
) -> str:
    """Empty where the file is allocated and runs on zeros in such an arena; else the last words of the interpreter.

    Raises ModelError, RunError for a time-out, and MissingDependency as `record_arena` does.
    """
    read_contents(source)
    job = {"guess_bytes": None, "arena_bytes": arena_bytes}
    answer = _child(bytes(read_bytes(source)), job, seconds, memory_bytes)
    return "" if answer["worked"] else _last_words(answer)


def _parsed(answer: dict[str, Any]) -> RecordedArena:
    bytes_of = {kind: int(count) for kind, count in _ARENA.findall(answer["words"])}
    kinds = tuple(Allocation(name, *map(int, numbers)) for name, *numbers in _LINE.findall(answer["words"]))
    total, head, tail = (bytes_of[kind] for kind in ("total", "head", "tail"))
    return RecordedArena(total, head, tail, answer["smallest_bytes"], kinds, version(PACKAGE) or "")


def _last_words(answer: dict[str, Any]) -> str:
    """What the interpreter said before it gave up, without the traceback around it."""
    lines = [line.strip() for line in answer["words"].splitlines() if line.strip()]
    said = [line for line in lines if "[RecordingMicroAllocator]" not in line][-4:]
    died = [f"it was killed by {signal.Signals(-answer['status']).name}"] if answer["status"] < 0 else []
    return "; ".join([*said, *died]) or f"it ended with code {answer['status']}"


def _child(data: bytes, job: dict[str, Any], seconds: float, memory_bytes: int) -> dict[str, Any]:
    """Let the child do a job within its limits. Raises RunError where it gives no answer."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise MissingDependency(
            f"recording the arena needs the package {PACKAGE}", "pip install 'edgekit[firmware]' (x86-64 Linux)"
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        model, order = Path(folder) / "model.tflite", Path(folder) / "job.json"
        model.write_bytes(data)
        limits = {"seconds": int(seconds) + 1, "memory_bytes": memory_bytes}
        order.write_text(json.dumps({"model": str(model), **job, **limits}))
        stdout, stderr, status = _run(order, seconds)
    if status:
        last = stderr.decode(errors="replace").strip().splitlines()
        raise RunError(
            f"TensorFlow Lite Micro could not be started (code {status}): {last[-1] if last else ''}",
            "pip install --force-reinstall tflite-micro",
        )
    answer: dict[str, Any] = json.loads(stdout)
    return answer


def _run(order: Path, seconds: float) -> tuple[bytes, bytes, int]:
    """Output, talk and status of the child, which ends with its forks when the time is over."""
    process = subprocess.Popen(
        [sys.executable, "-m", arena_child.__name__, order],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RunError(
            f"TensorFlow Lite Micro took longer than {seconds:g} s", "give it more time, or a smaller model"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return stdout, stderr, process.returncode
