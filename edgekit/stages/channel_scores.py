"""How much each channel matters: five criteria, each a score for every class of channels, larger is more important.

With the filter F_j that makes channel j (all weights of the kernel along that channel):

    l1                 sum |F_j|                                 Li et al. 2017, arXiv:1608.08710, section 3.1
    l2                 sqrt(sum F_j^2)
    geometric_median   sum_k ||F_j - F_k||                       He et al. 2019, arXiv:1811.00250, equation 4
    bn_scale           |gamma_j| of BatchNormalization           Liu et al. 2017, arXiv:1708.06519, section 3
    taylor             mean over batches of (sum g w)^2          Molchanov et al. 2019, arXiv:1906.10771, section 3.1

A class that several layers make, as in a residual stage, has the mean of their scores; the first three are divided by
the mean of their layer first, so that layers compare. `taylor` adds the g w of all makers before squaring, because they
are removed together, and takes the scale and offset of a BatchNormalization, where one follows, as the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.graph.channels import Channels, Slot
from edgekit.stages import losses
from edgekit.tf import import_tensorflow

Criterion = Literal["l1", "l2", "bn_scale", "geometric_median", "taylor"]
Array = npt.NDArray[Any]
Scores = npt.NDArray[np.float64]
"""One score for each class; NaN where the criterion cannot say."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `taylor` needs: batches of (inputs, targets) and the loss of (outputs, targets), both flat lists."""

    loss: Callable[[list[Any], list[Any]], Any] = field(repr=False)
    batches: Sequence[tuple[Sequence[Array], Sequence[Array]]] = field(repr=False)


def scores(channels: Channels, criterion: Criterion, model: Any = None, evidence: Evidence | None = None) -> Scores:
    """The score of every class; `taylor` needs the model that `channels` was found in, and evidence."""
    if criterion == "taylor":
        assert evidence is not None  # the stage has refused the recipe otherwise
        return taylor(channels, model, evidence)
    if criterion == "bn_scale":
        return _mean(channels, [(slot, np.abs(_value(channels, slot))) for slot in _gates(channels, "gamma")])
    measure = _MEASURES[criterion]
    found = [(slot, measure(_filters(_value(channels, slot), slot))) for slot in _made(channels)]
    return _mean(channels, [(slot, _relative(values)) for slot, values in found])


def taylor(channels: Channels, model: Any, evidence: Evidence) -> Scores:
    """First-order estimate of the squared change of the loss when a class goes."""
    gates = [slot for name in ("gamma", "beta") for slot in _gates(channels, name)]
    gated = np.zeros(channels.classes, bool)
    for slot in gates:
        gated[slot.classes] = True
    makers = [slot for slot in _made(channels) if not gated[slot.classes].any()]
    slots = [*gates, *makers, *_biases(channels, makers)]
    total = np.zeros(channels.classes)
    for gradients in _gradients(channels, model, evidence, slots):
        change = np.zeros(channels.classes)
        for slot, gradient in zip(slots, gradients, strict=True):
            np.add.at(change, slot.classes, _filters(gradient * _value(channels, slot), slot).sum(axis=1))
        total += change**2
    known = np.zeros(channels.classes, bool)
    for slot in slots:
        known[slot.classes] = True
    return np.where(known, total / len(evidence.batches), np.nan)


def _gradients(channels: Channels, model: Any, evidence: Evidence, slots: list[Slot]) -> Any:
    tf = import_tensorflow()
    variables = [_variable(channels, slot).value for slot in slots]
    for inputs, targets in evidence.batches:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = evidence.loss(
                losses.call(model, inputs, training=False), [tf.constant(target) for target in targets]
            )
        found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        yield [np.asarray(tf.convert_to_tensor(gradient), np.float64) for gradient in found]


def _made(channels: Channels) -> list[Slot]:
    return [slot for found in channels.slots.values() for slot in found if slot.made]


def _gates(channels: Channels, weight: str) -> list[Slot]:
    """The slots of the scales (`gamma`) or offsets (`beta`) of BatchNormalization layers that have them."""
    operations = channels.graph.operations
    return [
        slot
        for name, found in channels.slots.items()
        for slot in found
        if type(operations[name]).__name__ == "BatchNormalization"
        and _variable(channels, slot) is getattr(operations[name], weight, None)
    ]


def _biases(channels: Channels, makers: list[Slot]) -> list[Slot]:
    """The slots of the biases of these layers."""
    names = {slot.layer for slot in makers}
    return [
        slot
        for name in channels.slots
        if name in names
        for slot in channels.slots[name]
        if _variable(channels, slot) is getattr(channels.graph.operations[name], "bias", None)
    ]


def _variable(channels: Channels, slot: Slot) -> Any:
    return channels.graph.operations[slot.layer].weights[slot.weight]


def _value(channels: Channels, slot: Slot) -> Array:
    return np.asarray(_variable(channels, slot), np.float64)


def _filters(value: Array, slot: Slot) -> Array:
    """Weights as `[channels, all others]`."""
    return np.moveaxis(value, slot.axis, 0).reshape(value.shape[slot.axis], -1)


def _distances(filters: Array) -> Array:
    """Sum of the distances of each filter to all others."""
    squares = (filters**2).sum(axis=1)
    product = filters @ filters.T
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * product, 0)).sum(axis=1))


_MEASURES: dict[str, Callable[[Array], Array]] = {
    "l1": lambda filters: np.abs(filters).sum(axis=1),
    "l2": lambda filters: np.sqrt((filters**2).sum(axis=1)),
    "geometric_median": _distances,
}


def _relative(values: Array) -> Array:
    mean = values.mean()
    return values / mean if mean > 0 else values


def _mean(channels: Channels, found: list[tuple[Slot, Array]]) -> Scores:
    total, count = np.zeros(channels.classes), np.zeros(channels.classes)
    for slot, values in found:
        np.add.at(total, slot.classes, values)
        np.add.at(count, slot.classes, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
