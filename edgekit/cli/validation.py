"""Validating files of one kind: every file is looked at, and the exit code is 1 if one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from edgekit.cli.common import emit
from edgekit.errors import GateError, InputError

F = TypeVar("F")


class Validation(Struct, frozen=True):
    """Whether one file can be used."""

    file: str
    valid: bool
    problem: str = ""
    mend: str = ""


def validate(files: Sequence[F], load: Callable[[F], object], as_json: bool) -> None:
    """Print what `load` says of each file. Raises GateError after that if one was refused."""
    results = [_validated(file, load) for file in files]
    emit(results, as_json, lambda found: "\n".join(map(_render, found)))
    if broken := sum(not result.valid for result in results):
        raise GateError(f"{broken} of {len(results)} files cannot be used", "correct what is named above")


def _validated(file: F, load: Callable[[F], object]) -> Validation:
    try:
        load(file)
    except InputError as fault:
        return Validation(str(file), valid=False, problem=fault.problem, mend=fault.mend)
    return Validation(str(file), valid=True)


def _render(result: Validation) -> str:
    if result.valid:
        return f"ok      {result.file}"
    return f"broken  {result.file}\n        {result.problem}\n        mend: {result.mend}"
