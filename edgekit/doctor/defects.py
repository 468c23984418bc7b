"""Defects: what is wrong with the numbers in an int8 file themselves, seen without running it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.doctor.equalizable import CHANNEL_AXIS, INPUT_AXIS
from edgekit.doctor.evidence import IN_FLOAT
from edgekit.doctor.pairing import Pairing, brief
from edgekit.finding import Finding
from edgekit.stages.integer_graph import DATA_PLACE, WEIGHTED
from edgekit.tflite.graph import Graph, Operator, Tensor

Array = npt.NDArray[Any]

_SPECIFICATION = "https://ai.google.dev/edge/litert/models/quantization_spec"
_JACOB = "arXiv:1712.05877, section 2.4"

DEAD_SCALE = 1e-10
"""A step with which all 256 levels span less than the rounding of float32 at 1: nothing but zero is left of values."""

MOST_SCALE = 1e10
_INT32 = 2.0**31
_ALIKE = 0.8


def unsound_scales(graph: Graph) -> Iterator[Finding]:
    """One error for each activation or kernel with a scale that is no step between numbers."""
    constants = {op.inputs[place] for op in graph.operators if (place := _place(op)) is not None}
    for index, tensor in enumerate(graph.tensors):
        weights = tensor.constant or index in constants
        if tensor.scales and (word := _fault(tensor, weights)):
            yield Finding(
                "error",
                "unsound-scale",
                brief(tensor.name),
                f"a scale of {word}: {'its weights' if weights else 'its values'} are all lost",
                "calibrate on data that reach this tensor, without infinities; look for a dead or exploding layer",
                _SPECIFICATION,
            )


def _place(operator: Operator) -> int | None:
    place = WEIGHTED.get(operator.name)
    return None if place is None or len(operator.inputs) <= place else place


def _fault(tensor: Tensor, weights: bool) -> str:
    bad = [s for s in tensor.scales if not isfinite(s) or s <= 0 or s > MOST_SCALE or (not weights and s < DEAD_SCALE)]
    return f"{bad[0]:.3g}" if bad else ""


def overflowing_biases(pairing: Pairing) -> Iterator[Finding]:
    """One error for each layer whose bias does not fit into int32 at the scale of input times weights."""
    for pair in pairing.operators:
        found, kernel = pairing.bias(pair), pairing.kernel(pair)
        if found is None or kernel is None or not kernel[1].scales or found[1].dtype != "int32":
            continue
        source = pairing.int8.tensors[pair[1].inputs[DATA_PLACE[pair[1].name]]]
        if not source.scales:
            continue
        real, stored = found[0].values(), found[1].values()
        assert real is not None  # pairing.bias gives only constants
        assert stored is not None
        steps = np.asarray(kernel[1].scales, np.float64) * source.scales[0]
        need = np.abs(real.reshape(-1) / steps)
        full = (need > _INT32) | (np.abs(stored.astype(np.float64)).reshape(-1) >= _INT32 - 128)
        if full.any():
            yield _overflow(pairing, pair[1], need, full)


def _overflow(pairing: Pairing, operator: Operator, need: Array, full: Array) -> Finding:
    worst = int(np.where(full, need, 0).argmax())
    return Finding(
        "error",
        "bias-overflow",
        brief(pairing.int8.tensors[operator.outputs[0]].name),
        f"the bias of {int(full.sum())} of {len(full)} channels does not fit into int32: channel {worst} needs "
        f"{need[worst]:.3g} steps, and there are 2147483647",
        f"the weights of these channels are next to nothing beside their bias: prune the channels, or {IN_FLOAT}",
        _JACOB,
    )


def other_weights(pairing: Pairing) -> Iterator[Finding]:
    """One error if the kernels of the int8 file are not those of the float file, whatever scales channels got."""
    strange = []
    for pair in pairing.operators:
        kernel = pairing.kernel(pair)
        if kernel is not None and kernel[1].scales and (alike := likeness(pair[1].name, *kernel)) < _ALIKE:
            strange.append((alike, pairing.int8.tensors[pair[1].outputs[0]].name))
    if strange:
        alike, name = min(strange)
        yield Finding(
            "error",
            "other-weights",
            brief(name),
            f"the weights of {len(strange)} layers are not those of the float file (cosine {alike:.2f} in the worst; "
            "rounding to int8 leaves above 0.99)",
            "the float model was trained further, or is another one: quantize it again, or give its own float file",
        )


def likeness(operator: str, real: Tensor, stored: Tensor) -> float:
    """The greater cosine of two readings of a float kernel and the integers of another.

    Either the float weights rounded at the scales of the file; or both freed of the scales of their channels, rows and
    columns divided by their norms in turn until both are 1, so that equalized layers count as the same.
    """
    values, integers = real.values(), stored.values()
    assert values is not None  # pairing.kernel gives only constants
    assert integers is not None
    integers = integers.astype(np.float64) - stored.zeros
    low, high = (0, 255) if stored.dtype == "uint8" else (-127, 127)
    with np.errstate(all="ignore"):
        rounded = np.clip(np.round(values / stored.steps), low - stored.zeros, high - stored.zeros)
    if not np.isfinite(rounded).all() or not rounded.any():
        return 1.0  # the scales are unsound, or all is lost: other rules say so
    balanced = (_balanced(operator, array.astype(np.float64)) for array in (values, integers))
    return max(_cosine(rounded, integers), _cosine(*balanced))


def _cosine(first: Array, second: Array) -> float:
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum() / norms) if norms > 0 else 0.0


def _balanced(operator: str, found: Array, rounds: int = 8) -> Array:
    for axis in [CHANNEL_AXIS[operator], INPUT_AXIS[operator]] * rounds:
        others = tuple(other for other in range(found.ndim) if other != axis)
        norm = np.sqrt(np.square(found).sum(others, keepdims=True))
        found = found / np.where(norm > 0, norm, 1)
    return found
