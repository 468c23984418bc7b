"""Legacy models with the wrappers of tensorflow-model-optimization: what each computes, as plain Keras layers.

A wrapper in the configuration becomes the layers that compute the same, one after the other; references to its name
then mean the last of them. The weights follow: a pruned weight is weight * mask, a clustered one is its nearest
centroid (the definitions of `strip_pruning` and `strip_clustering`). The package itself is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.model.heal import Healing
from edgekit.model.tfmot_qat import QUANTIZED, chain_of, ranges_of, rounded, targets_of

Array = npt.NDArray[Any]
Named = tuple[str, Array]
Entry = dict[str, Any]

_PRUNED, _CLUSTERED = {"PruneLowMagnitude"}, {"ClusterWeights", "ClusterWeightsRNN", "ClusterWeightsMHA"}
WRAPPERS = _PRUNED | _CLUSTERED | QUANTIZED
_WORDS = (
    (_PRUNED, "pruning wrapper of tensorflow-model-optimization removed, weights multiplied by their mask"),
    (_CLUSTERED, "clustering wrapper of tensorflow-model-optimization removed, weights set to the nearest centroid"),
    (
        QUANTIZED,
        "quantization-aware wrapper of tensorflow-model-optimization removed, trained ranges and rounding kept",
    ),
)
_PRUNING_STATE = {"mask", "threshold", "pruning_step"}
_CENTROIDS, _INDICES = "cluster_centroids_", "pulling_indices_"
_MOST_CENTROIDS = 4096
_AGAIN = "save the model again from its source, or strip it there (`strip_pruning`, `strip_clustering`)"


@dataclass(frozen=True)
class Wrapper:
    """A wrapper as it stood in the file: its class and settings, and the names of the layers that replace it."""

    kind: str
    settings: Entry
    chain: tuple[str, ...]

    @property
    def layer(self) -> Entry:
        """Settings of the layer that it wraps."""
        found: Entry = self.settings["layer"]["config"]
        return found


Wrappers = dict[str, Wrapper]


@dataclass(frozen=True)
class _Unwrapping:
    """What is found while a configuration is read: `stored` names the weights of each group of the file."""

    origin: str
    stored: Mapping[str, list[str]]
    wrappers: Wrappers


def unwrap(config: Any, stored: Mapping[str, list[str]], origin: str) -> tuple[Any, Wrappers]:
    """The configuration with every wrapper replaced, and the wrappers by their names.

    `stored` names the weights of each group of the file, which tell what ranges a quantizing wrapper has. Raises
    ModelError for a wrapper without a layer, for two of one name around different layers, and for a quantization that
    is not the 8-bit default.
    """
    state = _Unwrapping(origin, stored, {})
    return _renamed(_unwrapped(config, state), state.wrappers), state.wrappers


def told(wrappers: Wrappers, healing: Healing) -> None:
    """Note in `healing` what was done to each wrapped layer."""
    for wrapper in wrappers.values():
        kind = next(word for kinds, word in _WORDS if wrapper.kind in kinds)
        healing.note(kind, wrapper.chain[0])


def name_outputs(model: Any, wrappers: Wrappers) -> None:
    """Call an output as the layer was called whose wrapper gave it, for labels go by that name."""
    ends = {wrapper.chain[-1]: wrapper.chain[0] for wrapper in wrappers.values() if len(wrapper.chain) > 1}
    for end in {tensor._keras_history.operation.name for tensor in model.outputs} & set(ends):
        first, last = model.get_layer(ends[end]), model.get_layer(end)
        first.name, last.name = f"{ends[end]}_inner", ends[end]


def plain_weights(stored: list[Named], group: str, wrappers: Wrappers, targets: list[Any], origin: str) -> list[Named]:
    """The weights of one group of the file, as `targets` (those of the plain layer, or a model of such) take them.

    Raises ModelError where the state of a wrapper does not fit its weights.
    """
    owners = {wrapper.chain[0]: name for name, wrapper in wrappers.items()}
    owned: dict[str, list[Named]] = {}
    for name, value in stored:
        scope = name.split("/")[0]
        owner = group if group in wrappers else owners.get(scope, scope)
        owned.setdefault(owner, []).append((name, value))
    found: list[Named] = []
    for owner, values in owned.items():
        wrapper = wrappers.get(owner)
        found += _applied(wrapper, owner, values, origin) if wrapper else values
    return _ordered(found, targets)


def _unwrapped(node: Any, state: _Unwrapping) -> Any:
    if isinstance(node, list):
        return [part for item in node for part in _parts(item, state)]
    if isinstance(node, dict):
        return {key: _unwrapped(value, state) for key, value in node.items()}
    return node


def _parts(node: Any, state: _Unwrapping) -> list[Any]:
    """What stands for an item of a list: itself, or where it is a wrapper the chain of its layers."""
    if not isinstance(node, dict) or node.get("class_name") not in WRAPPERS:
        return [_unwrapped(node, state)]
    name = _checked(node, state.origin)
    layers = _chain(node, name, state)
    chain = tuple(str(layer["config"]["name"]) for layer in layers)
    wrapper = Wrapper(str(node["class_name"]), node["config"], chain)
    if state.wrappers.setdefault(name, wrapper).chain != chain:
        raise ModelError(
            f"{state.origin}: two wrappers called {name!r} hold different layers", "rename one of the layers"
        )
    return _called(layers, node["inbound_nodes"]) if "inbound_nodes" in node else layers


def _chain(node: Entry, name: str, state: _Unwrapping) -> list[Entry]:
    if node["class_name"] in QUANTIZED:
        layers = chain_of(node, ranges_of(state.stored.get(name, [])), state.origin)
    else:
        layers = [node["config"]["layer"]]
    first = {**layers[0], "config": _with_input_shape(layers[0]["config"], node["config"])}
    return [first, *layers[1:]]


def _called(layers: list[Entry], nodes: list[Any]) -> list[Entry]:
    """The layers with their calls: the first takes what the wrapper took, each other what the one before gave."""
    found, before = [], ""
    for layer in layers:
        inbound = [[[before, number, 0, {}]] for number in range(len(nodes))] if before else nodes
        before = str(layer["config"]["name"])
        found.append({**layer, "name": before, "inbound_nodes": inbound})
    return found


def _checked(node: Entry, origin: str) -> str:
    """The name of a wrapper. Raises ModelError where it wraps nothing."""
    settings = node.get("config")
    if not isinstance(settings, dict) or "name" not in settings:
        raise ModelError(f"{origin}: a {node['class_name']} without a name", _AGAIN)
    inner = settings.get("layer")
    named = isinstance(inner, dict) and isinstance(inner.get("config"), dict) and "name" in inner["config"]
    if not named and node["class_name"] != "QuantizeLayer":
        raise ModelError(f"{origin}: a {node['class_name']} without the layer that it wraps", _AGAIN)
    return str(settings["name"])


def _with_input_shape(inner: Entry, outer: Entry) -> Entry:
    shape = outer.get("batch_input_shape")
    return {"batch_input_shape": shape, **inner} if shape else inner


def _renamed(node: Any, wrappers: Wrappers) -> Any:
    """The configuration with references `[layer, node, tensor, ...]` to a wrapper meaning the last of its chain."""
    if isinstance(node, dict):
        return {key: _renamed(value, wrappers) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    if len(node) >= 3 and isinstance(node[0], str) and node[0] in wrappers and isinstance(node[1], int):
        return [wrappers[node[0]].chain[-1], *(_renamed(item, wrappers) for item in node[1:])]
    return [_renamed(item, wrappers) for item in node]


def _applied(wrapper: Wrapper, name: str, values: list[Named], origin: str) -> list[Named]:
    apply = _pruned if wrapper.kind in _PRUNED else _clustered if wrapper.kind in _CLUSTERED else _rounded
    try:
        found = list(apply(wrapper, values))
    except (ValueError, LookupError) as cause:
        raise ModelError(f"{origin}: the state of {wrapper.kind} {name!r} does not fit: {cause}", _AGAIN) from cause
    return [(f"{wrapper.chain[0]}/{key.partition('/')[2]}" if _scope(key) == name else key, v) for key, v in found]


def _pruned(wrapper: Wrapper, values: list[Named]) -> Iterator[Named]:
    """Each weight times its mask: the masks stand in the order of the weights that they are for."""
    masks = [value for name, value in values if _leaf(name) == "mask"]
    for name, value in values:
        if _leaf(name) in _PRUNING_STATE:
            continue
        if masks and masks[0].shape == value.shape and _leaf(name) in _PRUNABLE:
            value = value * masks.pop(0)
        yield name, value
    if masks:
        raise ValueError(f"a mask of shape {masks[0].shape} has no weight of that shape")


_PRUNABLE = {"kernel", "recurrent_kernel", "pointwise_kernel", "embeddings"}


def _clustered(wrapper: Wrapper, values: list[Named]) -> Iterator[Named]:
    """Each clustered weight at its nearest centroid, as at the last call; the others unchanged."""
    state = {_leaf(name): value for name, value in values}
    plain = [(name, value) for name, value in values if not _leaf(name).startswith((_CENTROIDS, _INDICES))]
    pending = {leaf.removeprefix(_CENTROIDS): value for leaf, value in state.items() if leaf.startswith(_CENTROIDS)}
    for name, value in plain:
        key = next((key for key in pending if _same_weight(key, name)), None)
        if key is not None:
            value = _nearest(wrapper, value, pending.pop(key), state.get(_INDICES + key))
        yield name, value
    if pending:
        raise ValueError(f"the centroids of {next(iter(pending))!r} have no weight")


def _rounded(wrapper: Wrapper, values: list[Named]) -> Iterator[Named]:
    """Each weight with a range rounded to it; the others unchanged, the ranges left out."""
    state = {_leaf(name): value for name, value in values}
    learned = ranges_of(list(state))
    for name, value in values:
        leaf = _leaf(name)
        if leaf == "optimizer_step" or leaf.removesuffix("_min").removesuffix("_max") in learned - {leaf}:
            continue
        yield name, rounded(value, state[f"{leaf}_min"], state[f"{leaf}_max"]) if leaf in learned else value


def trained_ranges(stored: list[Named], name: str, wrapper: Wrapper) -> dict[str, tuple[Array, Array]]:
    """The ranges (low, high) that a quantizing wrapper learned, by the names of the layers that round to them."""
    state = {_leaf(key): value for key, value in stored}
    layers = targets_of(name, wrapper.kind, wrapper.chain[0]) if wrapper.kind in QUANTIZED else {}
    return {layers[kind]: (state[f"{kind}_min"], state[f"{kind}_max"]) for kind in layers if f"{kind}_min" in state}


def _same_weight(key: str, name: str) -> bool:
    """Whether `key` (`kernel`, `kernel/0` of a cell, `_query_dense.kernel` of an attention) means the weight `name`."""
    path = name.split(":")[0].split("/")
    inner, _, leaf = key.rpartition(".")
    if inner:
        part = inner.strip("_").removesuffix("_dense")
        return path[-1] == leaf and path[-2:-1] == [{"output": "attention_output"}.get(part, part)]
    return path[-1] == key.split("/")[0]


def _nearest(wrapper: Wrapper, weight: Array, centroids: Array, indices: Array | None) -> Array:
    if centroids.ndim not in (1, 2) or not 0 < centroids.shape[-1] <= _MOST_CENTROIDS:
        raise ValueError(f"centroids of shape {centroids.shape}")
    if centroids.ndim == 1:
        return _nearest_of(weight, centroids, indices, bool(wrapper.settings.get("preserve_sparsity")))
    axis = 1 if wrapper.layer.get("data_format") == "channels_first" else weight.ndim - 1
    if len(centroids) != weight.shape[axis]:
        raise ValueError(f"centroids for {len(centroids)} channels, and {weight.shape[axis]} channels of weights")
    parts = zip(np.moveaxis(weight, axis, 0), centroids, strict=True)
    channels = [_nearest_of(part, own, None, False) for part, own in parts]
    return np.moveaxis(np.stack(channels), 0, axis)


def _nearest_of(weight: Array, centroids: Array, indices: Array | None, keep_zeros: bool) -> Array:
    """The centroid with the least |weight - centroid|, the first of equals."""
    if keep_zeros and indices is not None and indices.shape == weight.shape:
        zero = int(np.abs(centroids).argmin())
        centroids = np.where(np.arange(len(centroids)) == zero, 0, centroids).astype(centroids.dtype)
        weight = np.where(indices == zero, 0, weight).astype(weight.dtype)
    found = np.full_like(weight, centroids[0])
    least = np.abs(weight - centroids[0])
    for centroid in centroids[1:]:
        distance = np.abs(weight - centroid)
        found = np.where(distance < least, centroid, found)
        least = np.minimum(distance, least)
    return found


def _ordered(values: list[Named], targets: list[Any]) -> list[Named]:
    """The values in the order of `targets`, by the last two parts of their names, or by the last and the shape."""
    keys: list[Callable[[str, Any], Any]] = [
        lambda name, value: tuple(name.split(":")[0].split("/")[-2:]),
        lambda name, value: (_leaf(name), tuple(np.shape(value))),
    ]
    for key in keys:
        left: dict[Any, list[Named]] = {}
        for name, value in values:
            left.setdefault(key(name, value), []).append((name, value))
        wanted = [key(target.path, target) for target in targets]
        if sorted(map(repr, wanted)) == sorted(map(repr, _repeated(left))):
            return [left[item].pop(0) for item in wanted]
    return values


def _repeated(left: dict[Any, list[Named]]) -> Iterable[Any]:
    return (key for key, values in left.items() for _ in values)


def _leaf(name: str) -> str:
    """The own name of a weight: `mask`, `kernel`, `cluster_centroids_kernel/0`."""
    parts = name.split(":")[0].split("/")
    if len(parts) > 1 and parts[-1].isdigit() and parts[-2].startswith((_CENTROIDS, _INDICES)):
        return "/".join(parts[-2:])
    return parts[-1]


def _scope(name: str) -> str:
    return name.split("/")[0]
