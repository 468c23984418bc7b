"""Run jobs in a process of its own, which has tf_keras where this one has Keras 3.

Its standard input is its lifeline: when it closes, because this process is gone for whatever reason, the child ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit import errors
from edgekit.errors import EdgekitError, RunError
from edgekit.talk import Line, Say
from edgekit.tfmot.job import Done, Fault, Job, Message, Said

_TAIL_BYTES = 2000


@contextmanager
def shared() -> Iterator[None]:
    """In its body one process does all jobs, begun with the first: importing tf_keras takes longer than many a job."""
    if _slot.get() is not _ALONE:
        yield
        return
    slot = _Slot()
    token = _slot.set(slot)
    try:
        yield
    finally:
        _slot.reset(token)
        if slot.child:
            slot.child.close()


def run(job: Job, arrays: Mapping[str, npt.NDArray[Any]], say: Say) -> Done:
    """Do a job and pass on what it says. Raises what the job raised, RunError where its process died."""
    slot = _slot.get()
    child, slot.child = slot.child or _Child(), None
    answer = None
    try:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            if arrays:
                job = msgspec.structs.replace(job, data=str(Path(folder) / "data.npz"))
                np.savez(job.data, **arrays)  # type: ignore[arg-type]
            answer = child.do(job, say)
    finally:
        if answer and slot is not _ALONE:
            slot.child = child
        else:
            child.close()
    if isinstance(answer, Fault):
        kind: type[EdgekitError] = getattr(errors, answer.kind)
        raise kind(answer.problem, answer.mend)
    return answer


class _Child:
    """The process, waiting for jobs; `close` ends it whatever it does."""

    def __init__(self) -> None:
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgekit.tfmot.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # so that Ctrl-C ends this process first, which then ends that one
        )

    def do(self, job: Job, say: Say) -> Done | Fault:
        """What a job ends in; what it says before is passed on. Raises RunError where the process dies."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):  # a dead process is told below
            stdin.write(msgspec.json.encode(job) + b"\n")
            stdin.flush()
        for line in stdout:
            message: Message = msgspec.json.decode(line, type=Message)
            if not isinstance(message, Said):
                return message
            say(Line(message.text) if message.keep else message.text)
        raise _died(self._process.wait(), self._noise)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._noise):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


@dataclass
class _Slot:
    child: _Child | None = None


_ALONE = _Slot()
_slot: ContextVar[_Slot] = ContextVar("_slot", default=_ALONE)


def _died(code: int, noise: IO[bytes]) -> RunError:
    noise.seek(max(noise.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
    last = noise.read().decode(errors="replace").strip().splitlines()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return RunError(
        f"the process of tensorflow-model-optimization {how}{': ' + last[-1][:300] if last else ''}",
        "look for memory: a smaller training.batch_size needs less" if code < 0 else "try it without engine",
    )
