"""A finding: one thing to know about a file on a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

from msgspec import Struct

Level = Literal["error", "warn", "info"]

ORDER: dict[Level, int] = {"error": 0, "warn": 1, "info": 2}


class Finding(Struct, frozen=True):
    """One thing to know: what it is about, what is wrong, what to do, and where the rule comes from.

    An *error* stops the model or makes it wrong, a *warn* costs speed or needs work in the application, an *info* is
    worth knowing.
    """

    level: Level
    code: str
    subject: str
    problem: str
    mend: str = ""
    source: str = ""


class Numbered(Protocol):
    """An operator, or where it runs: both have its number and its name."""

    @property
    def index(self) -> int:
        """As `edgekit inspect` counts."""

    @property
    def name(self) -> str:
        """As the schema has it."""


T = TypeVar("T")
K = TypeVar("K")


def named(operators: Iterable[Numbered]) -> str:
    """`CONV_2D x3 (#0, #4, #7)`."""
    found = list(operators)
    names = " ".join(dict.fromkeys(one.name for one in found))
    numbers = ", ".join(f"#{one.index}" for one in found[:4]) + (", ..." if len(found) > 4 else "")
    return f"{names} x{len(found)} ({numbers})"


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, in the order of their coming."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
