"""Cluster: the weights of a layer share a few values (Han et al. 2016, arXiv:1510.00149, section 3).

`plan` finds the values, `apply` gives a new model that has them; `centroids.ClusterPreserve` trains them and keeps them
through any later training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.graph.rebuild import copy
from edgekit.model.live import refuse_unsound
from edgekit.stages.centroids import ClusterPreserve, centroids
from edgekit.stages.codebook import Init, assign, codebook, huffman_bytes
from edgekit.stages.kernels import Kernel, kernels_of
from edgekit.stages.lesson import Teacher, TeacherShare, taught
from edgekit.stages.masks import Preserve
from edgekit.stages.patterns import any_matching, by_rules
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Epoch, Training
from edgekit.talk import Say
from edgekit.tflite.inspect import deflated_bytes
from edgekit.units import format_bytes, format_count

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Clusters = Annotated[int, Meta(ge=2, le=256, description="Values that a layer, or each of its channels, may use.")]

NOTE = (
    "TFLite has no operator that reads a codebook: clustering makes the compressed file smaller, which is what a store "
    "or an update transports; the file in memory and the latency stay as they are. A batch normalization folded "
    "into a layer gives each channel its own multiples of the values, so the deflated file gains less than the tensors "
    "here, and an int8 file less than a float one"
)
_SPARSE = 0.05


class ClusterLayers(Struct, frozen=True, forbid_unknown_fields=True):
    """Another number of clusters for the layers that a pattern matches, or none at all."""

    pattern: str
    clusters: Clusters | None = None
    keep: Annotated[bool, Meta(description="Leave these layers alone.")] = False

    def __post_init__(self) -> None:
        if self.keep == (self.clusters is not None):
            raise ValueError(f"layers {self.pattern!r}: give either `clusters = N` or `keep = true`")
        if self.clusters is not None:
            _check_clusters(self.clusters)


class Cluster(Struct, frozen=True, forbid_unknown_fields=True, tag="cluster", tag_field="stage"):
    """Let the weights of each layer share a few values: a smaller file once it is compressed."""

    clusters: Clusters = 16
    init: Annotated[Init, Meta(description="Where k-means starts.")] = "kmeans++"
    granularity: Annotated[
        Literal["per-layer", "per-channel"], Meta(description="One codebook a layer, or one an output channel.")
    ] = "per-layer"
    zeros: Annotated[
        Literal["auto", "preserve", "free"],
        Meta(description="Whether one value is exactly 0 and pruned weights keep it; auto: in pruned layers."),
    ] = "auto"
    depthwise: Annotated[bool, Meta(description="Also depthwise kernels: few weights, easily hurt.")] = False
    skip_first: Annotated[bool, Meta(description="Leave the first layer with a kernel alone.")] = False
    skip_last: Annotated[bool, Meta(description="Leave the last layer with a kernel alone.")] = False
    only: Annotated[tuple[str, ...], Meta(description="Patterns of layer names; empty means every layer.")] = ()
    layers: Annotated[tuple[ClusterLayers, ...], Meta(description="Exceptions; the last that matches wins.")] = ()
    one_shot: Annotated[bool, Meta(description="Cluster without data and training.")] = False
    teacher: TeacherShare = 0.7
    training: Training = Training(epochs=5, learning_rate=3e-4)

    def __post_init__(self) -> None:
        _check_clusters(self.clusters)

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        where = "channel" if self.granularity == "per-channel" else "layer"
        return f"{self.clusters} values a {where}, {'one shot' if self.one_shot else self.training.detail}"


def _check_clusters(clusters: int) -> None:
    if not 2 <= clusters <= 256:
        raise ValueError(f"clusters must be 2 to 256, not {clusters}: with one value a layer knows nothing")


@dataclass(frozen=True)
class Codebook:
    """The values that a kernel may take: one sorted array for each output channel, or one for all.

    With `zero` one of them is 0, and a weight that is 0 stays it.
    """

    name: str
    values: tuple[Floats, ...]
    per_channel: bool
    zero: bool


@dataclass(frozen=True)
class Kept:
    """A kernel that was left alone, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ClusterPlan:
    """What will be done to each kernel, by name (`conv/kernel`)."""

    codebooks: tuple[Codebook, ...]
    kept: tuple[Kept, ...]


class ClusteredKernel(Struct, frozen=True):
    """What clustering did to one kernel; sizes are those of its weights alone, as float32.

    `values` counts the distinct values, of the channel that has the most. The Huffman-coded size has the codebook in
    it.
    """

    name: str
    weights: int
    values: int
    relative_error: float
    zeros_kept: bool
    deflated_before_bytes: int
    deflated_after_bytes: int
    huffman_bytes: int


class ClusterReport(Struct, frozen=True):
    """What clustering did to a model, and what it does not do."""

    kernels: tuple[ClusteredKernel, ...]
    kept: tuple[tuple[str, str], ...]
    note: str = NOTE

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`; a kernel left alone tells its reason."""
        done: list[tuple[str, ...]] = [
            (
                kernel.name,
                format_count(kernel.weights),
                str(kernel.values),
                f"{kernel.relative_error:.2%}",
                format_bytes(kernel.deflated_before_bytes),
                format_bytes(kernel.deflated_after_bytes),
                format_bytes(kernel.huffman_bytes),
                "zeros kept" if kernel.zeros_kept else "",
            )
            for kernel in self.kernels
        ]
        return [*done, *((name, "", "", "", "", "", "", f"left alone: {reason}") for name, reason in self.kept)]


HEADER = ("kernel", "weights", "values", "relative error", "deflated before", "after", "Huffman coded", "note")


@dataclass(frozen=True, eq=False)
class Clustered:
    """The clustered model, what was done to each kernel, and the history of the training, if there was one."""

    model: Any
    report: ClusterReport
    history: tuple[Epoch, ...]


def cluster(
    model: Any,
    stage: Cluster,
    data: Dataset | None = None,
    *,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
) -> Clustered:
    """Cluster a copy of a Keras model, then train the centroids on `data` unless the stage is `one_shot`.

    `teacher` is the float model, by default `model` as it came in.

    Raises what `plan` raises, RecipeError without data, and what `fine_tune` raises.
    """
    made = plan(model, stage, seed)
    clustered = apply(model, made)
    history: tuple[Epoch, ...] = ()
    if not stage.one_shot:
        if data is None:
            raise RecipeError(
                "cluster trains the centroids, and no data was given",
                "give the data, or say one_shot = true to cluster without",
            )
        held = [Preserve(), ClusterPreserve()]
        trained = fine_tune(
            clustered,
            data,
            stage.training,
            callbacks=held,
            objective=taught(teacher or Teacher(model), stage.teacher),
            checkpoint=checkpoint,
            say=say,
            seed=seed,
            stage="cluster",
        )
        clustered, history = trained.model, trained.history
    return Clustered(clustered, report(model, clustered, made), history)


def plan(model: Any, stage: Cluster, seed: int = 0) -> ClusterPlan:
    """Find the values for each kernel of a functional or Sequential Keras model.

    Raises RecipeError for a pattern that matches no layer, ModelError for weights that are not finite.
    """
    kernels = kernels_of(model)
    clusters, reasons = _wishes(list(dict.fromkeys(kernel.layer for kernel in kernels)), stage)
    books: list[Codebook] = []
    kept: list[Kept] = []
    for kernel in kernels:
        weights, count = _finite(kernel), clusters[kernel.layer]
        zero = stage.zeros == "preserve" or (stage.zeros == "auto" and float((weights == 0).mean()) >= _SPARSE)
        reason = reasons.get(kernel.layer) or _unfit(kernel, weights, count, zero, stage)
        if reason:
            kept.append(Kept(kernel.name, reason))
        else:
            rows = _rows(kernel, weights, stage.granularity == "per-channel")
            values = tuple(codebook(row, count, stage.init, seed, zero) for row in rows)
            books.append(Codebook(kernel.name, values, stage.granularity == "per-channel", zero))
    return ClusterPlan(tuple(books), tuple(kept))


def apply(model: Any, plan: ClusterPlan) -> Any:
    """A copy of the model whose weights take only the values of the plan, each the nearest; `model` is not touched."""
    clustered = copy(model)
    kernels = {kernel.name: kernel for kernel in kernels_of(clustered)}
    for book in plan.codebooks:
        kernel = kernels[book.name]
        weights = kernel.value
        rows = zip(_rows(kernel, weights, book.per_channel), book.values, strict=True)
        found = np.stack([values[assign(row, values, book.zero)] for row, values in rows]).astype(weights.dtype)
        kernel.variable.assign(kernel.shaped(found) if book.per_channel else found.reshape(weights.shape))
    return clustered


def report(before: Any, after: Any, plan: ClusterPlan) -> ClusterReport:
    """Compare the weights of the model that went in with those of the clustered one, trained on or not."""
    old, new = ({kernel.name: kernel for kernel in kernels_of(model)} for model in (before, after))
    done = [_compared(book, old[book.name].value, new[book.name]) for book in plan.codebooks]
    return ClusterReport(tuple(done), tuple((kept.name, kept.reason) for kept in plan.kept))


def _compared(book: Codebook, before: Array, kernel: Kernel) -> ClusteredKernel:
    after, size = kernel.value, float(np.linalg.norm(before))
    found = centroids(kernel, after, book.per_channel)
    return ClusteredKernel(
        name=book.name,
        weights=before.size,
        values=max(found.sizes),
        relative_error=float(np.linalg.norm(after - before)) / size if size else 0.0,
        zeros_kept=book.zero,
        deflated_before_bytes=deflated_bytes(before.tobytes()),
        deflated_after_bytes=deflated_bytes(after.tobytes()),
        huffman_bytes=huffman_bytes(found.local, sum(found.sizes)),
    )


def _rows(kernel: Kernel, weights: Array, per_channel: bool) -> Array:
    return kernel.matrix(weights) if per_channel else weights.reshape(1, -1)


def _wishes(names: list[str], stage: Cluster) -> tuple[dict[str, int], dict[str, str]]:
    """Clusters of each layer, and the reason for each layer that the settings leave alone."""
    if not names:
        raise RecipeError("cluster: the model has no kernel to cluster", "leave this stage out")
    chosen = any_matching(stage.only, names, "cluster") if stage.only else set(names)
    reasons = {name: "not among `only`" for name in names if name not in chosen}
    if stage.skip_first:
        reasons[names[0]] = "the first layer, as asked"
    if stage.skip_last:
        reasons[names[-1]] = "the last layer, as asked"
    asked, kept = by_rules(stage.layers, names, "cluster", lambda rule: rule.clusters)
    left = {name: why for name, why in reasons.items() if name not in asked}
    return dict.fromkeys(names, stage.clusters) | asked, left | kept


def _finite(kernel: Kernel) -> Array:
    weights = kernel.value
    refuse_unsound([(kernel.name, weights)], "cluster")
    return weights


def _unfit(kernel: Kernel, weights: Array, clusters: int, zero: bool, stage: Cluster) -> str:
    """Why this kernel is not clustered; empty where it is."""
    if kernel.kind == "depthwise" and not stage.depthwise:
        return "depthwise: few weights, easily hurt (depthwise = true clusters them)"
    if kernel.kind == "other":
        return "weights of a layer of your own, which may use them in any way"
    per_channel = stage.granularity == "per-channel"
    channels = len(_rows(kernel, weights, per_channel))
    used = (np.count_nonzero(weights) if zero else weights.size) / channels
    if used < 2 * clusters:
        where = "in a channel" if per_channel else "in all"
        return f"{used:.0f} weights {where}{' that are not 0' if zero else ''}: too few to share {clusters} values"
    return ""
