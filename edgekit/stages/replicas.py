"""Replicas: one training on several processes (hosts, or accelerators of a host), each with its share of every batch.

All run the same command, with `TF_CONFIG` set as TensorFlow's MultiWorkerMirroredStrategy wants it:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'

Each has all of the model and of the data. After every step the gradients are averaged, after every epoch the
statistics of normalization layers and what the validation part says: so all have the same weights, take the same
decisions, and end with the same result. A process with one accelerator of several shows it to TensorFlow by
`CUDA_VISIBLE_DEVICES`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.errors import InputError, RecipeError, RunError
from edgekit.talk import Line, Say
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]

_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'


class _Task(Struct, frozen=True):
    type: str
    index: int


class _Configuration(Struct, frozen=True):
    """What of `TF_CONFIG` decides who we are."""

    cluster: dict[str, list[str]] = {}
    task: _Task = _Task("worker", 0)

    @property
    def workers(self) -> list[tuple[str, int]]:
        """Everybody who trains, in TensorFlow's order."""
        return [(kind, index) for kind in ("chief", "worker") for index in range(len(self.cluster.get(kind, ())))]


class Replicas:
    """Who trains together: `count` processes, of which this one is number `index`."""

    def __init__(self, count: int = 1, index: int = 0, strategy: Any = None) -> None:
        self.count, self.index, self._strategy = count, index, strategy

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """The mean of each tensor over the processes, which all call it; may be traced."""
        if self.count == 1:
            return list(tensors)
        tf = import_tensorflow()

        def reduced(*own: Any) -> Any:
            placed = [tf.identity(one) for one in own]  # a tensor from outside has no device, which is asked for
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, placed)

        return list(self._strategy.run(reduced, args=tuple(map(tf.convert_to_tensor, tensors))))

    def mean_of(self, arrays: Sequence[Array]) -> list[Array]:
        """The mean of each array over the processes, in its own type."""
        if self.count == 1 or not arrays:
            return list(arrays)
        tf = import_tensorflow()
        with self.together():
            found = tf.function(self.mean, autograph=False)([tf.constant(array) for array in arrays])
        return [one.numpy() for one in found]

    def first(self, arrays: Sequence[Array]) -> list[Array]:
        """What the first process has: arrays of the same shapes and types everywhere."""
        mine = [np.asarray(array) for array in arrays]
        wide = [array.astype(np.float64) * self.count if self.index == 0 else np.zeros(array.shape) for array in mine]
        return [
            np.rint(one).astype(own.dtype) if own.dtype.kind in "iub" else one.astype(own.dtype)
            for one, own in zip(self.mean_of(wide), mine, strict=True)
        ]

    def first_bytes(self, data: bytes) -> bytes:
        """What the first process has, of any length."""
        length = int(self.first([np.array(len(data))])[0])
        padded = np.frombuffer(data.ljust(length, b"\0")[:length], np.uint8)
        return self.first([padded])[0].tobytes()

    def share(self, rows: Array) -> Array:
        """The rows of a batch that this process takes."""
        return rows[self.index :: self.count]

    def refuse(self, stage: str, size: int, key: str) -> None:
        """Raise RecipeError for a batch that cannot be shared, InputError where the processes train unlike things."""
        if size % self.count:
            raise RecipeError(
                f"{stage}: a batch of {size} samples cannot be shared by {self.count} workers",
                f"set training.batch_size to a multiple of {self.count}",
            )
        unlike = self.first_bytes(key.encode()) != key.encode()
        if self.mean_of([np.array(unlike, np.float64)])[0]:
            raise InputError(
                f"{stage}: the workers of TF_CONFIG train unlike things",
                "give all of them the same model, data, recipe and versions",
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Say what it means when another process is gone. Raises RunError."""
        errors = import_tensorflow().errors
        try:
            yield
        except (errors.UnavailableError, errors.AbortedError, errors.CancelledError) as cause:
            if self.count == 1:
                raise
            raise RunError(
                "training: another worker of TF_CONFIG has ended, or cannot be reached",
                "start all of them again: the same commands go on after the last epoch",
            ) from cause


@cache
def replicas() -> Replicas:
    """Who trains together, by `TF_CONFIG`; alone where that is not set. Waits until all of them are there.

    The first call has to come before TensorFlow computes anything. Raises InputError where it does not, or for a
    `TF_CONFIG` that cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return Replicas()
    found = _read(text)
    if len(found.workers) < 2:
        return Replicas()
    strategy = import_tensorflow().distribute.MultiWorkerMirroredStrategy
    try:
        return Replicas(len(found.workers), found.workers.index((found.task.type, found.task.index)), strategy())
    except RuntimeError as cause:
        raise InputError(
            f"TF_CONFIG names {len(found.workers)} workers, and TensorFlow cannot join them: {_line(cause)}",
            "use the command line, or call edgekit.stages.replicas.replicas() before any other use of TensorFlow",
        ) from cause


def join(say: Say) -> Replicas:
    """What `replicas` gives, and says who it waits for. Raises what `replicas` raises."""
    if os.environ.get("TF_CONFIG", "").strip():
        say("wait for the other workers of TF_CONFIG")
    who = replicas()
    if who.count > 1:
        say(Line(f"{who.count} workers train together; this is number {who.index}"))
    return who


def _read(text: str) -> _Configuration:
    try:
        found = msgspec.json.decode(text, type=_Configuration)
    except msgspec.MsgspecError as cause:
        raise InputError(f"TF_CONFIG cannot be read: {cause}", f"write it like {_EXAMPLE}") from None
    if strange := sorted(set(found.cluster) - {"chief", "worker"}):
        raise InputError(f"TF_CONFIG names tasks of kind {strange[0]!r}", f"only workers train: {_EXAMPLE}")
    if found.workers and (found.task.type, found.task.index) not in found.workers:
        raise InputError(
            f"TF_CONFIG: this is {found.task.type} {found.task.index}, and the cluster has no such one",
            f"number the workers from 0: {_EXAMPLE}",
        )
    return found


def _line(cause: Exception) -> str:
    return (str(cause).strip() or repr(cause)).splitlines()[0][:200]
