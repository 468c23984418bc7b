"""Adaptive rounding: each weight goes up or down so that its layer computes what it does in float, not to the nearest.

AdaRound (Nagel et al. 2020, arXiv:2004.10568). Of a layer y = f(W x + b), f the fused activation, with the scale s:

    minimise |f(W x) - f(s (floor(W / s) + h(V)) x')|^2 + lambda sum(1 - |2 h(V) - 1|^beta)      (equations 21, 25)
    h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)                                                     (equation 23)

x' is what the integer file feeds the layer, with the layers before it rounded already, x what the float file does. beta
falls from 20 to 2, so that h moves freely at first and ends at 0 or 1. The error is taken as a share of what nearest
rounding leaves, so one lambda serves layers of any size. A layer learns from single positions of its output, each the
product of one patch of the input with the kernel; biases are learned with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.doctor.layer_error import Array
from edgekit.doctor.pairing import brief
from edgekit.doctor.patches import Patches, fits, patches_of
from edgekit.doctor.stepwise import Walk, affordable, real_of, steps_of
from edgekit.stages.integer_graph import IntegerGraph, Operator, read_graph
from edgekit.stages.integer_ops import file_layout, kernel_layout
from edgekit.talk import Say
from edgekit.tflite.constants import with_constants
from edgekit.tflite.surgery import without_negation

ITERATIONS = 500
_ROWS_A_STEP = 256
_LEARNING_RATE = 0.02
_LAMBDA = 0.1
_WARM = 0.2
_BETA = (20.0, 2.0)
_STRETCH = (-0.1, 1.1)
_INT32 = 2**31 - 1
_CASTS = {"QUANTIZE", "DEQUANTIZE"}


def round_adaptively(
    quantized: bytes,
    source: bytes,
    samples: Sequence[Array],
    *,
    iterations: int = ITERATIONS,
    say: Say = lambda _: None,
) -> bytes:
    """The int8 file with the weights of its layers rounded anew on real-valued `samples`, one array for each input.

    A weight becomes one of the two integers around its float value, a bias any; scales and activations stay. A layer is
    left as it was where that is no nearer to float on the last fifth of the samples, from which it does not learn. Left
    are also transposed and grouped convolutions, and biases that several layers share. Fewer samples are taken where
    tensors are large. Raises ModelError where the files are no pair, operator by operator, or have an operator that
    TensorFlow has no rule for.
    """
    start = without_negation(source)
    ours, theirs = read_graph(quantized, start), read_graph(start, start)
    samples = [array[: affordable(theirs)] for array in samples]
    real, integer = Walk(theirs, samples), Walk(ours, samples)
    truths = iter(theirs.operators)
    for operator in ours.operators:
        twin = None if operator.name in _CASTS else next(truths)
        if twin is not None:
            real.step(twin)
            if _is_open(ours, operator, integer.constants):
                say(f"doctor: round {brief(ours.tensors[operator.outputs[0]].name)}")
                integer.constants |= _rounded(_Layer(ours, operator), integer, real.values[twin.outputs[0]], iterations)
        integer.step(operator)
    return with_constants(quantized, integer.constants) if integer.constants else quantized


def _is_open(graph: IntegerGraph, operator: Operator, done: dict[int, Array]) -> bool:
    """Whether an operator has an int8 kernel that is not rounded anew yet."""
    if not fits(graph, operator):
        return False
    kernel = graph.tensors[operator.inputs[1]]
    return kernel.dtype == "int8" and kernel.index in graph.constants and kernel.index not in done


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer of the integer file: its kernel by integers, and its bias."""

    graph: IntegerGraph
    operator: Operator

    @property
    def below(self) -> Array:
        """The integers below the float weights."""
        kernel = self.graph.constants[self.operator.inputs[1]]
        return np.asarray(np.floor(kernel.value / steps_of(kernel.tensor)), np.float64)

    @property
    def share(self) -> Array:
        """How far above them the float weights are, 0 to 1."""
        kernel = self.graph.constants[self.operator.inputs[1]]
        return np.asarray(kernel.value / steps_of(kernel.tensor) - self.below)

    @property
    def bias(self) -> int:
        """The tensor of the bias, -1 where there is none."""
        return self.operator.inputs[2] if len(self.operator.inputs) > 2 else -1

    @property
    def learns_bias(self) -> bool:
        """Whether the bias is this layer's own."""
        return self.bias >= 0 and sum(self.bias in operator.inputs for operator in self.graph.operators) == 1

    def with_weights(self, up: Array, shift: Array) -> dict[int, Array]:
        """The constants with these weights rounded up, and a shift added to the biases in real numbers."""
        kernel = self.graph.tensors[self.operator.inputs[1]]
        found = {kernel.index: np.clip(self.below + up, -127, 127).astype(np.int8)}
        if self.learns_bias:
            tensor = self.graph.tensors[self.bias]
            assert tensor.data is not None
            stored = tensor.data + np.round(shift / np.asarray(tensor.scales, np.float64))
            found[self.bias] = np.clip(stored, -_INT32, _INT32).astype(tensor.dtype)
        return found


def _rounded(layer: _Layer, walk: Walk, truth: Any, iterations: int) -> dict[int, Array]:
    """The constants of a layer, learned; nothing where they are no nearer to `truth` than those in the file."""
    operator, tensors = layer.operator, walk.graph.tensors
    shape = tensors[operator.inputs[1]].shape
    patches = patches_of(operator, shape[1:3], walk.read(tensors[operator.inputs[0]], operator), truth)
    learned, unseen = patches.split()
    begun = _constants(layer, {})
    unit = learned.noise(*begun)
    if not unit:
        return {}
    found = layer.with_weights(*_learn(layer, learned, unit, iterations))
    return found if unseen.noise(*_constants(layer, found)) < unseen.noise(*begun) else {}


def _constants(layer: _Layer, stored: dict[int, Array]) -> tuple[Array, Array]:
    """Kernel (in TensorFlow's layout) and bias in real numbers, as they are in the file or would be."""
    tensors, index = layer.graph.tensors, layer.operator.inputs[1]
    kernel = _layout(layer.operator, real_of(tensors[index], stored.get(index)))
    if layer.bias < 0:
        return kernel, np.zeros(1, np.float32)
    return kernel, real_of(tensors[layer.bias], stored.get(layer.bias))


def _learn(layer: _Layer, patches: Patches, unit: float, iterations: int) -> tuple[Array, Array]:
    """Which weights go up (1) or down (0), in the layout of the file, and what is added to each bias."""
    operator, kernel = layer.operator, layer.graph.tensors[layer.operator.inputs[1]]
    step = _layout(operator, np.broadcast_to(steps_of(kernel), kernel.shape)).astype(np.float32)
    below = _layout(operator, layer.below).astype(np.float32) * step
    bias = _constants(layer, {})[1]
    spread = np.float32(np.sqrt(unit / patches.truth.shape[-1]) * layer.learns_bias)
    v, shift = _Adam(_start(_layout(operator, layer.share))), _Adam(np.zeros(patches.truth.shape[-1], np.float32))
    random = np.random.default_rng(0)
    for number in range(iterations):
        some = patches.at(random.integers(0, len(patches), _ROWS_A_STEP))
        up = _up(v.value)
        by_kernel, by_bias = some.slopes(below + step * up, bias + spread * shift.value)
        pull = _pull(up, number / iterations)
        v.step((by_kernel * step / unit + pull) * _rise(v.value, up))
        shift.step(by_bias * spread / unit)
    goes_up = (_up(v.value) >= 0.5).astype(np.float64)
    return file_layout(operator.name, goes_up).reshape(kernel.shape), spread * shift.value


class _Adam:
    """Values that go down a slope (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1)."""

    def __init__(self, value: Array) -> None:
        self.value, self.count = value, 0
        self.mean, self.square = np.zeros_like(value), np.zeros_like(value)

    def step(self, slope: Array) -> None:
        """One step against the slope."""
        self.count += 1
        self.mean += 0.1 * (slope - self.mean)
        self.square += 0.001 * (slope * slope - self.square)
        size = _LEARNING_RATE * np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        self.value -= np.float32(size) * self.mean / (np.sqrt(self.square) + np.float32(1e-8))


def _layout(operator: Operator, kernel: Array) -> Array:
    return kernel_layout(operator.name, kernel, operator.options)


def _start(share: Array) -> Array:
    """V with which h(V) is where the float weight is between its two integers."""
    low, high = _STRETCH
    part = (np.clip(share, 1e-3, 1 - 1e-3) - low) / (high - low)
    return np.asarray(np.log(part / (1 - part)), np.float32)


def _up(v: Array) -> Array:
    low, high = _STRETCH
    return np.clip((high - low) / (1 + np.exp(-v)) + low, 0, 1)


def _rise(v: Array, up: Array) -> Array:
    """How much h(V) rises with V: nothing at its two ends."""
    sigmoid = 1 / (1 + np.exp(-v))
    return (_STRETCH[1] - _STRETCH[0]) * sigmoid * (1 - sigmoid) * ((up > 0) & (up < 1))


def _pull(up: Array, progress: float) -> Array:
    """The slope of the term that pulls each weight to one of its two integers, once the warm start is over."""
    if progress < _WARM:
        return np.zeros_like(up)
    beta = _BETA[0] + (_BETA[1] - _BETA[0]) * (progress - _WARM) / (1 - _WARM)
    away = 2 * up - 1
    return np.asarray(-2 * beta * np.sign(away) * np.abs(away) ** (beta - 1) * (_LAMBDA / up.size), np.float32)
