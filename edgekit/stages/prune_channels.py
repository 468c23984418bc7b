"""Prune channels: remove whole filters and neurons, so that the network is physically smaller.

`plan` decides which channels go (a value to print and test), `apply` builds the smaller network, `zeroed` the network
of full size with the same channels at zero: both compute the same. Which channels belong together is found by
`edgekit.graph.channels`, how much they matter by `edgekit.stages.channel_scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.graph import channels as graph_channels
from edgekit.graph.channels import Channels, Group, Kept, analyse
from edgekit.graph.macs import total, uncounted
from edgekit.graph.walk import walk
from edgekit.stages.allocation import Curve
from edgekit.stages.channel_choice import Allocation, Chooser, Costs, Limits, Ranked
from edgekit.stages.channel_scores import Criterion, Evidence, Scores, scores
from edgekit.stages.harm import Judge, curves
from edgekit.stages.latency_choice import Candidate, within_latency
from edgekit.stages.patterns import by_rules
from edgekit.stages.probes import channel_probes
from edgekit.stages.train import copy_of, labels_objective
from edgekit.stages.training import Training
from edgekit.talk import Say
from edgekit.tf import import_keras
from edgekit.units import format_count

Share = Annotated[float, Meta(gt=0, lt=1)]

_TRIED = (0.125, 0.25, 0.5, 0.75, 1.0)


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
    latency: Annotated[Share | None, Meta(description="Measured latency at most, as a share of the original's.")] = None
    criterion: Annotated[Criterion, Meta(description="What makes a channel important; taylor needs data.")] = "l2"
    allocation: Annotated[
        Allocation,
        Meta(
            description="A budget takes the same share of each group; what scores least anywhere; or shares that "
            "together change the outputs least, which needs data."
        ),
    ] = "uniform"
    multiple: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Counts are rounded up to a multiple of this; by default as the target likes, or a half, a "
            "quarter and so on of that where the budget asks for it."
        ),
    ] = None
    minimum: Annotated[int, Meta(ge=1, description="Fewest channels of a group.")] = 1
    floor: Annotated[float, Meta(ge=0, lt=1, description="Smallest share of a group that stays.")] = 0.1
    layers: Annotated[tuple[PruneChannelsLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    samples: Annotated[int, Meta(ge=2, description="Samples that taylor and sensitivity look at.")] = 512

    def __post_init__(self) -> None:
        known = ("retain", "macs", "parameters", "latency")
        asked = [name for name in known if getattr(self, name) is not None]
        if len(asked) != 1:
            raise ValueError(
                "prune_channels takes one of `retain`, `macs`, `parameters` and `latency`, "
                f"not {' and '.join(asked) or 'none'}"
            )
        if self.retain is not None and self.allocation != "uniform":
            raise ValueError(
                f"allocation {self.allocation!r} goes with a budget (`macs`, `parameters`, `latency`): `retain` is "
                "the same share of each group"
            )

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        wish = next(
            f"{getattr(self, name):.0%} of the {words}"
            for name, words in (
                ("retain", "channels"),
                ("macs", "MACs"),
                ("parameters", "parameters"),
                ("latency", "latency"),
            )
            if getattr(self, name) is not None
        )
        how = "" if self.allocation == "uniform" else f", {self.allocation} allocation"
        return f"{wish} stay, by {self.criterion}{how}"


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """Which classes of channels stay; `reasons` says for each layer that makes channels why it keeps them all.

    `candidates` are the networks whose latency was measured on the way, in that order; counts are in multiples of
    `multiple`.
    """

    channels: Channels = field(repr=False)
    kept: Kept = field(repr=False)
    criterion: Criterion
    reasons: dict[str, str]
    candidates: tuple[Candidate, ...] = ()
    multiple: int = 1

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

    `uncounted` names layers whose multiply-accumulates are not known and count zero; `candidates` are the networks
    whose latency was measured, for a budget of latency.
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
    candidates: tuple[Candidate, ...] = ()
    multiple: int = 1

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


def plan(
    model: Any,
    stage: PruneChannels,
    data: Dataset | Evidence | None = None,
    multiple: int = 8,
    *,
    latency: Callable[[Any], float] | None = None,
    say: Say = lambda _: None,
) -> ChannelPlan:
    """Decide which channels of a functional or Sequential Keras model stay; the model is only read.

    `multiple` is what the target likes, where the stage says nothing. `data` is needed for the criterion taylor and the
    allocation sensitivity. `latency` measures a Keras model in seconds, for a budget of latency.

    Raises RecipeError for a pattern that matches nothing, a budget that cannot be met, and where data or `latency` is
    needed and missing; ModelError for a model whose calls cannot be seen or that has its channels first.
    """
    _refuse_missing(stage, data, latency)
    channels = analyse(walk(model))
    scored = _scores(channels, model, stage.criterion, data, stage.samples)
    retains, reasons = _wishes(channels, stage)
    groups = [group for group in channels.groups if not _reason(group, scored, reasons, stage)]
    if not groups:
        raise RecipeError(
            f"prune_channels: no channel of {model.name!r} can go: {_why_none(channels, scored, reasons, stage)}",
            "drop this stage, take another `criterion`, or keep fewer layers",
        )
    ranked = [Ranked.of(group, scored, _retain(group, retains)) for group in groups]
    if stage.allocation == "sensitivity":
        assert isinstance(data, Dataset)  # _refuse_missing
        found = _curves(model, channels, groups, scored, stage, data, say)
        ranked = [replace(rank, curve=curve) for rank, curve in zip(ranked, found, strict=True)]
    seconds = None if latency is None else _clock(channels, latency)
    size, kept, candidates = _choose(channels, tuple(ranked), stage, multiple, seconds, say)
    why = _layer_reasons(channels, kept, scored, reasons, stage, size)
    return ChannelPlan(channels, kept, stage.criterion, why, candidates, size)


def ranking(
    channels: Channels, model: Any, criterion: Criterion, data: Dataset | None, samples: int
) -> tuple[list[Group], Scores]:
    """The groups of which channels may go, and the score of every class.

    Raises RecipeError where no channel can go, DataError for taylor without labels.
    """
    stage = PruneChannels(retain=0.5, criterion=criterion)
    scored = _scores(channels, model, criterion, data, samples)
    groups = [group for group in channels.groups if not _reason(group, scored, {}, stage)]
    if not groups:
        raise RecipeError(
            f"no channel of {model.name!r} can go: {_why_none(channels, scored, {}, stage)}",
            "try weights instead, or another criterion",
        )
    return groups, scored


def _refuse_missing(stage: PruneChannels, data: Dataset | Evidence | None, latency: object) -> None:
    if stage.criterion == "taylor" and data is None:
        raise RecipeError(
            "prune_channels: the criterion taylor needs training data", "give data, or say criterion = 'l2'"
        )
    if stage.allocation == "sensitivity" and not isinstance(data, Dataset):
        raise RecipeError(
            "prune_channels: allocation 'sensitivity' judges each group on samples, and no data was given",
            "give the data, or say allocation = 'uniform'",
        )
    if stage.latency is not None and latency is None:
        raise RecipeError(
            "prune_channels: a budget of latency needs a place to measure it, and none was given",
            "say macs = SHARE, or give plan(..., latency=function): edgekit.latency.host_latency makes one",
        )


def _scores(
    channels: Channels, model: Any, criterion: Criterion, data: Dataset | Evidence | None, samples: int
) -> Scores:
    wanted = criterion == "taylor" and isinstance(data, Dataset)
    known = evidence(model, data, samples) if wanted else data  # type: ignore[arg-type]
    return scores(channels, criterion, model, known if isinstance(known, Evidence) else None)


def _curves(
    model: Any,
    channels: Channels,
    groups: list[Group],
    scored: Scores,
    stage: PruneChannels,
    data: Dataset,
    say: Say,
) -> list[Curve]:
    """What the loss of a share of each group changes, beside what it saves of the budget's kind."""
    network = copy_of(model)
    probes = channel_probes(channels, walk(network), groups, scored)
    judge = Judge(network, data, stage.samples)
    return curves(judge, probes, _TRIED, lambda p: p.weights if stage.parameters is not None else p.macs, say)


def _clock(channels: Channels, latency: Callable[[Any], float]) -> Callable[[Kept], float]:
    """The latency of a choice, which is measured once."""
    known: dict[bytes, float] = {}

    def seconds(kept: Kept) -> float:
        if (key := kept.tobytes()) not in known:
            known[key] = latency(graph_channels.shrink(channels, kept))
        return known[key]

    return seconds


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
        plan.candidates,
        plan.multiple,
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


def _choose(
    channels: Channels,
    ranked: tuple[Ranked, ...],
    stage: PruneChannels,
    multiple: int,
    seconds: Callable[[Kept], float] | None,
    say: Say,
) -> tuple[int, Kept, tuple[Candidate, ...]]:
    """The multiple, the classes that stay, and what was measured.

    What the target likes gives way to the budget: where its multiple cannot meet it, half of it is tried, and so on.
    """
    costs, failure = Costs(channels), None
    for size in [stage.multiple] if stage.multiple else _halvings(multiple):
        chooser = Chooser(channels.classes, ranked, Limits(size, stage.minimum, stage.floor))
        try:
            return size, *_within(chooser, stage, costs, seconds, say)
        except RecipeError as cause:
            failure = cause
    assert failure is not None
    raise failure


def _halvings(multiple: int) -> list[int]:
    return [multiple, *(_halvings(multiple // 2) if multiple > 1 else [])]


def _within(
    chooser: Chooser, stage: PruneChannels, costs: Costs, seconds: Callable[[Kept], float] | None, say: Say
) -> tuple[Kept, tuple[Candidate, ...]]:
    if stage.retain is not None:
        return chooser.by_ratio(stage.retain), ()
    if stage.latency is not None:
        assert seconds is not None  # _refuse_missing
        return within_latency(chooser, stage.latency, stage.allocation, costs, seconds, say)
    budget, measure = (stage.macs, "macs") if stage.macs is not None else (stage.parameters, "parameters")
    assert budget is not None  # __post_init__
    return chooser.within(budget, measure, stage.allocation, costs), ()  # type: ignore[arg-type]


def _wishes(channels: Channels, stage: PruneChannels) -> tuple[dict[str, float], dict[str, str]]:
    """The share that was asked for by layer, and the reason for each layer that was asked to keep all."""
    makers = list(dict.fromkeys(name for group in channels.groups for name in group.makers))
    return by_rules(stage.layers, makers, "prune_channels", lambda rule: rule.retain)


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
    model = import_keras().Model
    unseen = [
        f"what {call.name!r} calls cannot be seen" for call in channels.graph.calls if isinstance(call.operation, model)
    ]
    return "; ".join([*found, *unseen][:3]) or "no layer makes channels"


def _layer_reasons(
    channels: Channels, kept: Kept, scored: Scores, reasons: dict[str, str], stage: PruneChannels, multiple: int
) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in channels.groups:
        if kept[group.classes].all():
            why = _reason(group, scored, reasons, stage) or (
                f"the choice leaves all {group.size} channels" + (f", in multiples of {multiple}" * (multiple > 1))
            )
            found |= {name: why for name in group.makers if name not in found}
    return {name: why for name, why in found.items() if _whole(channels, name, kept)}


def _whole(channels: Channels, name: str, kept: Kept) -> bool:
    """Whether a layer keeps all channels it makes."""
    return all(kept[slot.classes].all() for slot in channels.slots[name] if slot.made)
