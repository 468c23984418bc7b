"""Patience: a storage that stops answering is asked again, for as long as it takes."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from edgekit.errors import OutputError
from edgekit.search.quiet_optuna import import_optuna
from edgekit.talk import Line, Say

T = TypeVar("T")
_PAUSES = (0.5, 30.0)


class Patience:
    """Repeats what fails because the storage does not answer, with growing pauses; says so once an outage.

    `hurry` ends all waiting, of every thread: from then on OutputError is raised instead.
    """

    def __init__(self, where: str, say: Say) -> None:
        self.where, self.say = where, say
        self._hurry, self._begun, self._out = threading.Event(), False, False
        self._back = -math.inf

    def begin(self) -> None:
        """Wait from now on; before, an error is an error."""
        self._begun = True

    def hurry(self) -> None:
        """Wait no more."""
        self._hurry.set()

    @property
    def hurried(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._hurry.is_set()

    def __call__(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives once the storage answers."""
        pause, failed = _PAUSES[0], False
        while True:
            try:
                found = attempt()
            except Exception as cause:
                if not self._begun or not silent(cause):
                    raise
                if self.hurried:
                    raise self._gone() from None
                self._told(True, _reason(cause) if self.where.startswith("sqlite:") else "")
            else:
                if failed:
                    self._back = time.monotonic()
                self._told(False)
                return found
            failed = True
            self._pause(pause * random.uniform(0.8, 1.2))  # not all workers at the same moment
            pause = min(2 * pause, _PAUSES[1])

    @property
    def settled(self) -> bool:
        """Whether the last outage was so long ago that every worker had the time to notice its end."""
        return time.monotonic() - self._back > 2 * _PAUSES[1]

    def _pause(self, seconds: float) -> None:
        """Wait; what ends it, Ctrl-C or the end of the time, ends the waiting of the other threads, too."""
        try:
            if threading.current_thread() is threading.main_thread():
                self.say(f"storage {self.where} does not answer: asked again in {seconds:.0f} s")
            self._hurry.wait(seconds)
        except BaseException:
            self.hurry()
            raise

    def _gone(self) -> OutputError:
        return OutputError(
            f"storage {self.where} does not answer",
            "start it again; what was found here is in the folder, and the same command goes on",
        )

    def _told(self, out: bool, reason: str = "") -> None:
        if self._out == out or threading.current_thread() is not threading.main_thread():
            return
        self._out = out
        again = f"does not answer{reason}; what is found meanwhile is kept, and it is asked again and again"
        word = again if out else "is back"
        self.say(Line(f"storage {self.where} {word}"))


def _reason(cause: BaseException) -> str:
    """What SQLite says, such as that the disk is full; what other databases say may hold a password."""
    told = getattr(cause.__cause__, "orig", None) or getattr(cause, "orig", None)
    return f" ({told})" if told else ""


def silent(cause: BaseException) -> bool:
    """Whether an error says that the storage does not answer now, and not that it refuses."""
    import sqlalchemy

    optuna = import_optuna()
    if isinstance(cause, optuna.exceptions.StorageInternalError) and cause.__cause__ is not None:
        return silent(cause.__cause__)
    if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
        return True
    return isinstance(
        cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError | sqlalchemy.exc.TimeoutError
    )
