"""What the commands print: lines for people, or the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .choice import Chosen
from .contract import Package, Tensor, Variant
from .selftest import Outcome

_SHOWN = 8


@dataclass(frozen=True)
class Report:
    """One result, in both forms."""

    facts: dict[str, Any]
    text: str


def selftest(package: Package, chosen: Chosen, outcome: Outcome) -> Report:
    """Each output beside its tolerance."""
    rows = [
        f"output   {one.name!r}: off by {one.off:.3g}, tolerance {one.tolerance:.3g}: {_verdict(one.passed)}"
        for one in outcome.outputs
    ]
    last = f"{_verdict(outcome.passed)}: {_count(outcome.samples, 'golden vector')} of {outcome.golden_runtime}"
    outputs = [{**asdict(one), "off": _finite(one.off), "passed": one.passed} for one in outcome.outputs]
    facts = {**_head(package, chosen), "passed": outcome.passed, "samples": outcome.samples, "outputs": outputs}
    return Report(facts, "\n".join([*_lines(package, chosen), *rows, last]))


def run(
    package: Package,
    chosen: Chosen,
    paths: Sequence[Path],
    outputs: Sequence[Sequence[Any]],
    errors: Sequence[Sequence[float]],
    top: int,
) -> Report:
    """Each sample: the best classes where the output is classes, an autoencoder's error, else its numbers."""
    results = [
        {
            "input": str(path),
            "sample": sample,
            **({"error": _finite(wrong[sample])} if wrong else {}),
            **_sample(chosen.variant, [array[sample] for array in one], top),
        }
        for path, one, wrong in zip(paths, outputs, errors)
        for sample in range(len(one[0]))
    ]
    return Report({**_head(package, chosen), "results": results}, "\n".join(map(_shown, results)))


def info(package: Package, chosen: Chosen) -> Report:
    """What is in the package, and what would run."""
    rows = []
    for variant in package.variants:
        rows.append(f"variant  {variant.unit}: {variant.file}")
        rows += [f"  {side} {_tensor(one)}" for side in ("input", "output") for one in getattr(variant, f"{side}s")]
    labels = package.variants[-1].labels
    rows += [f"labels   {len(labels)}: {', '.join(labels[:_SHOWN])}{', ...' * (len(labels) > _SHOWN)}"] * bool(labels)
    rows += [f"constant {name} = {_number(value)}" for name, value in package.constants.items()]
    facts = {
        **_head(package, chosen),
        "licence": package.licence,
        "constants": package.constants,
        "variants": [asdict(one) for one in package.variants],
    }
    return Report(facts, "\n".join([*_lines(package, chosen), f"licence  {package.licence or 'not told'}", *rows]))


def _verdict(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _head(package: Package, chosen: Chosen) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "unit": chosen.variant.unit,
        "why": chosen.why,
        "file": chosen.variant.file,
        "sha256": chosen.variant.sha256,
        "runtime": chosen.runtime,
    }


def _lines(package: Package, chosen: Chosen) -> list[str]:
    return [
        f"package  {package.name} {package.version}",
        f"unit     {chosen.variant.unit} ({chosen.why})",
        f"model    {chosen.variant.file}, SHA-256 {chosen.variant.sha256[:12]}..., as packaged",
        f"runtime  {chosen.runtime}",
    ]


def _sample(variant: Variant, arrays: Sequence[Any], top: int) -> dict[str, Any]:
    outputs = {tensor.name: _listed(array) for tensor, array in zip(variant.outputs, arrays)}
    scores = arrays[0].ravel()
    classes = len(arrays) == 1 and scores.size > 1 and (variant.task == "classification" or variant.labels)
    if not classes or scores.size != arrays[0].shape[-1] or (variant.labels and len(variant.labels) != scores.size):
        return {"outputs": outputs}
    best = np.argsort(-scores.astype(np.float64), kind="stable")[:top].tolist()
    names = variant.labels or [str(place) for place in range(scores.size)]
    return {
        "outputs": outputs,
        "top": [{"label": names[place], "index": place, "score": _finite(scores[place])} for place in best],
    }


def _shown(result: dict[str, Any]) -> str:
    head = f"{result['input']}[{result['sample']}]"
    if "error" in result:
        return f"{head}: error {_number(result['error'])}"
    if "top" in result:
        return f"{head}: " + ", ".join(f"{one['label']} {_number(one['score'])}" for one in result["top"])
    return "\n".join(f"{head}: {name} = {_few(values)}" for name, values in result["outputs"].items())


def _few(values: Any) -> str:
    flat = np.asarray(values, object).ravel().tolist()
    return " ".join(map(_number, flat[:_SHOWN])) + f" ... ({len(flat)} values)" * (len(flat) > _SHOWN)


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _listed(array: Any) -> Any:
    """Nested lists; what is not finite is null, as JSON has no word for it."""
    return [_listed(row) for row in array] if array.ndim else _finite(array)


def _finite(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    return number if np.isfinite(number) else None


def _tensor(tensor: Tensor) -> str:
    quantized = f", real = (stored - {tensor.zero_point}) * {tensor.scale:.6g}" if tensor.scale is not None else ""
    return f"{tensor.name!r}: {tensor.dtype} {list(tensor.shape)}{quantized}"
