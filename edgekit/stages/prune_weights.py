"""Prune weights: the smallest become zero and stay zero, all at once or along a schedule while the network trains.

Zhu & Gupta 2017, arXiv:1710.01878, eq. 1: the sparsity after step t is s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3,
here with s_i = 0. `plan` decides the share of zeros in each kernel, `apply` sets them at once, `masks.Pruner` while the
network trains; `masks.Preserve` keeps them through any later training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.stages import allocation, sparsity, xnnpack_sparse
from edgekit.stages.harm import Judge, curves
from edgekit.stages.kernels import Kernel, kernels_of
from edgekit.stages.lesson import Teacher, TeacherShare, taught
from edgekit.stages.masks import Preserve, Pruner, masks_for
from edgekit.stages.patterns import matching
from edgekit.stages.probes import kernel_probes
from edgekit.stages.sparsity import Pattern
from edgekit.stages.train import copy_of, fine_tune
from edgekit.stages.training import Epoch, Training
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.tflite.inspect import deflated_bytes
from edgekit.units import format_bytes, format_count

Share = Annotated[float, Meta(description="Share of the weights that become zero, above 0 and below 1.")]

_FEW_CHANNELS = 4
_TRIED = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


class PruneLayers(Struct, frozen=True, forbid_unknown_fields=True):
    """Another sparsity for the layers or kernels that a pattern matches, or none at all."""

    pattern: str
    sparsity: Share | None = None
    keep: Annotated[bool, Meta(description="Leave these layers dense.")] = False

    def __post_init__(self) -> None:
        if self.keep == (self.sparsity is not None):
            raise ValueError(f"layers {self.pattern!r}: give either `sparsity = S` or `keep = true`")
        if self.sparsity is not None:
            _check_sparsity(self.sparsity, "say `keep = true` to leave these layers dense")


class PruneWeights(Struct, frozen=True, forbid_unknown_fields=True, tag="prune_weights", tag_field="stage"):
    """Set the smallest weights to zero: a smaller file once it is compressed."""

    sparsity: Share | None = None
    threshold: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Instead of a sparsity: weights of a smaller magnitude become zero."),
    ] = None
    scope: Annotated[
        Literal["layer", "global", "lamp", "sensitivity"],
        Meta(
            description="The same share in each layer; the smallest of all layers, by magnitude or LAMP score; or "
            "shares that together change the outputs least, by data."
        ),
    ] = "layer"
    samples: Annotated[int, Meta(ge=2, description="Samples that scope 'sensitivity' looks at.")] = 512
    pattern: Annotated[
        str, Meta(description="Zeros in blocks of outputs x inputs (1x1, 1x4), or N of M inputs kept (2:4).")
    ] = "1x1"
    policy: Annotated[
        Literal["any", "xnnpack"], Meta(description="xnnpack: only what its sparse kernels can run, or an error.")
    ] = "any"
    schedule: Annotated[
        Literal["polynomial", "constant"], Meta(description="Sparsity grows while training, or is there at once.")
    ] = "polynomial"
    power: Annotated[int, Meta(ge=1, le=10, description="Exponent of the polynomial; 3 in the paper.")] = 3
    begin: Annotated[float, Meta(ge=0, le=1, description="Share of the training before the first zeros.")] = 0.0
    end: Annotated[float, Meta(ge=0, le=1, description="Share of the training after which no zero is added.")] = 0.6
    one_shot: Annotated[bool, Meta(description="Prune at once, without data and training.")] = False
    layers: Annotated[tuple[PruneLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    teacher: TeacherShare = 0.7
    training: Training = Training(epochs=15)

    def __post_init__(self) -> None:
        fixed = Pattern.parse(self.pattern).sparsity
        if fixed is not None:
            self._check_group(fixed)
        elif (self.sparsity is None) == (self.threshold is None):
            raise ValueError("give either `sparsity = S` or `threshold = T`")
        if self.sparsity is not None:
            _check_sparsity(self.sparsity, "leave this stage out to keep every weight")
        share = self.sparsity if fixed is None else fixed
        if self.policy == "xnnpack" and share is not None and share < xnnpack_sparse.LEAST:
            raise ValueError("policy 'xnnpack' needs a sparsity of at least 0.67: below it XNNPACK runs dense kernels")
        if self.threshold is not None and self.scope != "layer":
            raise ValueError(
                f"scope {self.scope!r} goes with `sparsity`: a threshold is the same for all layers anyway"
            )
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin:g} must come before end {self.end:g}")

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        fixed = Pattern.parse(self.pattern).sparsity
        share = self.sparsity or fixed
        what = f"{share:.0%} zeros" if share else f"weights below {self.threshold:g} to zero"
        shape = f", pattern {self.pattern}" if self.pattern != "1x1" else ""
        shape += f", scope {self.scope}" if self.scope == "sensitivity" else ""
        return f"{what}{shape}, {'one shot' if self.one_shot else self.training.detail}"

    def _check_group(self, fixed: float) -> None:
        if self.threshold is not None or self.scope != "layer":
            raise ValueError(f"pattern {self.pattern!r} fixes the zeros: drop `threshold` and `scope`")
        if self.sparsity is not None and abs(self.sparsity - fixed) > 0.01:
            raise ValueError(f"pattern {self.pattern!r} makes a sparsity of {fixed:g}: say that, or leave it out")
        if any(rule.sparsity is not None and abs(rule.sparsity - fixed) > 0.01 for rule in self.layers):
            raise ValueError(f"pattern {self.pattern!r} makes a sparsity of {fixed:g} in every layer: use `keep` only")


def _check_sparsity(value: float, nothing: str) -> None:
    if value == 0:
        raise ValueError(f"sparsity 0 prunes nothing: {nothing}")
    if not 0 < value < 1:
        more = "1 would leave no weight" if value == 1 else "it is a share, 0.8 means 80 %"
        raise ValueError(f"sparsity must be above 0 and below 1, not {value:g}: {more}")


class KernelPlan(Struct, frozen=True):
    """What will be done to a kernel: the share of its blocks that become zero; 0 with the reason why it stays dense."""

    name: str
    kind: str
    weights: int
    sparsity: float
    reason: str = ""


class PrunePlan(Struct, frozen=True):
    """The stage and what it will do to each kernel, in the order of the graph."""

    stage: PruneWeights
    kernels: tuple[KernelPlan, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Sparsity of each kernel that is pruned, by name."""
        return {kernel.name: kernel.sparsity for kernel in self.kernels if kernel.sparsity > 0}


class PrunedKernel(Struct, frozen=True):
    """What pruning did to a kernel; sizes are those of its weights alone, as float32."""

    name: str
    kind: str
    weights: int
    sparsity_before: float
    sparsity: float
    deflated_before_bytes: int
    deflated_after_bytes: int
    reason: str = ""


class PruneReport(Struct, frozen=True):
    """What pruning did to a model: `sparsity` is that of all kernels together; `gain` what it buys, by target."""

    kernels: tuple[PrunedKernel, ...]
    sparsity: float
    gain: dict[str, str] = {}

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`."""
        return [
            (
                kernel.name,
                format_count(kernel.weights),
                f"{kernel.sparsity:.1%}",
                format_bytes(kernel.deflated_before_bytes),
                format_bytes(kernel.deflated_after_bytes),
                f"left dense: {kernel.reason}" if kernel.reason else "",
            )
            for kernel in self.kernels
        ]


HEADER = ("kernel", "weights", "zeros", "deflated before", "after", "note")


@dataclass(frozen=True, eq=False)
class Pruned:
    """The pruned copy, what was done to it, and the history of its training (empty if there was none)."""

    model: Any
    report: PruneReport
    history: tuple[Epoch, ...]


def prune_weights(
    model: Any,
    stage: PruneWeights,
    data: Dataset | None = None,
    *,
    targets: Sequence[Target] = (),
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
) -> Pruned:
    """Prune a copy of a Keras model, while it trains on `data` unless the stage is `one_shot`; zeros in it stay.

    `teacher` is the float model, by default `model` as it came in.

    Raises RecipeError for patterns that match nothing and graphs that the policy does not allow, DataError without
    training data, and what `fine_tune` raises.
    """
    made = plan(model, stage, data, say=say)
    history: tuple[Epoch, ...] = ()
    if stage.one_shot:
        pruned = apply(model, made)
    elif data is None:
        raise RecipeError(
            "prune_weights trains, and no data was given", "give the data, or say one_shot = true to prune without"
        )
    else:
        trained = fine_tune(
            model,
            data,
            stage.training,
            callbacks=[Preserve(), _pruner(made)],
            objective=taught(teacher or Teacher(model), stage.teacher),
            checkpoint=checkpoint,
            say=say,
            seed=seed,
            stage="prune_weights",
        )
        pruned, history = trained.model, trained.history
    return Pruned(pruned, report(model, pruned, made, targets), history)


def _pruner(plan: PrunePlan) -> Pruner:
    stage = plan.stage
    end = stage.begin if stage.schedule == "constant" else stage.end
    return Pruner(plan.shares, Pattern.parse(stage.pattern), stage.begin, end, stage.power)


def plan(model: Any, stage: PruneWeights, data: Dataset | None = None, *, say: Say = lambda _: None) -> PrunePlan:
    """The share of zeros for each kernel of a Keras model, from its weights; scope `sensitivity` looks at `data`, too.

    Raises RecipeError for a pattern that matches nothing, a policy that the graph or the shares do not allow, scope
    `sensitivity` without data, and where nothing would be pruned.
    """
    kernels = kernels_of(model)
    if not kernels:
        raise RecipeError(f"prune_weights: {model.name!r} has no kernels", "drop this stage")
    if stage.policy == "xnnpack" and (reasons := xnnpack_sparse.misfits(model)):
        raise RecipeError(
            f"policy 'xnnpack': the graph does not fit its sparse kernels: {'; '.join(reasons)}",
            "say policy = 'any' to prune for size alone",
        )
    wishes, reasons_by_name = _wishes(kernels, stage)
    free = [kernel for kernel in kernels if kernel.name not in reasons_by_name and kernel.name not in wishes]
    shares = _by_harm(model, free, stage, data, say) if stage.scope == "sensitivity" else _shares(free, stage)
    wishes |= dict(zip((kernel.name for kernel in free), shares, strict=True))
    if not any(wishes.values()):
        raise _nothing(kernels, stage, reasons_by_name)
    found = tuple(
        KernelPlan(
            kernel.name,
            kernel.kind,
            kernel.value.size,
            wishes.get(kernel.name, 0.0),
            reasons_by_name.get(kernel.name, "") or ("" if wishes[kernel.name] else "no block is small enough"),
        )
        for kernel in kernels
    )
    if stage.policy == "xnnpack":
        _refuse_dense(found)
    return PrunePlan(stage, found)


def apply(model: Any, plan: PrunePlan) -> Any:
    """A copy of `model` with the zeros of the plan, without training; `model` is not touched."""
    pruned = copy_of(model)
    for kernel, mask in masks_for(pruned, plan.shares, Pattern.parse(plan.stage.pattern)):
        kernel.variable.assign(kernel.value * mask)
    return pruned


def report(before: Any, after: Any, plan: PrunePlan, targets: Sequence[Target] = ()) -> PruneReport:
    """What was done to each kernel, and what it buys on each target."""
    found, zeros, total = [], 0, 0
    for old, new, planned in zip(kernels_of(before), kernels_of(after), plan.kernels, strict=True):
        first, last = old.value, new.value
        zeros, total = zeros + int((last == 0).sum()), total + last.size
        found.append(
            PrunedKernel(
                planned.name,
                planned.kind,
                last.size,
                float((first == 0).mean()),
                float((last == 0).mean()),
                deflated_bytes(first.tobytes()),
                deflated_bytes(last.tobytes()),
                planned.reason,
            )
        )
    return PruneReport(
        tuple(found), zeros / total, {target.name: xnnpack_sparse.gain(after, target) for target in targets}
    )


def _wishes(kernels: list[Kernel], stage: PruneWeights) -> tuple[dict[str, float], dict[str, str]]:
    """Sparsity by name where a rule names it, and the reason of each kernel that stays dense."""
    wishes: dict[str, float] = {}
    reasons = {kernel.name: reason for kernel in kernels if (reason := dense_by_default(kernel, stage))}
    known = {name: kernel for kernel in kernels for name in (kernel.layer, kernel.name)}
    for rule in stage.layers:
        hits = matching(rule.pattern, known, "prune_weights")
        for kernel in (kernel for kernel in kernels if {kernel.layer, kernel.name} & hits):
            reasons.pop(kernel.name, None)
            wishes.pop(kernel.name, None)
            if rule.sparsity is None:
                reasons[kernel.name] = f"kept, as {rule.pattern!r} asks"
            elif stage.policy == "xnnpack" and kernel.kind != "pointwise":
                raise RecipeError(
                    f"layers {rule.pattern!r}: policy 'xnnpack' prunes 1x1 convolutions only, not {kernel.name}",
                    "remove the rule, or say policy = 'any'",
                )
            else:
                wishes[kernel.name] = rule.sparsity
    return wishes, reasons


def dense_by_default(kernel: Kernel, stage: PruneWeights | None = None) -> str:
    """Why a kernel that no rule names stays dense; empty where it is pruned."""
    if stage and stage.policy == "xnnpack" and kernel.kind != "pointwise":
        return "not a 1x1 convolution, and XNNPACK's sparse kernels take no other"
    if kernel.kind in ("convolution", "pointwise") and kernel.channels <= _FEW_CHANNELS:
        seen = "one channel" if kernel.channels == 1 else f"{kernel.channels} channels"
        return f"it sees only {seen}: few weights, and each is needed"
    return _DENSE.get(kernel.kind, "")


_DENSE = {
    "depthwise": "depthwise: few weights, each the only view of its channel; name it to prune it",
    "embedding": "a lookup multiplies nothing; name it to prune it",
    "recurrent": "recurrent: its errors add up over time; name it to prune it",
    "other": "a layer of a class that is not known; name it to prune it",
}


def _shares(kernels: list[Kernel], stage: PruneWeights) -> list[float]:
    """Share of the blocks of each kernel, for those without a rule of their own."""
    pattern = Pattern.parse(stage.pattern)
    if stage.threshold is not None:
        return [
            min(sparsity.below(kernel.matrix(kernel.value), stage.threshold, pattern), 1 - 1 / kernel.value.size)
            for kernel in kernels
        ]
    share = stage.sparsity if pattern.sparsity is None else pattern.sparsity
    assert share is not None  # __post_init__
    if stage.scope == "layer" or not kernels:
        return [share] * len(kernels)
    matrices = [kernel.matrix(kernel.value) for kernel in kernels]
    return sparsity.shares(matrices, share, pattern, comparable=stage.scope == "lamp")


def _by_harm(model: Any, kernels: list[Kernel], stage: PruneWeights, data: Dataset | None, say: Say) -> list[float]:
    """Share of the blocks of each kernel that together reach the sparsity and change the outputs least."""
    assert stage.sparsity is not None  # __post_init__
    if data is None:
        raise RecipeError(
            "prune_weights: scope 'sensitivity' judges each layer on samples, and no data was given",
            "give the data, or say scope = 'lamp', which needs none",
        )
    names = {kernel.name for kernel in kernels}
    network = copy_of(model)
    probes = kernel_probes([k for k in kernels_of(network) if k.name in names], Pattern.parse(stage.pattern))
    tried = sorted({*_TRIED, (1 + max(stage.sparsity, _TRIED[-1])) / 2})
    found = curves(Judge(network, data, stage.samples), probes, tried, lambda probe: probe.weights, say)
    return allocation.shares(found, stage.sparsity)


def _refuse_dense(kernels: tuple[KernelPlan, ...]) -> None:
    """Raise RecipeError where exceptions leave too few zeros: XNNPACK counts those of all 1x1 convolutions together."""
    pointwise = [kernel for kernel in kernels if kernel.kind == "pointwise"]
    weights = sum(kernel.weights for kernel in pointwise)
    zeros = sum(kernel.sparsity * kernel.weights for kernel in pointwise) / max(weights, 1)
    if zeros < xnnpack_sparse.LEAST:
        raise RecipeError(
            f"policy 'xnnpack': {zeros:.1%} of the weights of 1x1 convolutions would be zero, and below 67 % XNNPACK "
            "runs dense kernels",
            "raise the sparsity, leave exceptions out, or say policy = 'any'",
        )


def _nothing(kernels: list[Kernel], stage: PruneWeights, reasons: dict[str, str]) -> RecipeError:
    """Why no weight would become zero."""
    free = [kernel for kernel in kernels if kernel.name not in reasons]
    if not free:
        name, reason = next(iter(reasons.items()))
        return RecipeError(f"prune_weights: every kernel stays dense, {name} because: {reason}", "name layers to prune")
    if stage.threshold is None:
        return RecipeError(
            f"prune_weights: no block of {stage.pattern} fits into the {stage.sparsity:.0%} of the weights that may go",
            "give a smaller pattern, or say scope = 'layer'",
        )
    values = np.concatenate([np.abs(kernel.value).ravel() for kernel in free])
    half, most = np.quantile(values, [0.5, 0.8])
    return RecipeError(
        f"prune_weights: no weight is below the threshold {stage.threshold:g}; "
        f"half of them are below {half:.3g}, 80 % below {most:.3g}",
        "raise the threshold, or name layers to prune",
    )
