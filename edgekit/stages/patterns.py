"""Patterns: shell patterns over layer names (`block3/*`, `*dense*`), where one that matches nothing is an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from edgekit.errors import RecipeError, did_you_mean


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
