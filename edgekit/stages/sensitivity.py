"""Sensitivity: what each layer costs when a share of it goes, alone, without training.

Each kernel (kind `weights`) or group of channels (kind `channels`) loses some shares of itself, one at a time, in one
compiled copy of the network; the metric and the change of the outputs (`edgekit.stages.harm`) say how much that hurts.
One layer at a time: the layers together lose more, and training brings much of it back. So the order of the layers is
what to read, and a budget is a start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.graph.channels import analyse
from edgekit.graph.walk import walk
from edgekit.metrics import higher_is_better
from edgekit.stages.channel_scores import Criterion
from edgekit.stages.harm import Harm, Judge, harms
from edgekit.stages.kernels import Kernel, kernels_of
from edgekit.stages.patterns import any_matching
from edgekit.stages.probes import Probe, channel_probes, kernel_macs, kernel_probes
from edgekit.stages.prune_channels import PruneChannelsLayers, ranking
from edgekit.stages.prune_weights import PruneLayers, dense_by_default
from edgekit.stages.sparsity import Pattern
from edgekit.stages.train import copy_of
from edgekit.talk import Say
from edgekit.units import format_count

Kind = Literal["weights", "channels"]


class Sensitivity(Struct, frozen=True, forbid_unknown_fields=True):
    """What is tried on each layer."""

    kind: Annotated[Kind, Meta(description="Set the smallest weights to zero, or the least channels.")] = "weights"
    shares: Annotated[tuple[float, ...], Meta(description="Shares of a layer that go, rising.")] = (0.5, 0.7, 0.9)
    samples: Annotated[int, Meta(ge=2, description="Samples of the validation part to judge by.")] = 512
    pattern: Annotated[str, Meta(description="Blocks of weights that go together, as in prune_weights.")] = "1x1"
    criterion: Annotated[Criterion, Meta(description="What ranks channels, as in prune_channels.")] = "l2"
    layers: Annotated[
        tuple[str, ...], Meta(description="Patterns of the layers to try; by default all that would be pruned.")
    ] = ()

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise ValueError(f"shares must be above 0 and below 1, not {_listed(self.shares) or 'none'}")
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"shares must rise, not {_listed(self.shares)}")
        fixed = Pattern.parse(self.pattern).sparsity
        if fixed is not None and self.shares != (fixed,):
            raise ValueError(f"pattern {self.pattern!r} makes a sparsity of {fixed:g}: try that share alone")


def _listed(shares: tuple[float, ...]) -> str:
    return ", ".join(f"{share:g}" for share in shares)


class LayerSensitivity(Struct, frozen=True):
    """One kernel or group of channels: its weights and multiply-accumulates, and the harm at each share, rising.

    A group of channels has the name of the first layer that makes them; `weights` and `macs` are all that hangs on it.
    """

    name: str
    kind: str
    weights: int
    macs: int
    harms: tuple[Harm, ...]


class SensitivityReport(Struct, frozen=True):
    """What was found, in the order of the graph; `metric` and `baseline` are None where nothing is labelled."""

    kind: Kind
    metric: str | None
    baseline: float | None
    part: str
    samples: int
    layers: tuple[LayerSensitivity, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that were tried, rising."""
        return tuple(harm.share for harm in self.layers[0].harms)

    def loss(self, harm: Harm) -> float:
        """How much worse the metric became, in its own unit; the change of the outputs where there is no metric."""
        if self.metric is None or self.baseline is None or harm.value is None:
            return harm.change
        return self.baseline - harm.value if higher_is_better(self.metric) else harm.value - self.baseline

    def ranked(self) -> tuple[LayerSensitivity, ...]:
        """The layers, the most sensitive first: by the change of the outputs over all shares."""
        return tuple(sorted(self.layers, key=lambda layer: -sum(harm.change for harm in layer.harms)))

    def header(self) -> tuple[str, ...]:
        """Titles of the columns of `rows`."""
        tried = [f"{self.metric or 'change'} at {share:.0%}" for share in self.shares]
        last = [f"change at {self.shares[-1]:.0%}"] if self.metric else []
        return ("layer", "kind", "weights", "MACs", *tried, *last)

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `header`, the most sensitive layer first."""
        return [
            (
                layer.name,
                layer.kind,
                format_count(layer.weights),
                format_count(layer.macs),
                *(f"{harm.change:.1%}" if harm.value is None else f"{harm.value:.4f}" for harm in layer.harms),
                *([f"{layer.harms[-1].change:.1%}"] if self.metric else []),
            )
            for layer in self.ranked()
        ]


def sensitivity(model: Any, config: Sensitivity, data: Dataset, *, say: Say = lambda _: None) -> SensitivityReport:
    """Try each share on each layer of a Keras model, which is only read; `data` was matched to it.

    Judged on the validation part, else on the train part; never on the test part. Raises RecipeError where nothing can
    be tried or a pattern matches nothing, DataError without samples or for outputs that are no numbers, ModelError for
    a model whose calls cannot be seen.
    """
    network = copy_of(model)
    probes = _PROBES[config.kind](network, config, data)
    say(f"sensitivity: compile the network for {len(probes)} layers")
    judge = Judge(network, data, config.samples)
    found = tuple(
        LayerSensitivity(probe.name, probe.kind, probe.weights, probe.macs, each)
        for probe, each in zip(probes, harms(judge, probes, config.shares, say), strict=True)
    )
    return SensitivityReport(config.kind, judge.metric, judge.baseline, judge.part.name, len(judge.part), found)


def budgets(report: SensitivityReport, max_drop: float) -> tuple[PruneLayers, ...] | tuple[PruneChannelsLayers, ...]:
    """Exceptions for the `layers` of a pruning stage: the largest share that costs a layer at most `max_drop`.

    `max_drop` is in the unit of the metric, or a change of the outputs where there is none. A layer that loses more at
    the first share that was tried is kept whole.
    """
    allowed = [(_escaped(layer.name), _allowed(report, layer, max_drop)) for layer in report.layers]
    if report.kind == "weights":
        return tuple(PruneLayers(name, share) if share else PruneLayers(name, keep=True) for name, share in allowed)
    return tuple(
        PruneChannelsLayers(name, round(1 - share, 9)) if share else PruneChannelsLayers(name, keep=True)
        for name, share in allowed
    )


def _allowed(report: SensitivityReport, layer: LayerSensitivity, max_drop: float) -> float:
    found = 0.0
    for harm in layer.harms:
        if not report.loss(harm) <= max_drop:
            break
        found = harm.share
    return found


def _escaped(name: str) -> str:
    """A shell pattern that matches this name and no other."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _weights(network: Any, config: Sensitivity, data: Dataset) -> list[Probe]:
    kernels = kernels_of(network)
    if not kernels:
        raise RecipeError(f"sensitivity: {network.name!r} has no kernels", "give a model with layers that have weights")
    chosen = _chosen_kernels(kernels, config.layers)
    return kernel_probes(chosen, Pattern.parse(config.pattern), kernel_macs(walk(network), chosen))


def _chosen_kernels(kernels: list[Kernel], patterns: tuple[str, ...]) -> list[Kernel]:
    if patterns:
        names = any_matching(patterns, [name for k in kernels for name in (k.layer, k.name)], "sensitivity")
        return [kernel for kernel in kernels if {kernel.layer, kernel.name} & names]
    found = [kernel for kernel in kernels if not dense_by_default(kernel)]
    if not found:
        raise RecipeError(
            f"sensitivity: prune_weights leaves every kernel dense, {kernels[0].name}: {dense_by_default(kernels[0])}",
            "name the layers to try: layers = ['*'], or --layers '*'",
        )
    return found


def _channels(network: Any, config: Sensitivity, data: Dataset) -> list[Probe]:
    channels = analyse(walk(network))
    groups, scored = ranking(channels, network, config.criterion, data, config.samples)
    if config.layers:
        names = any_matching(config.layers, [name for group in groups for name in group.makers], "sensitivity")
        groups = [group for group in groups if names & set(group.makers)]
    return channel_probes(channels, channels.graph, groups, scored)


_PROBES: dict[Kind, Callable[[Any, Sensitivity, Dataset], list[Probe]]] = {"weights": _weights, "channels": _channels}
