"""Faults planted into sound networks, one a function: what makes an int8 file bad, in the fewest lines.

Each takes a `Net` and gives a `Patient`: the float file, the int8 file, and the data with which a user comes. Where the
fault is in the weights, the float file computes what it computed before, so that only int8 suffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from patients import Net

from edgekit.data.parts import Dataset
from edgekit.doctor.equalizable import links
from edgekit.tflite.constants import with_constants
from edgekit.tflite.graph import Graph, Operator, read_graph
from edgekit.tflite.surgery import pack, unpack


@dataclass(frozen=True)
class Patient:
    """What is brought to the doctor."""

    source: bytes
    quantized: bytes
    data: Dataset


@dataclass(frozen=True)
class Planted:
    """A fault by the code of its cause, the network that it goes into, and what plants it."""

    code: str
    net: str
    plant: Callable[[Net], Patient]


class Weights:
    """The layers with weights of a float file, to be edited: kernels `[out, height, width, in]`, or depthwise."""

    def __init__(self, net: Net) -> None:
        self.net, self.graph = net, read_graph(net.file)
        self.changed: dict[int, np.ndarray] = {}

    def layer(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias, to be changed in place, of the layer whose output has this in its name."""
        return self._of(_operator(self.graph, part))

    def all(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same of every layer."""
        return [self._of(operator) for operator in _weighted(self.graph)]

    def linked(self, *readers: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """The same of the first two layers between which a scale passes, where the second is one of these operators."""
        link = next(link for link in links(self.graph) if not readers or link.second.name in readers)
        return self._of(link.first), self._of(link.second)

    def _of(self, operator: Operator) -> tuple[np.ndarray, np.ndarray]:
        return self._array(operator.inputs[1]), self._array(operator.inputs[2])

    def _array(self, index: int) -> np.ndarray:
        values = self.graph.tensors[index].values()
        assert values is not None
        return self.changed.setdefault(index, values.copy())

    def edited(self) -> Net:
        return self.net.with_file(with_constants(self.net.file, self.changed))


def _operator(graph: Graph, part: str) -> Operator:
    return next(
        op
        for op in graph.operators
        if part in graph.tensors[op.outputs[0]].name and op.name in ("CONV_2D", "FULLY_CONNECTED")
    )


def _channels(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A view of a kernel whose last axis counts the channels that it makes, as it does in depthwise ones."""
    return kernel if kernel.shape[0] != len(bias) else np.moveaxis(kernel, 0, -1)


def _scaled(net: Net, factors: Callable[[int], np.ndarray]) -> Net:
    """Channels that one layer makes are multiplied, and the weights that the next one has for them divided."""
    weights = Weights(net)
    (kernel, bias), (reader, _) = weights.linked()
    by = factors(len(bias)).astype(np.float32)
    _channels(kernel, bias)[...] *= by
    bias *= by
    reader /= by
    return weights.edited()


# In the weights.


def outlier_weight_channel(net: Net) -> Patient:
    """One channel of a convolution is a hundred times larger than all others, and weights have one scale."""
    return _per_tensor(_scaled(net, lambda channels: np.where(np.arange(channels) == 5, 100, 1)))


def scale_disparity(net: Net) -> Patient:
    """Channels from 1 to 1/300, as folding a batch normalization leaves them, and weights have one scale."""
    return _per_tensor(_scaled(net, lambda channels: np.logspace(0, -2.5, channels)))


def per_tensor_weights(net: Net) -> Patient:
    """The same before a ReLU6, which does not let a scale pass."""
    weights = Weights(net)
    kernel, bias = weights.layer("stem")
    left, right = weights.layer("left")[0], weights.layer("right")[0]
    factors = np.where(np.arange(24) % 2, 1, 1 / 40).astype(np.float32)
    kernel *= factors.reshape(-1, 1, 1, 1)
    bias *= factors
    left /= factors
    right /= factors
    return _per_tensor(weights.edited())


def outlier_weights(net: Net) -> Patient:
    """A channel that is always zero is read with huge weights: they change nothing, but set the scales."""
    weights = Weights(net)
    (kernel, bias), (reader, _) = weights.linked("CONV_2D")
    _channels(kernel, bias)[..., 7], bias[7] = 0, -1
    reader[..., 7] = 300 * np.abs(reader).max()
    return _usual(weights.edited())


# In the range of activations.


def activation_outlier(net: Net) -> Patient:
    """One of the calibration samples is a hundred times brighter than any real one."""
    samples = net.arrays["x_train"][:200].copy()
    samples[17] *= 100
    return Patient(net.file, net.int8(samples=samples), net.data())


def narrow_range(net: Net) -> Patient:
    """Calibrated on samples that are much darker than the real ones."""
    return Patient(net.file, net.int8(samples=net.arrays["x_train"][:200] * 0.15), net.data())


def saturated_sigmoid(net: Net) -> Patient:
    """One channel before the sigmoid is so large that it is open or shut; the others have to use its grid."""
    weights = Weights(net)
    kernel, bias = weights.layer("gated")
    kernel[3] *= 100
    bias[3] *= 100
    return _usual(weights.edited())


def saturated_hard_swish(net: Net) -> Patient:
    """One channel before the hard-swish is far below zero, where that is zero."""
    weights = Weights(net)
    weights.layer("swished")[1][3] = -5000
    return _usual(weights.edited())


def concat_scales(net: Net) -> Patient:
    """Two branches of unlike size are joined; what reads them makes up for it."""
    weights = Weights(net)
    (kernel, bias), (reader, _) = weights.layer("right"), weights.layer("swished")
    kernel /= 200
    bias /= 200
    reader[..., 16:] *= 200
    return _usual(weights.edited())


def tiny_output(net: Net) -> Patient:
    """One output is a thousand times larger than the other: ink in pixels, height in metres."""
    weights = Weights(net)
    kernel, bias = weights.layer("measures")
    kernel[0] *= 1000
    bias[0] *= 1000
    edited = weights.edited()
    labels = net.changed("y", lambda y: y * np.array([1000, 1], np.float32))
    return Patient(edited.file, edited.int8(), edited.data(**labels))


# In the integers of the file.


def dead_scale(net: Net) -> Patient:
    """The scale of an inner tensor is next to nothing, as a layer that is silent on all samples leaves it."""
    return Patient(net.file, _with_scale(net.int8(), 1e-20), net.data())


def infinite_scale(net: Net) -> Patient:
    """The scale of an inner tensor is infinite, as a sample with an infinity in it leaves it."""
    return Patient(net.file, _with_scale(net.int8(), np.inf), net.data())


def bias_overflow(net: Net) -> Patient:
    """A channel has a bias and almost no weights, so its step is too small for an int32 to reach the bias."""
    weights = Weights(net)
    kernel, bias = weights.all()[2]
    _channels(kernel, bias)[..., 3] *= 1e-9
    bias[3] = 0.01
    patient = _usual(weights.edited())
    return Patient(patient.source, _with_true_scales(patient, 2), patient.data)


def biased_error(net: Net) -> Patient:
    """Weights were cut off instead of rounded, as a careless quantizer does: all errors point downwards."""
    quantized = net.int8()
    ours, theirs, cut = read_graph(quantized), read_graph(net.file), {}
    for one, other in zip(_weighted(ours), _weighted(theirs), strict=True):
        kernel, real = ours.tensors[one.inputs[1]], theirs.tensors[other.inputs[1]].values()
        shape = [1, 1, 1, -1] if kernel.quantized_axis == 3 else [-1] + [1] * (len(kernel.shape) - 1)
        cut[one.inputs[1]] = np.floor(real / np.reshape(kernel.scales, shape)).clip(-127, 127).astype(np.int8)
    return Patient(net.file, with_constants(quantized, cut), net.data())


def other_weights(net: Net) -> Patient:
    """The int8 file was made before the model was trained anew."""
    weights, random = Weights(net), np.random.default_rng(0)
    for kernel, _ in weights.all():
        kernel[...] = random.permutation(kernel.reshape(-1)).reshape(kernel.shape)
    return Patient(net.file, weights.edited().int8(), net.data())


# In the data.


def labels(net: Net) -> Patient:
    """The classes of the labels begin at another number than those of the model."""
    return Patient(net.file, net.int8(), net.data(**net.changed("y", lambda y: (y + 1) % 10)))


def preprocessing(net: Net) -> Patient:
    """The samples are scaled once more than in training."""
    return Patient(net.file, net.int8(), net.data(**net.changed("x", lambda x: x * net.scale)))


def _usual(net: Net) -> Patient:
    return Patient(net.file, net.int8(), net.data())


def _per_tensor(net: Net) -> Patient:
    return Patient(net.file, net.int8("per-tensor"), net.data())


def _weighted(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]


def _with_scale(quantized: bytes, scale: float) -> bytes:
    tree = unpack(quantized)
    graph = tree.subgraphs[0]
    graph.tensors[graph.operators[1].outputs[0]].quantization.scale = [scale]
    return pack(tree)


def _with_true_scales(patient: Patient, number: int) -> bytes:
    """The int8 file with the scales that the weights of a layer ask for, and the biases at the end of int32.

    That is what some converters write.
    """
    ours, theirs = read_graph(patient.quantized), read_graph(patient.source)
    one, other = _weighted(ours)[number], _weighted(theirs)[number]
    kernel, real, bias = ours.tensors[one.inputs[1]], theirs.tensors[other.inputs[1]].values(), one.inputs[2]
    others = tuple(axis for axis in range(4) if axis != kernel.quantized_axis)
    least = np.abs(real).max(others, keepdims=True) / 127
    tree = unpack(patient.quantized)
    graph = tree.subgraphs[0]
    graph.tensors[one.inputs[1]].quantization.scale = least.ravel().tolist()
    graph.tensors[bias].quantization.scale = (least.ravel() * ours.tensors[one.inputs[0]].scales[0]).tolist()
    whole = np.round(real / least).astype(np.int8)
    steps = theirs.tensors[other.inputs[2]].values() / graph.tensors[bias].quantization.scale
    stored = np.clip(steps, -(2**31), 2**31 - 1).astype(np.int64).astype(np.int32)
    return with_constants(pack(tree), {one.inputs[1]: whole, bias: stored})


PLANTED = (
    Planted("outlier-weight-channel", "digits", outlier_weight_channel),
    Planted("scale-disparity", "digits", scale_disparity),
    Planted("per-tensor-weights", "branched", per_tensor_weights),
    Planted("outlier-weights", "digits", outlier_weights),
    Planted("activation-outlier", "digits", activation_outlier),
    Planted("narrow-range", "digits", narrow_range),
    Planted("saturated-activation", "branched", saturated_sigmoid),
    Planted("saturated-activation", "branched", saturated_hard_swish),
    Planted("concat-scales", "branched", concat_scales),
    Planted("tiny-output", "measuring", tiny_output),
    Planted("unsound-scale", "digits", dead_scale),
    Planted("unsound-scale", "digits", infinite_scale),
    Planted("bias-overflow", "digits", bias_overflow),
    Planted("biased-error", "branched", biased_error),
    Planted("other-weights", "digits", other_weights),
    Planted("labels", "digits", labels),
    Planted("preprocessing", "digits", preprocessing),
)
