"""Which channels of a model live and die together.

Every tensor carries an identity for each position of its last axis. A layer that makes channels (convolution, dense,
embedding) makes identities, which belong to its weights; an element-by-element operation on two tensors unites theirs;
concatenation, flatten and the like only move them (`edgekit.graph.channel_rules`). United identities are a *class*: it
is removed as a whole or not at all. Classes that run through the same layers are a *group*. Whatever is not understood
locks what enters it, with the reason; model inputs and outputs are locked.

This is the dependency analysis of DepGraph (Fang et al. 2023, arXiv:2301.12900), done on identities of channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.graph.channel_rules import apply_rule
from edgekit.graph.identities import Identities, Ids
from edgekit.graph.rebuild import cloned, fresh, loaded, per_operation, rebuild
from edgekit.graph.walk import Call, Graph, Tensor, tensors
from edgekit.tf import import_keras

Kept = np.ndarray[Any, np.dtype[np.bool_]]
"""For each class whether it stays."""


@dataclass(frozen=True)
class Slot:
    """An axis of a weight that runs along channels: `classes[i]` is the class of its position i.

    `weight` is the position in `layer.weights`; `made` is true where the layer makes these channels.
    """

    layer: str
    weight: int
    axis: int
    classes: Ids = field(repr=False)
    made: bool


@dataclass(frozen=True)
class Group:
    """Classes that run through the same layers; `makers` are the layers that make them.

    `reason` says why they cannot be removed; it is empty where they can.
    """

    classes: Ids = field(repr=False)
    makers: tuple[str, ...]
    reason: str = ""

    @property
    def size(self) -> int:
        """Number of channels that can be removed one by one."""
        return len(self.classes)


@dataclass(frozen=True)
class Channels:
    """The analysis of a graph.

    `carried` has the classes along the last axis of each tensor, None where that axis is open. `settings` gives for an
    operation what its configuration must say once some classes are gone.
    """

    graph: Graph = field(repr=False)
    classes: int
    carried: dict[Tensor, Ids | None] = field(repr=False)
    slots: dict[str, tuple[Slot, ...]] = field(repr=False)
    settings: dict[str, Callable[[Kept], dict[str, Any]]] = field(repr=False)
    groups: tuple[Group, ...]

    def weight_shape(self, name: str, place: int, kept: Kept) -> tuple[int, ...]:
        """Shape of a weight without the channels that are not kept."""
        shape = list(self.graph.operations[name].weights[place].shape)
        for slot in self.slots.get(name, ()):
            if slot.weight == place:
                shape[slot.axis] = int(kept[slot.classes].sum())
        return tuple(shape)

    def channels_made(self, name: str, kept: Kept) -> int | None:
        """How many channels a layer makes; None for one that makes none."""
        made = [slot for slot in self.slots.get(name, ()) if slot.made]
        return int(kept[made[0].classes].sum()) if made else None


def analyse(graph: Graph) -> Channels:
    """Find the groups of channels of a graph.

    Raises ModelError for a layer with the data format channels_first.
    """
    _refuse_channels_first(graph)
    found = Identities(graph)
    for tensor in tensors(graph.inputs):
        found.carried[tensor] = found.locked(tensor, "input of the model")
    for call in graph.calls:
        apply_rule(found, call)
    inside, found.reasons = found.reasons, []
    for tensor in tensors(graph.outputs):
        found.lock(found.carried[tensor], "output of the model")
    found.reasons += inside
    return _channels(graph, found)


def shrink(channels: Channels, kept: Kept) -> Any:
    """The model of the graph without the classes that are not `kept`: layers of its own, physically smaller."""

    def make(call: Call) -> Any:
        changes = channels.settings[call.name](kept) if call.name in channels.settings else {}
        if not isinstance(call.operation, import_keras().Layer):
            return cloned(call, **changes)
        weights = [
            sliced(channels, call.name, place, np.asarray(weight), kept)
            for place, weight in enumerate(call.operation.weights)
        ]
        return loaded(cloned(call, **changes), weights, call.operation)

    return rebuild(channels.graph, per_operation(make))


def sliced(channels: Channels, name: str, place: int, value: Any, kept: Kept) -> Any:
    """A weight without the channels that are not kept."""
    for slot in channels.slots.get(name, ()):
        if slot.weight == place:
            value = np.compress(kept[slot.classes], value, axis=slot.axis)
    return value


def zeroed(channels: Channels, kept: Kept) -> Any:
    """The model of the graph at its full size, in which every tensor is zero where it carries a class that is not kept.

    Its outputs are those of `shrink`, which is how the tests prove that.
    """
    make = per_operation(fresh)

    def masked(call: Call) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            outputs = make(call)(*args, **kwargs)
            flat = import_keras().tree.flatten(outputs)
            masks = [_mask(channels.carried[tensor], kept) for tensor in call.results]
            done = [x if mask is None else _silence(mask)(x) for x, mask in zip(flat, masks, strict=True)]
            return import_keras().tree.pack_sequence_as(outputs, done)

        return run

    return rebuild(channels.graph, masked)


def _mask(classes: Ids | None, kept: Kept) -> Any:
    return None if classes is None or kept[classes].all() else kept[classes]


def _silence(mask: Any) -> Any:
    """A layer that sets channels to zero and lets Keras masks through."""
    keras = import_keras()

    class Silence(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(autocast=False)
            self.supports_masking = True

        def call(self, x: Any) -> Any:
            return keras.ops.where(keras.ops.convert_to_tensor(mask), x, keras.ops.zeros_like(x))

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, x.dtype)

    return Silence()


def _refuse_channels_first(graph: Graph) -> None:
    for name, layer in graph.layers.items():
        if getattr(layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"layer {name!r} has the data format channels_first, which runs on no CPU and not in TFLite",
                "build the model with data_format='channels_last'",
            )


def _channels(graph: Graph, found: Identities) -> Channels:
    roots, classes = np.unique(found.roots(), return_inverse=True)

    def numbers(ids: Ids | None) -> Ids | None:
        return None if ids is None else classes[ids]

    slots: dict[str, tuple[Slot, ...]] = {}
    for (name, weight, axis), ids in found.slots.items():
        slot = Slot(name, weight, axis, classes[ids], (name, weight, axis) in found.made)
        slots[name] = (*slots.get(name, ()), slot)
    settings = {name: _setting(found, name, classes) for name in found.settings}
    carried = {tensor: numbers(ids) for tensor, ids in found.carried.items()}
    groups = _groups(len(roots), slots, carried, {int(classes[one]): reason for one, reason in reversed(found.reasons)})
    return Channels(graph, len(roots), carried, slots, settings, groups)


def _setting(found: Identities, name: str, classes: Ids) -> Callable[[Kept], dict[str, Any]]:
    setting = found.settings[name]

    def changed(kept: Kept) -> dict[str, Any]:
        return setting(lambda ids: int(kept[classes[ids]].sum()))

    return changed


def _groups(
    count: int,
    slots: dict[str, tuple[Slot, ...]],
    carried: dict[Tensor, Ids | None],
    reasons: dict[int, str],
) -> tuple[Group, ...]:
    """Classes that run through the same weights and tensors are a group, which is locked as soon as one of them is.

    So a group that keeps one class empties no tensor.
    """
    all_slots = [slot for found in slots.values() for slot in found]
    places: list[list[int]] = [[] for _ in range(count)]
    for number, ids in enumerate([*(slot.classes for slot in all_slots), *carried.values()]):
        for one in () if ids is None else np.unique(ids):
            places[one].append(number)
    makers = {number: slot.layer for number, slot in enumerate(all_slots) if slot.made}
    members: dict[tuple[int, ...], list[int]] = {}
    for one, numbers in enumerate(places):
        if not makers.keys().isdisjoint(numbers):
            members.setdefault(tuple(numbers), []).append(one)
    return tuple(
        Group(
            np.asarray(ones),
            tuple(dict.fromkeys(makers[number] for number in numbers if number in makers)),
            next((reasons[one] for one in ones if one in reasons), ""),
        )
        for numbers, ones in members.items()
    )
