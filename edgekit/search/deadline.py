"""Deadline: how a search ends: when its time is over, or when it is told to."""

from __future__ import annotations

import signal
import threading
import time as clocks
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from edgekit.errors import InputError
from edgekit.search.trial import TimeUp
from edgekit.talk import Line, Say
from edgekit.units import format_seconds, parse_seconds


class Deadline:
    """Talk that ends the search when its time is over: whatever works long says something now and then."""

    def __init__(self, say: Say, seconds: float | None) -> None:
        self._say, self._seconds, self._begun = say, seconds, clocks.monotonic()

    def __enter__(self) -> None:
        """Turn a time that is over where there is nothing to show for it into an error."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeUp):
            raise self.too_short from None

    @property
    def taken(self) -> float:
        """Seconds since the beginning."""
        return clocks.monotonic() - self._begun

    @property
    def too_short(self) -> InputError:
        """What to raise where nothing was finished."""
        return InputError(
            f"the time was over before one trial of this call was finished: {format_seconds(self.taken)} went by",
            "give more --time; the same command goes on where this one ended",
        )

    @property
    def left(self) -> float | None:
        """Seconds that are left, None where there is no end; never quite nothing."""
        return None if self._seconds is None else max(self._seconds - self.taken, 1e-6)

    def lift(self) -> None:
        """Let what is left to do take its time."""
        self._seconds = None

    def say(self, text: str) -> None:
        """Say something. Raises TimeUp where it is too late for what would follow."""
        self._say(str(text))  # of lines worth keeping a search has its own
        self.check()

    def talk(self, text: str) -> None:
        """Say something, whose lines are worth keeping. Raises TimeUp."""
        if isinstance(text, Line):
            self._say(text)
        else:
            self.say(text)

    def check(self) -> None:
        """Raise TimeUp where the time is over."""
        if self._seconds is not None and self.taken > self._seconds:
            raise TimeUp


def seconds_of(time: str | float | None) -> float | None:
    """`"2h"` as seconds. Raises InputError for what is no time."""
    if time is None or not isinstance(time, str):
        return time
    try:
        return parse_seconds(time)
    except ValueError as cause:
        problem, _, mend = str(cause).partition("; ")
        raise InputError(f"--time: {problem}", mend or "give some time, or leave it out") from None


@contextmanager
def terminated() -> Iterator[None]:
    """SIGTERM ends a search as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
