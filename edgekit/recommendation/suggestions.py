"""Whole recipes to try first: of techniques that pay, or those that could meet limits, with the command for each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from msgspec import structs

from edgekit.recommendation.technique import Latency, Limits, Size, Suggestion, Technique

_MOST = 3


def suggestions(
    found: Sequence[Technique],
    numeric: str,
    model: str,
    target: str,
    limits: Limits,
    plain: tuple[Size, Latency] | None = None,
) -> tuple[Suggestion, ...]:
    """Two or three recipes, the one that changes least first: the target's own format `numeric` where that pays.

    `plain` is what the float32 file takes, where it runs.

    With limits: those that could meet all of them; where none could, the one that comes closest.
    """
    ways = _ways(found, numeric)
    tries = [_suggestion(one.phrase, one.reason, one.size, one.latency, model, target, limits) for one in ways]
    if not limits:
        return tuple(tries[:_MOST])
    if plain is not None:
        tries.insert(0, _suggestion("float32", "no compression is needed", *plain, model, target, limits))
    fitting = [one for one in tries if one.could_meet]
    return tuple(fitting[:_MOST] or sorted(tries, key=lambda one: _excess(one, limits))[:1])


def _ways(found: Sequence[Technique], numeric: str) -> list[Technique]:
    """Techniques with a recipe: the first format, the gentlest change of the network, the same with qat, the others."""
    worth = [one for one in found if one.worth_trying and one.phrase and one.size]
    formats = sorted((one for one in worth if one.beside == "float32"), key=lambda one: one.name != numeric)
    changes = sorted((one for one in worth if one.beside != "float32" and one.kind != "qat"), key=_gentle)
    aware = [_with_qat(changes[0], one) if changes else one for one in worth if one.kind == "qat"]
    return [*formats[:1], *changes[:1], *aware, *changes[1:], *formats[1:]]


def _gentle(one: Technique) -> tuple[bool, float]:
    """Channels before others, for fewer of them make every file faster; then by the share of the file that goes."""
    return one.kind != "channels", one.saves.get("file", 0.0)


def _with_qat(change: Technique, aware: Technique) -> Technique:
    """The change, and quantization-aware training behind it: its file and its latency are the same."""
    if not aware.phrase.endswith(f"-{change.beside}"):
        return aware
    why = f"{change.reason}; qat wins back what rounding costs"
    return structs.replace(change, phrase=f"{change.name}-{aware.phrase}", reason=why)


def _suggestion(
    recipe: str, why: str, size: Size | None, latency: Latency | None, model: str, target: str, limits: Limits
) -> Suggestion:
    command = f"edgekit optimize {shlex.quote(model)} --data DATA -t {shlex.quote(target)} -r {recipe} -o build"
    return Suggestion(recipe, why, command, size, latency, limits.meets(size, latency))


def _excess(one: Suggestion, limits: Limits) -> float:
    """How many times the limit that is missed most is taken."""
    pairs = [(one.latency.seconds if one.latency else None, limits.seconds)]
    pairs += [(one.size.file_bytes, limits.file_bytes), (one.size.ram_bytes, limits.ram_bytes)] if one.size else []
    return max((taken / most for taken, most in pairs if taken is not None and most is not None), default=0.0)
