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
    └── GateError             the result is complete but not accepted   exit 1

A message says what was wrong and what was found; `mend` says what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class GateError(EdgekitError):
    """All was done, and the result misses a bound the user set."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """One sentence naming the closest known word, or else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
