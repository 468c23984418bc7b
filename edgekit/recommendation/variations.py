"""Techniques that change the network: planned on the Keras model as a recipe would, at once and without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgekit.errors import ModelError, RecipeError
from edgekit.graph.macs import Cost, costs, total
from edgekit.graph.walk import walk
from edgekit.recommendation.technique import Need
from edgekit.stages import cluster, drop_layers, factorize, prune_channels, prune_weights, xnnpack_sparse
from edgekit.stages.cluster import Cluster
from edgekit.stages.distill import Distill
from edgekit.stages.factorize import Factorize
from edgekit.stages.kernels import kernels_of
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.student import narrowed
from edgekit.target import Target
from edgekit.units import format_count

_UNSHARED = {"depthwise", "other"}
TRAINING: tuple[Need, ...] = ("training data", "training")


@dataclass(frozen=True)
class Variation:
    """A changed network: what it will cost, and how to make it; or why it cannot be made (`refused`).

    `same` says that only values of weights change, `zeros` which share of them becomes zero; `most` is the greatest
    share of multiply-accumulates that can go, where only data tells how many do.
    """

    name: str
    needs: tuple[Need, ...] = TRAINING
    risk: str = ""
    cost: Cost | None = None
    make: Callable[[], Any] | None = None
    same: bool = False
    zeros: float = 0.0
    most: float = 0.0
    notes: tuple[str, ...] = ()
    refused: str = ""


def variation(model: Any, name: str, target: Target) -> Variation:
    """Plan the technique that a word such as `channels50` names on a Keras model, which is only read."""
    kind = name.rstrip("0123456789")
    try:
        return _PLANS[kind](model, name, int(name.removeprefix(kind)), target)
    except (RecipeError, ModelError) as cause:
        return Variation(name, refused=cause.problem)


def _channels(model: Any, name: str, percent: int, target: Target) -> Variation:
    stage = PruneChannels(macs=1 - percent / 100)
    plan = prune_channels.plan(model, stage, multiple=target.numerics.channel_multiple)
    report = prune_channels.report(plan)
    risk = "moderate: what is left has to learn again; more channels, more loss"
    notes = (f"{report.groups_pruned} of {report.groups} groups of channels shrink, in multiples of {report.multiple}",)
    cost = Cost(report.parameters_after, report.macs_after)
    return Variation(name, TRAINING, risk, cost, lambda: prune_channels.apply(plan), notes=notes)


def _factorize(model: Any, name: str, percent: int, target: Target) -> Variation:
    plan = factorize.plan(model, Factorize(macs=1 - percent / 100, one_shot=True))
    lowest = min((split.energy for split in plan.splits), default=1.0)
    risk = f"moderate: the factors keep {lowest:.0%} of the energy of the layer that loses most, before training"
    notes = (f"{len(plan.splits)} layers become two or three each: fewer MACs, more operators and tensors",)
    cost = Cost(plan.parameters_after, plan.macs_after)
    return Variation(name, TRAINING, risk, cost, lambda: factorize.apply(model, plan), notes=notes)


def _student(model: Any, name: str, percent: int, target: Target) -> Variation:
    small = narrowed(model, percent / 100, multiple=Distill(width=percent / 100).multiple)
    risk = "high: it learns everything anew from its teacher, and needs the most training"
    return Variation(name, TRAINING, risk, total(costs(walk(small))), lambda: small)


def _prune(model: Any, name: str, percent: int, target: Target) -> Variation:
    share = percent / 100
    prune_weights.plan(model, PruneWeights(sparsity=share, one_shot=True))
    notes = (xnnpack_sparse.gain(model, target, share),)
    return Variation(name, TRAINING, "low up to 80 % zeros", _cost(model), same=True, zeros=share, notes=notes)


def _cluster(model: Any, name: str, count: int, target: Target) -> Variation:
    stage = Cluster(clusters=count, one_shot=True)
    if not any(kernel.kind not in _UNSHARED and kernel.value.size >= 2 * count for kernel in kernels_of(model)):
        raise RecipeError("cluster: every kernel has too few weights to share values")
    notes = ("no operator reads a codebook: the file in memory and the latency stay",)

    def make() -> Any:
        return cluster.apply(model, cluster.plan(model, stage))

    return Variation(name, TRAINING, "low", _cost(model), make, same=True, notes=notes)


def _drop(model: Any, name: str, percent: int, target: Target) -> Variation:
    graph = walk(model)
    found = drop_layers.branches(graph)
    if not found:
        raise RecipeError("it has no residual branch x + f(x) of one shape")
    parts = costs(graph)
    whole = total(parts).macs
    macs = sum(parts[layer].macs for layer in {layer for branch in found for layer in branch.layers})
    notes = (f"{len(found)} branches with {format_count(macs)} of {format_count(whole)} MACs could go at most",)
    return Variation(name, TRAINING, "unknown without data", notes=notes, most=macs / whole if whole else 0.0)


def _cost(model: Any) -> Cost:
    return total(costs(walk(model)))


_PLANS: dict[str, Callable[[Any, str, int, Target], Variation]] = {
    "channels": _channels,
    "cluster": _cluster,
    "drop": _drop,
    "factorize": _factorize,
    "prune": _prune,
    "student": _student,
}
