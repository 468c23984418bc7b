"""Named checks of a target beyond its schema: each returns the faults it finds, none where all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from edgekit.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from edgekit.target import Target
    from edgekit.target_files import TargetFile

_RUN_BY = {"litert": {"ai-edge-litert", "tflite-runtime"}, "tflite-micro": {"tflite-micro"}}
"""Operator table -> the runtimes that have these operators."""
_ACCELERATORS = ("edgetpu", "gpu", "nnapi")
"""Operator tables that are named as their delegate."""


def faults(target: Target) -> list[str]:
    """All that the checks find, each fault with the name of its check."""
    return [f"{check.__name__.strip('_')}: {fault}" for check in _CHECKS for fault in check(target)]


def misnamed(target: Target, file: TargetFile) -> list[str]:
    """A file that is found by its name says the same name."""
    if file.name in ("", target.name):
        return []
    return [f"named_as_file: the file is {file.name}.toml, and its name is {target.name!r}"]


def _cited(target: Target) -> list[str]:
    """Every claim has a source, its own or that of its table."""
    changed = f", which differs from {target.extends!r}" if target.extends else ""
    return [f"no source for {claim}{changed}" for claim, _ in target.claims() if not target.source_of(claim).strip()]


def _recommended(target: Target) -> list[str]:
    """The recommended recipe is one this target can run."""
    try:
        _resolve(target.numerics.recommended, target)
    except RecipeError as fault:
        return [f"numerics.recommended: {fault.problem}" + (f" ({fault.mend})" if fault.mend else "")]
    return []


def _resolve(recipe: str, target: Target) -> None:
    """A number format alone is judged without the other stages: to import them takes longer than a whole check."""
    from edgekit.stages.numerics import Quantize, Scheme, resolve_quantize

    if recipe in get_args(Scheme):
        resolve_quantize(Quantize(recipe), target)  # type: ignore[arg-type]
        return
    from edgekit.recipe import Recipe

    Recipe.parse(recipe).resolve(target)


def _known_sources(target: Target) -> list[str]:
    """Sources name keys that exist."""
    from edgekit.target import TABLES

    known = {*TABLES, *(f"{table}.{key}" for table, kind in TABLES.items() for key in kind.__struct_fields__)}
    unknown = sorted(target.sources.keys() - known)
    return [f"sources: unknown key {key!r}, {did_you_mean(key, known)}" for key in unknown]


def _fits(target: Target) -> list[str]:
    """Budgets are not larger than the memory they are for."""
    pairs = (("file_bytes", "flash_bytes"), ("arena_bytes", "ram_bytes"))
    return [
        f"budget.{budget} is larger than memory.{memory}"
        for budget, memory in pairs
        if (getattr(target.budget, budget) or 0) > (getattr(target.memory, memory) or float("inf"))
    ]


def _fallback(target: Target) -> list[str]:
    """A fallback is another table than the first."""
    same = target.operators.fallback == target.operators.table
    return [f"operators.fallback: {target.operators.fallback!r} is the first table itself"] if same else []


def _distinct(target: Target) -> list[str]:
    """Lists of choices name each one once."""
    return [
        f"{claim}: {value!r} is named twice"
        for claim, values in target.claims()
        if isinstance(values, tuple)
        for value in dict.fromkeys(values)
        if values.count(value) > 1
    ]


def _runtime(target: Target) -> list[str]:
    """A table of a runtime's operators belongs to a runtime that the target has."""
    have, named = (
        {*target.runtime.packages},
        (("table", target.operators.table), ("fallback", target.operators.fallback)),
    )
    return [
        f"operators.{key}: {table!r} are the operators of {' or '.join(sorted(_RUN_BY[table]))}, "
        f"and runtime.packages has {', '.join(target.runtime.packages)}"
        for key, table in named
        if table in _RUN_BY and not have & _RUN_BY[table]
    ]


def _accelerator(target: Target) -> list[str]:
    """A table of an accelerator needs its delegate, an Edge TPU its table and static shapes, a cache an accelerator."""
    delegates, table = target.runtime.delegates, target.operators.table
    edge_tpu, found = "edgetpu" in delegates, []
    if (table in _ACCELERATORS and table not in delegates) or (edge_tpu and table != "edgetpu"):
        found.append(f"operators.table is {table!r}, and runtime.delegates has {', '.join(delegates) or 'none'}")
    if edge_tpu and not target.numerics.static_shapes:
        found.append("numerics.static_shapes: an Edge TPU runs static shapes only")
    if target.memory.accelerator_cache_bytes and not {*delegates} - {"xnnpack"}:
        found.append("memory.accelerator_cache_bytes: runtime.delegates names no accelerator")
    return found


def _io(target: Target) -> list[str]:
    """Every scheme has a type of inputs and outputs that the target takes."""
    from edgekit.stages.numerics import Quantize, resolve_quantize

    numerics = target.numerics
    return [
        f"numerics.io: {', '.join(numerics.io)} does not go with the scheme {scheme!r}"
        for scheme in numerics.schemes
        if resolve_quantize(Quantize(scheme), target).io not in numerics.io
    ]


_CHECKS = (_cited, _recommended, _known_sources, _fits, _fallback, _distinct, _runtime, _accelerator, _io)
