"""Every error that edgekit raises on purpose, split by who must act.

    EdgekitError
    ├── InputError            the user's file or option is wrong        exit 3
    │   ├── ModelError        a model file or reference
    │   ├── DataError         a data set, its labels or its metric
    │   ├── RecipeError       a recipe name or file
    │   ├── TargetError       a target name or file
    │   └── OutputError       the place where results should go
    ├── MissingDependency     a package or tool has to be installed     exit 4
    ├── RunError              the model could not be run                exit 5
    │   └── DeviceError       the device itself failed or is unreachable
    │       └── DeviceBusy    another run has it
    └── GateError             the result is complete but not accepted   exit 1

A message says what was wrong and what was found; `mend` says what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMED = 4
_MOST_KNOWN = 20


class EdgekitError(Exception):
    """Base of the tree; catch this to catch everything edgekit raises on purpose."""

    exit_code = 3

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.problem}\n  mend: {self.mend}" if self.mend else self.problem


class InputError(EdgekitError):
    """A file or an option given by the user cannot be used."""


class ModelError(InputError):
    """A model file or reference cannot be used."""


class DataError(InputError):
    """A data set, its labels, or its metric cannot be used."""


class RecipeError(InputError):
    """A recipe is unknown, malformed, or impossible."""


class TargetError(InputError):
    """A target is unknown, malformed, or forbids what was asked."""


class OutputError(InputError):
    """Results cannot be written where they were asked for."""


class MissingDependency(EdgekitError):  # noqa: N818 - it names what is missing
    """A package or a tool that this command needs is not installed."""

    exit_code = 4


class RunError(EdgekitError):
    """The model could not be run, or the process that ran it died."""

    exit_code = 5


class DeviceError(RunError):
    """The device failed or cannot be reached."""


class DeviceBusy(DeviceError):  # noqa: N818 - it names its state
    """Another run has the device."""


class GateError(EdgekitError):
    """All was done, and the result misses a bound the user set."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """One sentence naming the known words that have this one in them (`pi4`), or the closest one, or else the first.

    Empty where nothing is known.
    """
    names = sorted(known)
    near = [name for name in names if len(_letters(word)) > 2 and _letters(word) in _letters(name)]
    if not 0 < len(near) <= _MOST_NAMED:
        near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    more = f" and {len(names) - _MOST_KNOWN} more" if len(names) > _MOST_KNOWN else ""
    return f"known: {', '.join(names[:_MOST_KNOWN])}{more}" if names else ""


def _letters(word: str) -> str:
    """A name without what separates its parts: `raspberry-pi-4` has `pi4` in it."""
    return "".join(sign for sign in word.lower() if sign.isalnum())
