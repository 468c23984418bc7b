"""Run a job in a process of its own, which has tf_keras where this one has Keras 3.

Its standard input is its lifeline: when it closes, because this process is gone for whatever reason, the child ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


def run(job: Job, arrays: Mapping[str, npt.NDArray[Any]], say: Say) -> Done:
    """Do a job and pass on what it says. Raises what the job raised, RunError where its process died."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        folder = Path(name)
        if arrays:
            np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
            job = msgspec.structs.replace(job, data=str(folder / "data.npz"))
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        with (folder / "noise").open("w+b") as noise, _started(folder / "job.json", noise) as process:
            assert process.stdout is not None
            for line in process.stdout:
                message = msgspec.json.decode(line, type=Message)
                if isinstance(message, Done):
                    return message
                _heard(message, say)
            raise _died(process.wait(), noise)


def _heard(message: Said | Fault, say: Say) -> None:
    if isinstance(message, Said):
        say(Line(message.text) if message.keep else message.text)
        return
    kind: type[EdgekitError] = getattr(errors, message.kind)
    raise kind(message.problem, message.mend)


@contextmanager
def _started(job: Path, noise: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit.tfmot.child", str(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=noise,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONSAFEPATH": "1"},
        start_new_session=True,  # so that Ctrl-C ends this process first, which then ends that one
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def _died(code: int, noise: IO[bytes]) -> RunError:
    noise.seek(max(noise.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
    last = noise.read().decode(errors="replace").strip().splitlines()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return RunError(
        f"the process of tensorflow-model-optimization {how}{': ' + last[-1][:300] if last else ''}",
        "look for memory: a smaller training.batch_size needs less" if code < 0 else "try it without engine",
    )
