"""Kernels: the tensors of weights that a network multiplies with, by name, each also as a matrix.

Rows are outputs and columns are inputs, in the order in which TFLite stores the weights, so a block of `1x4` is four
neighbours in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.graph.walk import walk
from edgekit.tf import import_keras

Array = npt.NDArray[Any]
Kind = Literal["dense", "convolution", "pointwise", "depthwise", "embedding", "recurrent", "other"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """One tensor of weights. `name` is `layer/kernel`, `layer` the name in the flat graph, with the inner layers' names
    behind it (`attention/query`); `rows` are the axes that count outputs."""

    name: str
    layer: str
    kind: Kind
    variable: Any
    rows: tuple[int, ...]

    @property
    def value(self) -> Array:
        """The weights, in the shape of the variable."""
        return np.asarray(self.variable.numpy())

    @property
    def channels(self) -> int:
        """Input channels of a convolution, inputs of a dense layer."""
        inner = [size for axis, size in enumerate(self.variable.shape) if axis not in self.rows]
        return int(inner[-1]) if inner else 1

    def matrix(self, values: Array) -> Array:
        """Values in the shape of the variable as `[outputs, inputs]`."""
        front = np.moveaxis(values, self.rows, range(len(self.rows)))
        return front.reshape(int(np.prod(front.shape[: len(self.rows)])), -1)

    def shaped(self, matrix: Array) -> Array:
        """Back from `matrix` to the shape of the variable."""
        shape = tuple(self.variable.shape)
        rest = [size for axis, size in enumerate(shape) if axis not in self.rows]
        front = matrix.reshape([shape[axis] for axis in self.rows] + rest)
        return np.moveaxis(front, range(len(self.rows)), self.rows)


def kernels_of(model: Any) -> list[Kernel]:
    """Every kernel of a Keras model once, in the order of the graph; biases and statistics are none.

    Raises ModelError for a model whose calls cannot be seen.
    """
    found: dict[int, Kernel] = {}
    taken: set[str] = set()
    for name, layer in walk(model).layers.items():
        for path, inner in _with_inner(name, layer):
            for weight, kind, variable, rows in _weights_of(inner):
                if id(variable) not in found:
                    unique = _free(f"{path}/{weight}", taken)
                    found[id(variable)] = Kernel(unique, unique.rpartition("/")[0], kind, variable, rows)
    return list(found.values())


def _with_inner(path: str, layer: Any) -> Iterator[tuple[str, Any]]:
    """A layer and the layers that it is made of, as attention is of projections."""
    yield path, layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _with_inner(f"{path}/{inner.name}", inner)


def _free(wished: str, taken: set[str]) -> str:
    name, number = wished, 1
    while name in taken:
        layer, _, weight = wished.rpartition("/")
        name, number = f"{layer}_{number}/{weight}", number + 1
    taken.add(name)
    return name


def _weights_of(layer: Any) -> Iterator[tuple[str, Kind, Any, tuple[int, ...]]]:
    """Name, kind, variable and output axes of each kernel that belongs to this very layer."""
    keras = import_keras()
    named = _known(layer)
    for weight, kind in named:
        variable = getattr(layer, weight, None)
        if isinstance(variable, keras.Variable):
            yield weight, kind, variable, _rows(layer, kind, weight, len(variable.shape))
    if named or type(layer).__module__.startswith("keras."):
        return
    inner = {id(w) for part in layer._flatten_layers(include_self=False) for w in part.weights}
    for variable in layer.trainable_weights:
        if id(variable) not in inner and len(variable.shape) > 1:
            yield variable.name, "other", variable, (len(variable.shape) - 1,)


def _known(layer: Any) -> tuple[tuple[str, Kind], ...]:
    layers = import_keras().layers
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        return ("depthwise_kernel", "depthwise"), ("pointwise_kernel", "pointwise")
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return (("kernel", "depthwise"),)
    if isinstance(layer, (layers.Dense, layers.EinsumDense)):
        return (("kernel", "dense"),)
    if isinstance(layer, layers.Embedding):
        return (("embeddings", "embedding"),)
    if isinstance(layer, (*_plain(layers), *_transposed(layers))):
        pointwise = isinstance(layer, _plain(layers)) and set(layer.kernel_size) == {1}
        return (("kernel", "pointwise" if pointwise else "convolution"),)
    if hasattr(layer, "recurrent_kernel"):
        return ("kernel", "recurrent"), ("recurrent_kernel", "recurrent")
    return ()


def _plain(layers: Any) -> tuple[Any, ...]:
    return layers.Conv1D, layers.Conv2D, layers.Conv3D


def _transposed(layers: Any) -> tuple[Any, ...]:
    return layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose


def _rows(layer: Any, kind: Kind, weight: str, rank: int) -> tuple[int, ...]:
    """Axes that count the outputs."""
    layers = import_keras().layers
    if isinstance(layer, layers.EinsumDense):
        inputs, _, rest = layer.equation.replace(" ", "").partition(",")
        letters, _, outputs = rest.partition("->")
        return tuple(axis for axis, letter in enumerate(letters) if letter in outputs and letter not in inputs)
    if isinstance(layer, _transposed(layers)):
        return (rank - 2,)
    if kind == "depthwise":
        return rank - 2, rank - 1
    return (0,) if weight == "embeddings" else (rank - 1,)
