"""Patterns: shell patterns over layer names (`block3/*`, `*dense*`), where one that matches nothing is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from edgekit.errors import RecipeError, did_you_mean

T = TypeVar("T")


class Rule(Protocol):
    """What is said of all layers that a pattern matches."""

    @property
    def pattern(self) -> str:
        """A shell pattern over names of layers."""


R = TypeVar("R", bound=Rule)


def matching(pattern: str, names: Iterable[str], stage: str) -> set[str]:
    """The names that `pattern` matches. Raises RecipeError where it matches none."""
    known = list(names)
    found = {name for name in known if fnmatchcase(name, pattern)}
    if not found:
        raise RecipeError(
            f"{stage}: the pattern {pattern!r} matches no layer",
            did_you_mean(pattern, known) if known else f"the model has no layer that {stage} works on",
        )
    return found


def any_matching(patterns: Sequence[str], names: Iterable[str], stage: str) -> set[str]:
    """The names that one of the patterns matches. Raises RecipeError for each pattern that matches none."""
    known = list(names)
    return set().union(*(matching(pattern, known, stage) for pattern in patterns))


def by_rules(
    rules: Sequence[R], names: Sequence[str], stage: str, wish: Callable[[R], T | None]
) -> tuple[dict[str, T], dict[str, str]]:
    """What the last rule that matches a name wishes, and the reason for each name that it wishes to keep (None).

    Raises RecipeError for a pattern that matches none.
    """
    wishes: dict[str, T] = {}
    reasons: dict[str, str] = {}
    for rule in rules:
        for name in matching(rule.pattern, names, stage):
            wishes.pop(name, None)
            reasons.pop(name, None)
            found = wish(rule)
            if found is None:
                reasons[name] = f"kept, as {rule.pattern!r} asks"
            else:
                wishes[name] = found
    return wishes, reasons
