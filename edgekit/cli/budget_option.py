"""The option `--budget`, which tightens what a model may take on a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from msgspec import structs

from edgekit.target import Target
from edgekit.units import parse_bytes

F = TypeVar("F", bound=Callable[..., Any])

_KEYS = {"file": "file_bytes", "arena": "arena_bytes"}

budget_option = click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="WHAT=SIZE",
    help="What the model may take at most: file=256K or arena=64K (the tensors between operators). Repeatable.",
)


def with_budgets(target: Target, budgets: Sequence[str]) -> Target:
    """The target with these budgets in the place of its own. Raises BadParameter for what is no budget."""
    pairs = [_parsed(text) for text in budgets]
    if len(dict(pairs)) < len(pairs):
        raise click.BadParameter("a budget is given twice; give file= and arena= once each", param_hint="--budget")
    return structs.replace(target, budget=structs.replace(target.budget, **dict(pairs)))


def _parsed(text: str) -> tuple[str, int]:
    what, equals, size = text.partition("=")
    if not equals or what.strip() not in _KEYS:
        raise click.BadParameter(f"{text!r} is no budget; write file=256K or arena=64K", param_hint="--budget")
    try:
        found = parse_bytes(size)
    except ValueError as cause:
        raise click.BadParameter(str(cause), param_hint="--budget") from None
    if not found:
        raise click.BadParameter(f"{text!r}: a budget of nothing", param_hint="--budget")
    return _KEYS[what.strip()], found
