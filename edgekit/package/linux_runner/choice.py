"""Which variant runs: the first whose unit is there and takes it; and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from . import edgetpu
from .contract import Package, Variant
from .model import Model
from .problem import INPUT, REFUSED, RUNTIME, Problem
from .runtime import open_runtime

T = TypeVar("T")
_CPU = edgetpu.Found(True, "runs everywhere")
Job = Callable[[Variant, Model], T]


@dataclass(frozen=True)
class Chosen:
    """The variant that did the work, the reason, and the runtime with its version."""

    variant: Variant
    why: str
    runtime: str


def with_best(
    package: Package,
    unit: str,
    job: Job[T],
    warn: Callable[[str], None],
    threads: int | None = None,
    root: Path = Path("/"),
) -> tuple[Chosen, T]:
    """Do a job with the best variant for `unit` (`auto`, or one by name).

    What is there and refuses is warned of, and the next way does the whole job: with `auto` the CPU instead of the Edge
    TPU, then plain kernels instead of XNNPACK. Raises Problem where none is left.
    """
    reasons: list[str] = []
    ways = [
        (one, xnnpack) for one in _named(package, unit) for xnnpack in (True, False) if one.unit == "cpu" or xnnpack
    ]
    for variant, xnnpack in ways:
        found = edgetpu.find(root) if variant.unit == "edgetpu" else _CPU
        if not found.usable:
            reasons.append(found.words)
            continue
        try:
            model = Model(open_runtime(variant.unit), package.model(variant), variant.unit, threads, xnnpack)
            result = job(variant, model)
        except Problem as problem:
            if (variant, xnnpack) == ways[-1] or not _worth_another(problem, variant):
                raise
            reasons.append(problem.problem)
            warn(f"warning: {found.words if variant.unit == 'edgetpu' else 'XNNPACK'} is not used: {problem}")
            continue
        why = "; ".join(reasons) or ("asked for" if unit != "auto" else found.words)
        return Chosen(variant, why, str(model.runtime)), result
    raise Problem("; ".join(reasons), "plug one in, or choose --unit cpu", REFUSED)


def _worth_another(problem: Problem, variant: Variant) -> bool:
    """Whether it is this way that failed; a wrong input or a damaged file would fail in each."""
    return problem.code == REFUSED or (problem.code == RUNTIME and variant.unit == "edgetpu")


def _named(package: Package, unit: str) -> tuple[Variant, ...]:
    found = tuple(variant for variant in package.variants if unit in ("auto", variant.unit))
    if not found:
        known = ", ".join(variant.unit for variant in package.variants)
        raise Problem(f"the package has no variant for {unit}", f"choose one of auto, {known}", INPUT)
    return found
