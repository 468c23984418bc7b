"""Patches: a layer with weights as a regression, each row one position of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekit.doctor.layer_error import Array
from edgekit.stages.integer_graph import IntegerGraph, Operator
from edgekit.tf import import_tensorflow

_ROWS = 16_384
_MOST_VALUES = 32_000_000
_SAMPLES_AT_ONCE = 8
_PADDINGS = ("SAME", "VALID")
_BOUNDS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""What fused activations, by their number in the schema, cut their input to: none, ReLU, ReLU_N1_TO_1, ReLU6."""


@dataclass(frozen=True, eq=False)
class Patches:
    """Rows of what a layer reads, `[rows, values]`, and what it is to make of each, `[rows, channels]`.

    Kernels are in the layout of `kernel_layout`.
    """

    operator: Operator
    read: Array
    truth: Array

    def __len__(self) -> int:
        return len(self.truth)

    def at(self, rows: Any) -> Patches:
        """Some of the rows, by their numbers or as a slice."""
        return replace(self, read=self.read[rows], truth=self.truth[rows])

    def split(self) -> tuple[Patches, Patches]:
        """The first four fifths, and the rest; all and all where there are fewer than five."""
        cut = len(self) * 4 // 5
        return (self.at(slice(cut)), self.at(slice(cut, None))) if len(self) >= 5 else (self, self)

    def noise(self, kernel: Array, bias: Array) -> float:
        """The mean over rows of |truth - f(W x + b)|^2."""
        made = np.clip(self._product(kernel, bias), *self._bounds)
        return float(np.square(made - self.truth).sum(-1).mean())

    def slopes(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
        """How much the noise rises with each weight and with each bias."""
        low, high = self._bounds
        product = self._product(kernel, bias)
        off = (np.clip(product, low, high) - self.truth) * ((product > low) & (product < high)) * (2 / len(self))
        by_kernel = _PRODUCTS[self.operator.name][1](self._rows(kernel), off)
        return by_kernel.reshape(kernel.shape), off.sum(0)

    @property
    def _bounds(self) -> tuple[float, float]:
        return _BOUNDS[self.operator.options.fusedActivationFunction]

    def _product(self, kernel: Array, bias: Array) -> Array:
        return _PRODUCTS[self.operator.name][0](self._rows(kernel), kernel) + bias

    def _rows(self, kernel: Array) -> Array:
        """What is read, in a shape that goes with the kernel."""
        depthwise = self.operator.name == "DEPTHWISE_CONV_2D"
        return self.read.reshape(len(self), -1, kernel.shape[2]) if depthwise else self.read


def fits(graph: IntegerGraph, operator: Operator) -> bool:
    """Whether a layer can be taken apart: dense, or a convolution without groups; its activation cuts, or is none."""
    if operator.name not in _PRODUCTS or operator.options.fusedActivationFunction not in _BOUNDS:
        return False
    read, kernel = (graph.tensors[index].shape for index in operator.inputs[:2])
    return operator.name != "CONV_2D" or read[-1] == kernel[-1]


def patches_of(operator: Operator, window: tuple[int, ...], read: Any, truth: Any) -> Patches:
    """Rows from all samples, the same on every call; of convolutions at most 16384 and 128 MB, but one of each sample.

    `window` is height and width of the kernel of a convolution, `truth` what is to come out.
    """
    tf = import_tensorflow()
    channels = truth.shape[-1]
    if operator.name == "FULLY_CONNECTED":
        wanted = truth.numpy().reshape(-1, channels)
        return Patches(operator, read.numpy().reshape(len(wanted), -1), wanted)
    positions = int(np.prod(truth.shape[1:3]))
    values = window[0] * window[1] * read.shape[-1]
    most = max(1, min(_ROWS, _MOST_VALUES // values) // len(truth))
    chosen = np.random.default_rng(0).permutation(positions)[:most]
    places = [
        tf.gather(_unfolded(operator, window, read[first : first + _SAMPLES_AT_ONCE]), chosen, axis=1)
        for first in range(0, len(read), _SAMPLES_AT_ONCE)
    ]
    wanted = truth.numpy().reshape(-1, positions, channels)[:, chosen]
    return Patches(operator, tf.concat(places, 0).numpy().reshape(-1, values), wanted.reshape(-1, channels))


def _unfolded(operator: Operator, window: tuple[int, ...], images: Any) -> Any:
    """The patch before each position of the output, `[samples, positions, height * width * channels]`."""
    options = operator.options
    found = import_tensorflow().image.extract_patches(
        images,
        [1, *window, 1],
        [1, options.strideH, options.strideW, 1],
        [1, options.dilationHFactor or 1, options.dilationWFactor or 1, 1],
        _PADDINGS[options.padding],
    )
    return import_tensorflow().reshape(found, [found.shape[0], -1, found.shape[-1]])


def _product(rows: Array, kernel: Array) -> Array:
    made = import_tensorflow().matmul(rows, kernel.reshape(-1, kernel.shape[-1]))
    return np.asarray(made)


def _product_slope(rows: Array, off: Array) -> Array:
    return np.asarray(import_tensorflow().matmul(rows, off, transpose_a=True))


def _by_channel(rows: Array, kernel: Array) -> Array:
    made = np.einsum("nkc,kcm->ncm", rows, kernel.reshape(-1, *kernel.shape[2:]))
    return np.asarray(made.reshape(len(rows), -1))


def _by_channel_slope(rows: Array, off: Array) -> Array:
    return np.asarray(np.einsum("nkc,ncm->kcm", rows, off.reshape(len(rows), rows.shape[2], -1)))


# Products by TensorFlow: on a busy machine those of NumPy wait in a loop for cores, and take twenty times as long.
_PRODUCTS: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Array, Array], Array]]] = {
    "CONV_2D": (_product, _product_slope),
    "DEPTHWISE_CONV_2D": (_by_channel, _by_channel_slope),
    "FULLY_CONNECTED": (_product, _product_slope),
}
"""For each kind of layer: rows and kernel give the output; rows and its error the slope of each weight."""
