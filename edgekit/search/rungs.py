"""Rungs: one recipe looked at, the cheapest look first: its untrained network, a share of its epochs, all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from edgekit.artifact import sha256
from edgekit.dataset import Dataset
from edgekit.draft import drafts
from edgekit.job import runtime_for
from edgekit.makings import Makings
from edgekit.model import Model
from edgekit.model.live import from_keras
from edgekit.phrase import one_shot
from edgekit.recipe import Recipe, Stage
from edgekit.run_stage import run_stage
from edgekit.search.clock import Clock
from edgekit.search.front import dominates
from edgekit.search.point import Cost, Loss, Point, Rung
from edgekit.search.space import epochs_of
from edgekit.stages.cluster import Cluster
from edgekit.stages.distill import Distill
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import FEWEST_STEPS, QuantizeAware
from edgekit.stages.student import narrowed
from edgekit.step import Surroundings
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.versions import versions
from edgekit.workspace import Workspace

SHARE = 0.2
"""Share of the epochs that the proxy rung trains."""
_WORTH = 5  # epochs below which a proxy would save nothing
_FEW = 3  # promotions after which it is known what more epochs bring


@dataclass(frozen=True, eq=False)
class Rungs:
    """What a search makes and judges recipes with; `data` has no test part, and the validation part judges.

    `download` says whether deflated bytes count.
    """

    model: Model
    data: Dataset
    target: Target
    clock: Clock
    work: Workspace
    say: Say
    trust: bool = False
    download: bool = False

    def makings(self, recipe: Recipe) -> Makings:
        """A fresh maker: results are on the disk, and models of former trials are let go of."""
        work = Workspace(self.work.folder, self.say)
        return Makings(self.model, self.data, work, [(self.target, recipe)], self.say, self.trust, "validation")

    def shape(self, recipe: Recipe) -> Cost:
        """What the file will take, known before anything is trained; quantized with the ranges of random inputs."""
        stages = tuple(stage for stage in recipe.stages if self._shapes(stage))
        made_of = [self.model.sha256, self.data.fingerprint, stages, recipe.seed]
        key = [*made_of, self.target, self.clock.where, versions()]

        def drafted() -> Cost:
            file = self._untrained(structs.replace(recipe, stages=stages))
            return self.clock.cost(file, sha256(file), self.work)

        return self.work.remember("look at the shape", key, drafted, Cost)

    def _shapes(self, stage: Stage) -> bool:
        """Whether a stage changes what a file takes: zeros and shared values do so in an archive only."""
        if isinstance(stage, Distill):
            return stage.width is not None
        return not isinstance(stage, FineTune | QuantizeAware) and (
            self.download or not isinstance(stage, PruneWeights | Cluster)
        )

    def point(self, recipe: Recipe, rung: Rung, cost: Cost | None = None) -> Point:
        """The recipe made as far as the rung says and judged on the validation part; `cost` where it is known."""
        makings = self.makings(recipe)
        file = makings.finished(self.target, shortened(recipe, self._samples) if rung == "proxy" else recipe)
        found = makings.verification(file, recipe.name, runtime_for(self.target))
        assert found is not None
        assert self.data.metric is not None
        digest = sha256(file)
        took = cost or self.clock.cost(file, digest, self.work)
        return Point(recipe.name, digest, took, Loss.of(found, self.data.metric), found.scores, rung)

    def has_proxy(self, recipe: Recipe) -> bool:
        """Whether a share of the epochs is much less than all of them."""
        return epochs_of(recipe) >= max(_WORTH, 2 * epochs_of(shortened(recipe, self._samples)))

    @property
    def _samples(self) -> int:
        return len(self.data.train) if self.data.train else 0

    def _untrained(self, recipe: Recipe) -> bytes:
        """The file of the network that the recipe leads to, with whatever weights."""
        if not recipe.compression:
            return self.makings(recipe).finished(self.target, recipe)
        around = Surroundings(self.model.keras, self.data, (self.target,), recipe.seed, None, self.trust, self.say)
        network = self.model.keras
        for stage in recipe.compression:
            network = _after(network, stage, around)
        model = from_keras(network, self.model.origin, self.model.name, None)
        return drafts(model, [self.target], _phrase(recipe.quantize))[0].data


def shortened(recipe: Recipe, samples: int) -> Recipe:
    """The recipe with a share of the epochs of each training; `samples` are those of the training part."""
    return structs.replace(recipe, stages=tuple(_shortened(stage, samples) for stage in recipe.stages))


def hopeful(proxy: Point, front: Sequence[Point], gains: Sequence[float], floor: float, download: bool) -> str:
    """Why a point is not worth its other epochs; empty where it is.

    `gains` are what the other epochs of former recipes brought. With the greatest of them, and at the good end of its
    interval, a point has to keep the floor and to be beaten by nothing on the front.
    """
    if len(gains) < _FEW:
        return ""
    best = proxy.loss.low - max(*gains, 0.0)
    if best > floor:
        return f"loses {proxy.loss.value:.4g} after a share of its epochs: no chance on the floor"
    _, *rest = proxy.objectives(download)
    beaten = next((one for one in front if dominates(one.objectives(download), (best, *rest))), None)
    return f"beaten by {beaten.recipe} even if its other epochs bring as much as any" if beaten else ""


def _shortened(stage: Any, samples: int) -> Any:
    if not hasattr(stage, "training") or getattr(stage, "one_shot", False):
        return stage
    epochs = max(1, math.ceil(SHARE * stage.training.epochs))
    if isinstance(stage, QuantizeAware):
        steps = max(samples // stage.training.batch_size, 1)
        epochs = min(max(epochs, math.ceil(FEWEST_STEPS / steps)), stage.training.epochs)
    return structs.replace(stage, training=structs.replace(stage.training, epochs=epochs))


def _after(network: Any, stage: Any, around: Surroundings) -> Any:
    """The network after a stage, untrained."""
    if isinstance(stage, Distill):
        assert stage.width is not None  # without it nothing takes another shape
        return narrowed(network, stage.width, multiple=stage.multiple, seed=around.seed)
    return run_stage(network, one_shot(stage), around).model


def _phrase(numerics: Quantize) -> str:
    return f"{numerics.scheme}:per-tensor" if numerics.granularity == "per-tensor" else numerics.scheme
