"""Prune channels: remove whole filters and neurons, so that the network is physically smaller.

`plan` decides which channels go (a value to print and test), `apply` builds the smaller network, `zeroed` the network
of full size with the same channels at zero: both compute the same. Which channels belong together is found by
`edgekit.graph.channels`, how much they matter by `edgekit.stages.channel_scores`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.graph import channels as graph_channels
from edgekit.graph.channels import Channels, Group, Kept, analyse
from edgekit.graph.macs import total, uncounted
from edgekit.graph.walk import walk
from edgekit.stages.channel_choice import Allocation, Chooser, Costs, Limits, Ranked
from edgekit.stages.channel_scores import Criterion, Evidence, Scores, scores
from edgekit.stages.patterns import matching
from edgekit.stages.train import Training, labels_objective
from edgekit.units import format_count

Share = Annotated[float, Meta(gt=0, lt=1)]


class PruneChannelsLayers(Struct, frozen=True, forbid_unknown_fields=True):
    """Another share of channels for the layers that a pattern matches, or all of them."""

    pattern: str
    retain: Annotated[float, Meta(gt=0, le=1)] | None = None
    keep: Annotated[bool, Meta(description="Leave the channels that these layers make alone.")] = False

    def __post_init__(self) -> None:
        if self.keep == (self.retain is not None):
            raise ValueError(f"layers {self.pattern!r}: give either `retain = SHARE` or `keep = true`")


class PruneChannels(Struct, frozen=True, forbid_unknown_fields=True, tag="prune_channels", tag_field="stage"):
    """Remove the channels that matter least; the network gets smaller and faster everywhere."""

    retain: Annotated[Share | None, Meta(description="Share of the channels of each group that stays.")] = None
    macs: Annotated[Share | None, Meta(description="Multiply-accumulates at most, as a share of the original's.")] = (
        None
    )
    parameters: Annotated[Share | None, Meta(description="Parameters at most, as a share of the original's.")] = None
    criterion: Annotated[Criterion, Meta(description="What makes a channel important; taylor needs data.")] = "l2"
    allocation: Annotated[
        Allocation, Meta(description="A budget takes the same share of each group, or what scores least anywhere.")
    ] = "uniform"
    multiple: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Counts are rounded up to a multiple of this; by default as the target likes."),
    ] = None
    minimum: Annotated[int, Meta(ge=1, description="Fewest channels of a group.")] = 1
    floor: Annotated[float, Meta(ge=0, lt=1, description="Smallest share of a group that stays.")] = 0.1
    layers: Annotated[tuple[PruneChannelsLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    samples: Annotated[int, Meta(ge=1, description="Training samples that taylor looks at.")] = 512

    def __post_init__(self) -> None:
        asked = [name for name in ("retain", "macs", "parameters") if getattr(self, name) is not None]
        if len(asked) != 1:
            raise ValueError(
                f"prune_channels takes one of `retain`, `macs` and `parameters`, not {' and '.join(asked) or 'none'}"
            )

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        wish = next(
            f"{getattr(self, name):.0%} of the {words}"
            for name, words in (("retain", "channels"), ("macs", "MACs"), ("parameters", "parameters"))
            if getattr(self, name) is not None
        )
        return f"{wish} stay, by {self.criterion}"


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """Which classes of channels stay; `reasons` says for each layer that makes channels why it keeps them all."""

    channels: Channels = field(repr=False)
    kept: Kept = field(repr=False)
    criterion: Criterion
    reasons: dict[str, str]

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Channels before and after, by the layer that makes them."""
        everything = np.ones_like(self.kept)
        found = {name: self.channels.channels_made(name, everything) for name in self.channels.slots}
        return {
            name: (before, self.channels.channels_made(name, self.kept) or 0)
            for name, before in found.items()
            if before is not None
        }


class PrunedLayer(Struct, frozen=True):
    """One layer before and after; `channels` are those it makes, None where it makes none."""

    name: str
    kind: str
    channels_before: int | None
    channels_after: int | None
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    reason: str


HEADER = ("layer", "kind", "channels", "parameters", "MACs", "note")


class ChannelReport(Struct, frozen=True):
    """What was done; `reason` of a layer says why it kept all channels it makes.

    `uncounted` names layers whose multiply-accumulates are not known and count zero.
    """

    criterion: Criterion
    layers: tuple[PrunedLayer, ...]
    groups: int
    groups_pruned: int
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    uncounted: tuple[str, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`; what stayed is said once, what changed as before -> after."""
        return [
            (
                layer.name,
                layer.kind,
                "" if layer.channels_before is None else _change(layer.channels_before, layer.channels_after or 0),
                _change(layer.parameters_before, layer.parameters_after),
                _change(layer.macs_before, layer.macs_after) if layer.macs_before else "",
                f"keeps all: {layer.reason}" if layer.reason else "",
            )
            for layer in self.layers
        ]


def _change(before: int, after: int) -> str:
    return format_count(before) if before == after else f"{format_count(before)} -> {format_count(after)}"


def plan(model: Any, stage: PruneChannels, data: Dataset | Evidence | None = None, multiple: int = 8) -> ChannelPlan:
    """Decide which channels of a functional or Sequential Keras model stay; the model is only read.

    `multiple` is what the target likes, where the stage says nothing. `data` is needed for the criterion taylor.

    Raises RecipeError for a pattern that matches nothing, a budget that cannot be met, or taylor without data, and
    ModelError for a model whose calls cannot be seen or that has its channels first.
    """
    if stage.criterion == "taylor" and data is None:
        raise RecipeError(
            "prune_channels: the criterion taylor needs training data", "give data, or say criterion = 'l2'"
        )
    channels = analyse(walk(model))
    found = evidence(model, data, stage.samples) if isinstance(data, Dataset) else data
    scored = scores(channels, stage.criterion, model, found)
    retains, reasons = _wishes(channels, stage)
    groups = [group for group in channels.groups if not _reason(group, scored, reasons, stage)]
    if not groups:
        raise RecipeError(
            f"prune_channels: no channel of {model.name!r} can go: {_why_none(channels, scored, reasons, stage)}",
            "drop this stage, or another `criterion` or fewer `keep`",
        )
    ranked = tuple(Ranked.of(group, scored, _retain(group, retains)) for group in groups)
    limits = Limits(stage.multiple or multiple, stage.minimum, stage.floor)
    kept = _choose(Chooser(channels.classes, ranked, limits), stage, Costs(channels))
    return ChannelPlan(channels, kept, stage.criterion, _layer_reasons(channels, kept, scored, reasons, stage))


def apply(plan: ChannelPlan) -> Any:
    """The smaller network: layers of its own under the same names, the weights of the channels that stay."""
    return graph_channels.shrink(plan.channels, plan.kept)


def zeroed(plan: ChannelPlan) -> Any:
    """The network at full size with the channels that go at zero; its outputs are those of `apply`."""
    return graph_channels.zeroed(plan.channels, plan.kept)


def report(plan: ChannelPlan) -> ChannelReport:
    """What the plan does to each layer with weights, and in all."""
    channels, costs = plan.channels, Costs(plan.channels)
    before, after = costs.each(np.ones_like(plan.kept)), costs.each(plan.kept)
    counts = plan.counts
    layers = tuple(
        PrunedLayer(
            name,
            type(layer).__name__,
            counts[name][0] if name in counts else None,
            counts[name][1] if name in counts else None,
            before[name].parameters,
            after[name].parameters,
            before[name].macs,
            after[name].macs,
            plan.reasons.get(name, ""),
        )
        for name, layer in channels.graph.layers.items()
        if layer.weights
    )
    pruned = sum(not plan.kept[group.classes].all() for group in channels.groups)
    old, new = total(before), total(after)
    return ChannelReport(
        plan.criterion,
        layers,
        len(channels.groups),
        pruned,
        old.macs,
        new.macs,
        old.parameters,
        new.parameters,
        uncounted(channels.graph),
    )


def evidence(model: Any, data: Dataset, samples: int, batch: int = 32) -> Evidence:
    """Batches of samples drawn from the training part, and the loss of the task. Raises DataError without labels."""
    objective = labels_objective(model, data, Training())
    part = data.part("train").take(samples)
    targets = objective.targets(part)
    batches = [
        (inputs, tuple(target[start : start + batch] for target in targets))
        for start, inputs in zip(range(0, len(part), batch), part.batches(batch), strict=True)
    ]
    return Evidence(lambda outputs, wanted: objective.loss(outputs, wanted, 0.0), batches)


def _choose(chooser: Chooser, stage: PruneChannels, costs: Costs) -> Kept:
    if stage.retain is not None:
        return chooser.by_ratio(stage.retain)
    budget, measure = (stage.macs, "macs") if stage.macs is not None else (stage.parameters, "parameters")
    assert budget is not None  # one of the three is set
    return chooser.within(budget, measure, stage.allocation, costs)  # type: ignore[arg-type]


def _wishes(channels: Channels, stage: PruneChannels) -> tuple[dict[str, float], dict[str, str]]:
    """The share that was asked for by layer, and the reason for each layer that was asked to keep all."""
    makers = list(dict.fromkeys(name for group in channels.groups for name in group.makers))
    retains: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for rule in stage.layers:
        for name in matching(rule.pattern, makers, "prune_channels"):
            retains.pop(name, None)
            reasons.pop(name, None)
            if rule.retain is None:
                reasons[name] = f"kept, as {rule.pattern!r} asks"
            else:
                retains[name] = rule.retain
    return retains, reasons


def _retain(group: Group, retains: dict[str, float]) -> float | None:
    """Layers that share their channels get the largest share that any of them was given."""
    return max((retains[name] for name in group.makers if name in retains), default=None)


def _reason(group: Group, scored: Scores, reasons: dict[str, str], stage: PruneChannels) -> str:
    """Why a group keeps all of its channels; empty where it does not have to."""
    if group.reason:
        return group.reason
    for name in group.makers:
        if name in reasons:
            return reasons[name] if group.makers == (name,) else f"shares its channels with {name!r}: {reasons[name]}"
    if np.isnan(scored[group.classes]).any():
        return f"{stage.criterion} says nothing: no BatchNormalization with a scale follows"
    return "" if group.size > 1 else "has one channel"


def _why_none(channels: Channels, scored: Scores, reasons: dict[str, str], stage: PruneChannels) -> str:
    found = dict.fromkeys(_reason(group, scored, reasons, stage) for group in channels.groups)
    return "; ".join(list(found)[:3]) or "no layer makes channels"


def _layer_reasons(
    channels: Channels, kept: Kept, scored: Scores, reasons: dict[str, str], stage: PruneChannels
) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in channels.groups:
        if kept[group.classes].all():
            why = _reason(group, scored, reasons, stage) or f"all {group.size} channels are within the limits"
            found |= {name: why for name in group.makers if name not in found}
    return {name: why for name, why in found.items() if _whole(channels, name, kept)}


def _whole(channels: Channels, name: str, kept: Kept) -> bool:
    """Whether a layer keeps all channels it makes."""
    return all(kept[slot.classes].all() for slot in channels.slots[name] if slot.made)
