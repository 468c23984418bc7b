"""The option `--budget`: what a model may take on a target, or firmware of the memories of its board."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click
from msgspec import structs

from edgekit.errors import did_you_mean
from edgekit.target import Target
from edgekit.units import parse_bytes

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
    found = parse_budgets(budgets, _KEYS, "file=256K or arena=64K")
    return structs.replace(target, budget=structs.replace(target.budget, **{_KEYS[key]: found[key] for key in found}))


def parse_budgets(budgets: Sequence[str], known: Collection[str], example: str) -> dict[str, int]:
    """{word: bytes} of `word=SIZE`, several to a text with commas between. Raises BadParameter for anything else."""
    pairs = [_parsed(text, known, example) for texts in budgets for text in texts.split(",")]
    if len(dict(pairs)) < len(pairs):
        raise click.BadParameter(f"a budget is given twice; give {example} once each", param_hint="--budget")
    return dict(pairs)


def _parsed(text: str, known: Collection[str], example: str) -> tuple[str, int]:
    what, equals, size = text.partition("=")
    what = what.strip()
    if not equals:
        raise click.BadParameter(f"{text!r} is no budget; write {example}", param_hint="--budget")
    if what not in known:
        raise click.BadParameter(f"no budget for {what!r}; {did_you_mean(what, known)}", param_hint="--budget")
    try:
        found = parse_bytes(size)
    except ValueError as cause:
        raise click.BadParameter(str(cause), param_hint="--budget") from None
    if not found:
        raise click.BadParameter(f"{text!r}: a budget of nothing", param_hint="--budget")
    return what, found
