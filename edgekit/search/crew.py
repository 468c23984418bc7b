"""Crew: several workers on one machine, each a process of its own with its own work folder.

Standard input is the lifeline of a worker: when it closes, because the search was ended or killed, the worker ends at
once. A worker that is killed is replaced; its trial is tried again by whoever is free.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Struct, structs

from edgekit import errors
from edgekit.errors import EdgekitError, RunError
from edgekit.search.deadline import Deadline
from edgekit.search.order import Order
from edgekit.search.shelf import Shelf
from edgekit.talk import Line, Say

_TAIL_BYTES = 2000
_MOST_DEATHS = 20  # while no trial is finished


class Begin(Struct, frozen=True):
    """What a worker is told: the order, and which of the workers it is."""

    order: Order
    number: int


class Word(Struct, frozen=True):
    """What a worker says: a line (`keep`) or what it is doing, or the `error` that ended it, with its kind and mend."""

    text: str
    keep: bool = False
    error: str = ""
    mend: str = ""


def crew(order: Order, place: Shelf, deadline: Deadline, say: Say, finished: Callable[[], int]) -> None:
    """Let the workers do the trials; returns when nothing is left to do, or the time is over.

    Raises what a worker raised, and RunError where workers die and no trial gets `finished`.
    """
    said: queue.SimpleQueue[tuple[_Worker, Word | None]] = queue.SimpleQueue()
    workers = [_Worker(number, said) for number in range(1, order.workers + 1)]
    deaths, before = 0, finished()
    try:
        for one in workers:
            place.furnish(one.number)
            one.start(structs.replace(order, time=deadline.left), place)
        at_work = set(workers)
        while at_work:
            one, word = said.get()
            if word is not None:
                _pass_on(one, word, say)
                continue
            code = one.code()
            if code == 0:
                at_work.remove(one)
                continue
            deaths, before = (1, now) if (now := finished()) > before else (deaths + 1, now)
            if code > 0 or deaths >= _MOST_DEATHS:
                raise one.died(code)
            say(Line(f"worker {one.number} was ended by signal {-code}; what it tried is tried again"))
            one.start(structs.replace(order, time=deadline.left), place)
    finally:
        for one in workers:
            one.end()


def _pass_on(one: _Worker, word: Word, say: Say) -> None:
    if word.error:
        kind: type[EdgekitError] = getattr(errors, word.error)
        raise kind(word.text, word.mend)
    text = f"worker {one.number}: {word.text}"
    say(Line(text) if word.keep else text)


class _Worker:
    """One worker; `end` ends it whatever it does."""

    def __init__(self, number: int, said: queue.SimpleQueue[tuple[_Worker, Word | None]]) -> None:
        self.number, self._said = number, said
        self._process: subprocess.Popen[bytes] | None = None
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - goes with the process

    def start(self, order: Order, place: Shelf) -> None:
        """Begin, or begin again; the lock of the folder is shared, so it is held as long as any worker is alive."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "edgekit.search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            pass_fds=place.held,
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # so that Ctrl-C ends the search first, which then ends its workers
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # a dead process is told when its output ends
            process.stdin.write(msgspec.json.encode(Begin(order, self.number)) + b"\n")
            process.stdin.flush()
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        for word in _words(process):
            self._said.put((self, word))
        self._said.put((self, None))

    def code(self) -> int:
        """How the process ended, whose output has."""
        assert self._process is not None
        code = self._process.wait()
        self.end()
        return code

    def end(self) -> None:
        """End the process, if it has not."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()

    def died(self, code: int) -> RunError:
        """The error for a process that ended so."""
        self._noise.seek(max(self._noise.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
        lines = self._noise.read().decode(errors="replace").strip().splitlines()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return RunError(
            f"worker {self.number} {how}: {lines[-1] if lines else 'it said nothing'}",
            "run with --workers 1 to see more; the kernel ends processes where memory is short",
        )


def _words(process: subprocess.Popen[bytes]) -> Iterator[Word]:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            yield msgspec.json.decode(line, type=Word)
