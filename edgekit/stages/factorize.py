"""Factorize: a layer becomes two or three thinner ones whose product is close to it.

W = U V by singular value decomposition for dense layers and 1x1 convolutions, k x 1 then 1 x k (Jaderberg et al. 2014,
arXiv:1405.3866), or 1x1, k x k, 1x1 by Tucker-2 (Kim et al. 2016, arXiv:1511.06530); `low_rank` has the formulas.
`plan` chooses kind and rank for each layer, `apply` gives a new model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.graph.macs import costs, total
from edgekit.graph.rebuild import fresh, per_operation, rebuild
from edgekit.graph.walk import Call, walk
from edgekit.model.live import refuse_unsound
from edgekit.stages.centroids import ClusterPreserve
from edgekit.stages.factor_layers import factor_names, factored, geometry_of, kernel_of, misfit, names_in
from edgekit.stages.lesson import Teacher, TeacherShare, taught
from edgekit.stages.low_rank import Kind, kinds_of, product
from edgekit.stages.masks import Preserve
from edgekit.stages.patterns import any_matching, by_rules
from edgekit.stages.rank_choice import WORDS, Candidate, Limits, Split, Wish, candidate, energy_for
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Epoch, Training
from edgekit.talk import Say
from edgekit.units import format_count

Array = npt.NDArray[Any]
Method = Literal["auto", "spatial", "tucker", "channels"]
Share = Annotated[float, Meta(gt=0, le=1)]

_KINDS: dict[Method, tuple[Kind, ...]] = {
    "auto": ("output", "input", "vertical", "horizontal", "tucker"),
    "spatial": ("vertical", "horizontal"),
    "tucker": ("tucker",),
    "channels": ("output", "input"),
}


class FactorizeLayers(Struct, frozen=True, forbid_unknown_fields=True):
    """Another measure for the layers that a pattern matches: exactly one of energy, rank_ratio, rank and keep."""

    pattern: str
    energy: Share | None = None
    rank_ratio: Share | None = None
    rank: Annotated[int, Meta(ge=1)] | None = None
    keep: Annotated[bool, Meta(description="Leave these layers alone.")] = False

    def __post_init__(self) -> None:
        given = [self.energy, self.rank_ratio, self.rank, self.keep or None]
        if sum(value is not None for value in given) != 1:
            raise ValueError(f"layers {self.pattern!r}: give exactly one of energy, rank_ratio, rank, keep = true")
        _check_shares(energy=self.energy, rank_ratio=self.rank_ratio)
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"layers {self.pattern!r}: rank must be 1 or more, not {self.rank}")


class Factorize(Struct, frozen=True, forbid_unknown_fields=True, tag="factorize", tag_field="stage"):
    """Split layers into thinner ones, where that saves multiply-accumulates: give exactly one measure."""

    energy: Annotated[Share | None, Meta(description="Share of the sum of squares that each layer keeps.")] = None
    rank_ratio: Annotated[Share | None, Meta(description="Rank of each layer as a share of its full rank.")] = None
    macs: Annotated[Share | None, Meta(description="Share of the model's MACs that may remain.")] = None
    parameters: Annotated[Share | None, Meta(description="Share of the model's parameters that may remain.")] = None
    method: Annotated[Method, Meta(description="How k x k convolutions are split; auto takes the cheapest.")] = "auto"
    rank_multiple: Annotated[int, Meta(ge=1, description="Ranks are multiples of this, as targets like 8.")] = 1
    min_saving: Annotated[
        float, Meta(ge=0, lt=1, description="Share of its MACs that a layer has to save to be split.")
    ] = 0.0
    only: Annotated[tuple[str, ...], Meta(description="Patterns of layer names; empty means every layer.")] = ()
    layers: Annotated[tuple[FactorizeLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    one_shot: Annotated[bool, Meta(description="Split without data and training.")] = False
    teacher: TeacherShare = 0.7
    training: Training = Training()

    def __post_init__(self) -> None:
        measures = {name: getattr(self, name) for name in ("energy", "rank_ratio", "macs", "parameters")}
        if sum(value is not None for value in measures.values()) != 1:
            raise ValueError("factorize: give exactly one of energy, rank_ratio, macs, parameters (energy = 0.95)")
        _check_shares(**measures)
        if self.rank_multiple < 1:
            raise ValueError(f"rank_multiple must be 1 or more, not {self.rank_multiple}")
        if not 0 <= self.min_saving < 1:
            raise ValueError(f"min_saving must be 0 or more and below 1, not {self.min_saving}")

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        measures = {"energy": "energy", "rank_ratio": "rank", "macs": "MACs", "parameters": "parameters"}
        name, value = next((name, value) for name in measures if (value := getattr(self, name)) is not None)
        return f"{value:.0%} of the {measures[name]} kept, {'one shot' if self.one_shot else self.training.detail}"


def _check_shares(**shares: float | None) -> None:
    for name, value in shares.items():
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {value}: it is the share that is kept")


@dataclass(frozen=True)
class Kept:
    """A layer that was left alone, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class FactorizePlan:
    """What will be done to each layer that has a kernel; MACs and parameters are those of the whole model."""

    splits: tuple[Split, ...]
    kept: tuple[Kept, ...]
    macs_before: int
    parameters_before: int

    @property
    def macs_after(self) -> int:
        """MACs of the model with the splits made."""
        return self.macs_before - sum(split.macs_before - split.macs_after for split in self.splits)

    @property
    def parameters_after(self) -> int:
        """Parameters of the model with the splits made."""
        return self.parameters_before - sum(split.parameters_before - split.parameters_after for split in self.splits)

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`; a layer left alone tells its reason."""
        return [
            *(
                (
                    split.name,
                    WORDS[split.kind],
                    " x ".join(map(str, split.ranks)),
                    format_count(split.macs_before),
                    format_count(split.macs_after),
                    f"{split.energy:.2%}",
                    f"{math.sqrt(max(0.0, 1 - split.energy)):.2%}",
                    "",
                )
                for split in self.splits
            ),
            *((kept.name, "", "", "", "", "", "", f"left alone: {kept.reason}") for kept in self.kept),
        ]


HEADER = ("layer", "kind", "rank", "MACs before", "after", "energy kept", "weight error", "note")


class FactorizedLayer(Struct, frozen=True):
    """What became of one layer; `relative_error` is that of the product of its factors, as they are now."""

    name: str
    kind: str
    ranks: tuple[int, ...]
    layers: tuple[str, ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    relative_error: float


class FactorizeReport(Struct, frozen=True):
    """What factorization did to a model, and which layers it left alone."""

    layers: tuple[FactorizedLayer, ...]
    kept: tuple[tuple[str, str], ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, eq=False)
class Factorized:
    """The model with its layers split, what was done to each, and the history of the training, if there was one."""

    model: Any
    plan: FactorizePlan
    report: FactorizeReport
    history: tuple[Epoch, ...]


def factorize(
    model: Any,
    stage: Factorize,
    data: Dataset | None = None,
    *,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
) -> Factorized:
    """Split layers of a copy of a Keras model, then train it on `data` unless the stage is `one_shot`.

    `teacher` is the float model, by default `model` as it came in.

    Raises what `plan` raises, RecipeError without data, and what `fine_tune` raises.
    """
    made = plan(model, stage)
    split = apply(model, made)
    history: tuple[Epoch, ...] = ()
    if not stage.one_shot:
        if data is None:
            raise RecipeError(
                "factorize trains the factors, and no data was given",
                "give the data, or say one_shot = true to split without",
            )
        trained = fine_tune(
            split,
            data,
            stage.training,
            callbacks=[Preserve(), ClusterPreserve()],
            objective=taught(teacher or Teacher(model), stage.teacher),
            checkpoint=checkpoint,
            say=say,
            seed=seed,
            stage="factorize",
        )
        split, history = trained.model, trained.history
    return Factorized(split, made, report(model, split, made), history)


def plan(model: Any, stage: Factorize) -> FactorizePlan:
    """Choose kind and rank for each layer of a functional or Sequential Keras model.

    Raises RecipeError for a pattern that matches no layer, a rank above the full one or a budget out of reach, and
    ModelError for weights that are not finite, channels that come first, or open sizes.
    """
    graph = walk(model)
    names = [name for name, layer in graph.layers.items() if any(len(weight.shape) > 1 for weight in layer.weights)]
    wishes, reasons = _wishes(names, stage)
    reasons |= {name: why for name in names if name not in reasons and (why := _unfit(name, graph.layers[name], stage))}
    whole = total(costs(graph))
    found = [_candidate(graph.calls_of(name), wishes[name], stage) for name in names if name not in reasons]
    by_parameters = stage.parameters is not None
    budget = stage.macs or stage.parameters
    energy = (
        energy_for(budget, whole.parameters if by_parameters else whole.macs, found, by_parameters) if budget else None
    )
    splits = {candidate.name: candidate.chosen(energy) for candidate in found}
    reasons |= {candidate.name: candidate.refusal(energy) for candidate in found if not splits[candidate.name]}
    return FactorizePlan(
        tuple(split for split in splits.values() if split),
        tuple(Kept(name, reasons[name]) for name in names if name in reasons),
        whole.macs,
        whole.parameters,
    )


def apply(model: Any, plan: FactorizePlan) -> Any:
    """A new model with the splits of the plan; `model` is not touched.

    The factors of `conv` are `conv_factor_0`, ... and at last `conv`, which has the bias, the activation and the name
    that outputs and later stages know.
    """
    graph = walk(model)
    splits = {split.name: split for split in plan.splits}

    def make(call: Call) -> Callable[..., Any]:
        return factored(call, splits[call.name], names_in(graph)) if call.name in splits else fresh(call)

    return rebuild(graph, per_operation(make))


def report(before: Any, after: Any, plan: FactorizePlan) -> FactorizeReport:
    """Compare the layers that were split with their factors, trained on or not."""
    old, new, taken = walk(before).layers, walk(after).layers, names_in(walk(before))
    done = []
    for split in plan.splits:
        layers = factor_names(split, taken)
        kernel, parts = kernel_of(old[split.name]), tuple(kernel_of(new[name]) for name in layers)
        size = float(np.linalg.norm(kernel))
        error = float(np.linalg.norm(product(parts) - kernel)) / size if size else 0.0
        done.append(
            FactorizedLayer(
                split.name,
                split.kind,
                split.ranks,
                layers,
                split.macs_before,
                split.macs_after,
                split.parameters_before,
                split.parameters_after,
                error,
            )
        )
    kept = tuple((layer.name, layer.reason) for layer in plan.kept)
    return FactorizeReport(
        tuple(done), kept, plan.macs_before, plan.macs_after, plan.parameters_before, plan.parameters_after
    )


def _wishes(names: list[str], stage: Factorize) -> tuple[dict[str, Wish], dict[str, str]]:
    """What each layer is asked to keep, and the reason for each that the settings leave alone."""
    chosen = any_matching(stage.only, names, "factorize") if stage.only else set(names)
    reasons = {name: "not among `only`" for name in names if name not in chosen}
    asked, kept = by_rules(stage.layers, names, "factorize", _wish)
    left = {name: why for name, why in reasons.items() if name not in asked}
    return dict.fromkeys(names, Wish(stage.energy, stage.rank_ratio)) | asked, left | kept


def _wish(rule: FactorizeLayers) -> Wish | None:
    return None if rule.keep else Wish(rule.energy, rule.rank_ratio, rule.rank)


def _unfit(name: str, layer: Any, stage: Factorize) -> str:
    """Why a layer is not split, whatever the rank; empty where it may be."""
    why = misfit(name, layer)
    return why or ("" if _kinds(kernel_of(layer), stage) else f"its window has one axis: {stage.method!r} splits two")


def _kinds(kernel: Array, stage: Factorize) -> tuple[Kind, ...]:
    """The kinds of split to try; a kernel without a window has one, whatever the method."""
    found = kinds_of(kernel.shape[:-2])
    return found if len(found) == 1 else tuple(kind for kind in found if kind in _KINDS[stage.method])


def _candidate(calls: tuple[Call, ...], wish: Wish, stage: Factorize) -> Candidate:
    name, kernel = calls[0].name, kernel_of(calls[0].operation)
    refuse_unsound([(f"{name}/kernel", kernel)], "factorize")
    limits = Limits(stage.rank_multiple, stage.min_saving, stage.parameters is not None)
    return candidate(name, kernel, [geometry_of(call) for call in calls], _kinds(kernel, stage), wish, limits)
