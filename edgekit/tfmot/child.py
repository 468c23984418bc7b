"""The child process: `python -m edgekit.tfmot.child`, jobs in and messages out, one JSON object a line."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from edgekit.errors import EdgekitError, ModelError, RunError
from edgekit.stages import losses
from edgekit.talk import Line, Say
from edgekit.tf import import_tensorflow
from edgekit.tfmot.job import Done, Fault, Job, Message, Said
from edgekit.tfmot.opening import opened
from edgekit.tfmot.settings import NATIVE
from edgekit.tfmot.training import Loop, Samples
from edgekit.tfmot.wrapping import import_tfmot, wrapped


def work(job: Job, say: Say) -> Done:
    """Open the model of a job, train it with the technique if there is one, and save it as `.h5`."""
    import_tfmot()
    import tf_keras

    tf_keras.backend.clear_session()  # so that names are numbered as in a new process
    model = opened(Path(job.model), job.origin, job.trust)
    done = Done()
    if job.technique and job.schooling:
        model, done = _trained(model, job, say)
    partial = Path(job.out).with_suffix(".partial.h5")
    model.save(partial, save_format="h5", include_optimizer=False)
    partial.replace(job.out)
    return done


def _trained(model: object, job: Job, say: Say) -> tuple[object, Done]:
    import tf_keras

    how = job.schooling
    assert how is not None
    assert job.technique is not None
    tf_keras.utils.set_random_seed(how.seed)
    with np.load(job.data, allow_pickle=False) as stored:
        train, validation = Samples(stored, ""), Samples(stored, "v")
    if how.training.unfreeze:
        model.trainable = True  # type: ignore[attr-defined]
    steps = len(train) // min(how.training.batch_size, len(train))
    around = wrapped(model, job.technique, steps * how.training.epochs)
    loop = Loop(around, how, train, validation, say)
    with losses.named(how.training.loss):
        epochs = loop.run(Path(job.checkpoint) if job.checkpoint else None, job.key)
    return around.strip(around.model), Done(epochs, steps, around.notes)


@contextmanager
def _mapped() -> Iterator[None]:
    """What TensorFlow raises while it trains, as an error of edgekit's."""
    try:
        yield
    except EdgekitError:
        raise
    except import_tensorflow().errors.ResourceExhaustedError as cause:
        raise RunError(
            f"tensorflow-model-optimization ran out of memory: {_line(cause)}", "lower batch_size"
        ) from cause
    except Exception as cause:  # the package and tf_keras raise anything for what they cannot do
        raise ModelError(f"tensorflow-model-optimization failed: {_line(cause)}", NATIVE) from cause


def _line(cause: Exception) -> str:
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"


def _jobs() -> Iterator[Job]:
    """The jobs on standard input. When it closes, as it does when the parent dies, this process ends at once."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            waiting.put(line)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield msgspec.json.decode(waiting.get(), type=Job)


def _reserved_output() -> IO[bytes]:
    """The pipe to the parent; what libraries print goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def main() -> None:
    """Do the jobs as they come; every error of edgekit's is told as a `Fault`."""
    pipe = _reserved_output()

    def tell(message: Message) -> None:
        pipe.write(msgspec.json.encode(message) + b"\n")
        pipe.flush()

    for job in _jobs():
        try:
            with _mapped():
                tell(work(job, lambda text: tell(Said(str(text), isinstance(text, Line)))))
        except EdgekitError as fault:
            tell(Fault(type(fault).__name__, fault.problem, fault.mend))


if __name__ == "__main__":
    main()
