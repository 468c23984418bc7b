"""The wrappers of tensorflow-model-optimization around the layers of a tf_keras model, and off again. Child side."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgekit.errors import MissingDependency, ModelError, RecipeError
from edgekit.stages.centroids import MOST
from edgekit.stages.masks import PRUNED
from edgekit.tf import import_tensorflow
from edgekit.tfmot.job import Cluster, Prune, Quantize
from edgekit.tfmot.settings import INSTALL, NATIVE

_PRESERVING = "tensorflow_model_optimization.python.core.quantization.keras.collab_opts"
_UPDATES = 50
_INITS = {"kmeans++": "KMEANS_PLUS_PLUS", "density": "DENSITY_BASED", "linear": "LINEAR"}


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A model that trains with a technique.

    `strip` takes the wrappers off, `begin` and `end_epoch` go with the training, and after more than `settled` steps
    the weights may be the result. `masked` are weights with the masks to hold them by, `fixed` weights not to train.
    """

    model: Any
    strip: Callable[[Any], Any]
    settled: int = 0
    masked: tuple[tuple[Any, Any], ...] = ()
    fixed: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    begin: Callable[[], None] = lambda: None
    end_epoch: Callable[[], None] = lambda: None


@cache
def import_tfmot() -> Any:
    """The package; raises MissingDependency where it or something that it needs is absent or broken."""
    import_tensorflow()
    try:
        return importlib.import_module("tensorflow_model_optimization")
    except ImportError as cause:
        raise MissingDependency(f"tensorflow-model-optimization does not import: {cause}", INSTALL) from cause


def wrapped(model: Any, technique: Prune | Cluster | Quantize, steps: int) -> Wrapped:
    """The model with the wrappers of a technique, to be trained for `steps` steps.

    Raises ModelError for a layer that the package does not take, RecipeError for too few steps.
    """
    try:
        if isinstance(technique, Prune):
            return _pruned(model, technique, steps)
        return _clustered(model, technique) if isinstance(technique, Cluster) else _quantized(model, technique)
    except (ValueError, RuntimeError, TypeError, AttributeError, KeyError, NotImplementedError) as cause:
        raise _refused(cause, type(technique).__name__.lower()) from cause


# Pruning.


def _pruned(model: Any, technique: Prune, steps: int) -> Wrapped:
    tfmot = import_tfmot().sparsity.keras
    first, last = (min(int(part * steps), steps - 1) for part in (technique.begin, technique.end))
    every = max((last - first) // _UPDATES, 1)
    last = first + max((last - first) // every, 1) * every  # so that the last update is one of those
    if last >= steps:
        raise RecipeError(
            f"prune_weights: {steps} steps are too few for a schedule", "raise training.epochs, or lower batch_size"
        )

    def schedule(share: float) -> Any:
        if technique.schedule == "constant":
            return tfmot.ConstantSparsity(share, first, frequency=every)
        return tfmot.PolynomialDecay(0.0, share, first, last, technique.power, every)

    pruned = _around(
        model,
        technique.shares,
        lambda layer, share: tfmot.prune_low_magnitude(layer, pruning_schedule=schedule(share)),
    )
    callback = tfmot.UpdatePruningStep()
    callback.set_model(pruned)
    return Wrapped(
        pruned,
        tfmot.strip_pruning,
        last if technique.schedule == "polynomial" else first,
        masked=_sparse(pruned),
        begin=callback.on_train_begin,
        end_epoch=lambda: callback.on_epoch_end(0),
    )


def remask(model: Any) -> None:
    """Give the weights of a pruned model their zeros, which they need not have between two steps."""
    callback = import_tfmot().sparsity.keras.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0)


# Clustering.


def _clustered(model: Any, technique: Cluster) -> Wrapped:
    tfmot = import_tfmot().clustering.keras
    start = getattr(tfmot.CentroidInitialization, _INITS[technique.init])
    wrapped_ones: set[int] = set()

    def wrap(layer: Any, wish: tuple[int, bool]) -> Any:
        wrapped_ones.update(map(id, layer.variables))
        return tfmot.cluster_weights(layer, wish[0], start, preserve_sparsity=wish[1])

    clustered = _around(model, technique.clusters, wrap)
    return Wrapped(clustered, tfmot.strip_clustering, masked=_sparse(clustered, wrapped_ones))


# Rounding.


def _quantized(model: Any, technique: Quantize) -> Wrapped:
    tfmot = import_tfmot().quantization.keras
    annotated = tfmot.quantize_annotate_model(model)
    strip = _module("cluster_preserve.cluster_utils").strip_clustering_cqat if technique.values else lambda found: found
    model = tfmot.quantize_apply(annotated, _scheme(technique))
    forgotten = {layer.layer.name: layer.layer.kernel for layer in model.layers if _is_forgotten(layer)}
    pruned = {name: kernel for name, kernel in forgotten.items() if technique.zeros and _zeros(kernel) >= PRUNED}
    shared = {name: kernel for name, kernel in forgotten.items() if technique.values and _is_clustered(kernel)}
    return Wrapped(
        model,
        strip,
        masked=tuple((kernel, np.not_equal(kernel, 0)) for name, kernel in pruned.items() if name not in shared),
        fixed=tuple(shared.values()),
        notes=tuple(_told(forgotten, shared)),
    )


def _is_forgotten(layer: Any) -> bool:
    """Whether a layer's weights are not rounded in the training: those before a ReLU layer, by the package's rule."""
    config = getattr(layer, "quantize_config", None)
    return type(config).__name__ == "NoOpQuantizeConfig" and hasattr(layer.layer, "kernel")


def _sparse(model: Any, but: Container[int] = ()) -> tuple[tuple[Any, Any], ...]:
    """The weights that an earlier pruning gave zeros, with their masks; `but` are the ids of those to pass over."""
    kernels = [one for one in model.trainable_variables if len(one.shape) > 1 and id(one) not in but]
    return tuple((kernel, np.not_equal(kernel, 0)) for kernel in kernels if PRUNED <= _zeros(kernel) < 1)


def _zeros(kernel: Any) -> float:
    return float(np.mean(np.equal(kernel, 0)))


def _is_clustered(kernel: Any) -> bool:
    values = len(np.unique(kernel))
    return values <= MOST and 2 * values <= np.size(kernel)


def _told(forgotten: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    if forgotten:
        yield (
            f"{', '.join(forgotten)}: tensorflow-model-optimization does not round weights before a ReLU layer "
            "while it trains; they are rounded in the file"
        )
    if shared:
        yield f"{', '.join(shared)}: for the same reason not trained, so that the shared values stay"


def _scheme(technique: Quantize) -> Any:
    if technique.values:
        return _cluster_preserving(technique.zeros)
    if technique.zeros:
        return _module(
            "prune_preserve.default_8bit_prune_preserve_quantize_scheme"
        ).Default8BitPrunePreserveQuantizeScheme()
    return import_tfmot().quantization.keras.default_8bit.Default8BitQuantizeScheme()


def _cluster_preserving(zeros: bool) -> Any:
    """Its scheme, but with a quantizer for each layer: the shared one forgets zeros after a layer that has none."""
    schemes = _module("cluster_preserve.default_8bit_cluster_preserve_quantize_scheme")
    registries = _module("cluster_preserve.cluster_preserve_quantize_registry")
    kind = registries.Default8bitClusterPreserveQuantizeRegistry

    class Registry(kind):  # type: ignore[misc, valid-type]
        def get_quantize_config(self, layer: Any) -> Any:
            return kind(zeros).get_quantize_config(layer)

    class Scheme(schemes.Default8BitClusterPreserveQuantizeScheme):  # type: ignore[misc, name-defined]
        def get_quantize_registry(self) -> Any:
            return Registry(zeros)

    return Scheme(zeros)


def _module(name: str) -> Any:
    return importlib.import_module(f"{_PRESERVING}.{name}")


# Layers by name.


def _around(model: Any, wishes: Mapping[str, Any], wrap: Callable[[Any, Any], Any]) -> Any:
    """The model with a wrapper around each layer that is named, in nested models too.

    Raises ModelError for a name that no layer has.
    """
    keras = importlib.import_module("tf_keras")
    wishes = {_plain(name): wish for name, wish in wishes.items()}
    if strange := sorted(wishes.keys() - set(_names(model, ""))):
        raise ModelError(
            f"{strange[0]!r} is inside another layer, and tensorflow-model-optimization wraps whole layers only",
            f"leave it out of `layers`, or {NATIVE}",
        )

    def clone(found: Any, path: str) -> Any:
        def each(layer: Any) -> Any:
            if isinstance(layer, keras.Model):
                return clone(layer, f"{path}{layer.name}/")
            wish = wishes.get(_plain(layer.name), wishes.get(_plain(f"{path}{layer.name}")))
            return layer if wish is None else wrap(layer, wish)

        return keras.models.clone_model(found, input_tensors=None, clone_function=each)

    return clone(model, "")


def _names(model: Any, path: str) -> Iterator[str]:
    for layer in model.layers:
        yield from (_plain(layer.name), _plain(f"{path}{layer.name}"))
        if hasattr(layer, "layers"):
            yield from _names(layer, f"{path}{layer.name}/")


def _plain(name: str) -> str:
    return name.replace("/", "_")


# What goes wrong.


def _refused(cause: Exception, technique: str) -> ModelError:
    """The layer that the package does not take, in its words where it names none."""
    text = " ".join(str(cause).split())
    named = re.search(r"[Ll]ayer:? ?([\w./-]*?):?\s?<class '[\w.]*?(\w+)'>", text) or re.search(
        r"<()class '[\w.]*?(\w+)'>", text
    )
    if named:
        layer = " ".join(part for part in (repr(named[1]) if named[1] else "", f"({named[2]})") if part)
        return ModelError(f"tensorflow-model-optimization cannot {technique} layer {layer}", NATIVE)
    nested = "a model inside another model" if "inside another" in text else ""
    return ModelError(
        f"tensorflow-model-optimization cannot {technique} {nested or f'this model: {text[:300]}'}", NATIVE
    )
