"""Centroids: which weights share a value, recovered from a model, and held together while it trains.

With the assignments held, the gradient of a centroid is that of all its weights (Han et al. 2016, arXiv:1510.00149,
section 3.3); here their mean, so that the learning rate means the same for clusters of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.stages.kernels import Kernel, kernels_of
from edgekit.stages.training import Callback
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]

MOST = 256
_SHARED = 2


@dataclass(frozen=True, eq=False)
class Centroids:
    """The values of a kernel and which weight has which: `values[indices[i]]` is weight `i` of `rows`.

    `rows [codebooks, weights]` has one codebook for each channel, or one in all; `indices` count through all codebooks,
    `sizes` tells the values in each. Values ascend within a codebook.
    """

    values: Array
    indices: npt.NDArray[np.int64]
    sizes: tuple[int, ...]

    @property
    def local(self) -> npt.NDArray[np.int64]:
        """Indices that begin at 0 in each codebook, as a file would store them."""
        starts = np.cumsum((0, *self.sizes[:-1]))
        return np.asarray(self.indices - starts[:, None])


def centroids(kernel: Kernel, weights: Array, per_channel: bool) -> Centroids:
    """The distinct values of a kernel, or of each of its channels."""
    rows = kernel.matrix(weights) if per_channel else weights.reshape(1, -1)
    found = [np.unique(row, return_inverse=True) for row in rows]
    sizes = tuple(len(values) for values, _ in found)
    starts = np.cumsum((0, *sizes[:-1]))
    indices = np.stack([inverse.ravel() + start for (_, inverse), start in zip(found, starts, strict=True)])
    return Centroids(np.concatenate([values for values, _ in found]), indices, sizes)


def centroids_of(model: Any) -> dict[str, Centroids]:
    """The codebooks of a clustered model, recovered from its weights, also after other rewrites; by kernel name.

    A kernel counts as clustered where it, or each of its channels, has 2 to 256 distinct values, each shared by two
    weights or more on average. Zeros are not counted: a pruned kernel has many without being clustered.
    """
    return {kernel.name: found for kernel in kernels_of(model) if (found := _recovered(kernel))}


def _recovered(kernel: Kernel) -> Centroids | None:
    weights = kernel.value
    for per_channel in (False, True):
        found = centroids(kernel, weights, per_channel)
        distinct, used = np.count_nonzero(found.values), np.count_nonzero(weights)
        if 2 <= max(found.sizes) <= MOST and distinct * _SHARED <= used:
            return found
    return None


class ClusterPreserve(Callback):
    """Keep a clustered model clustered while it trains: the centroids move, the assignments and zeros stay.

    A step of gradient descent becomes one on the centroids; of optimizers that scale the step of each weight (Adam) the
    mean of the steps is taken.
    """

    key = "clusters"

    def start(self, model: Any, steps: int = 0) -> None:
        """Read the centroids and assignments from the weights of the copy."""
        tf = import_tensorflow()
        self._kernels = {kernel.name: kernel for kernel in kernels_of(model)}
        self._found = centroids_of(model)
        self._ids = {name: tf.constant(self._flat(name, each), tf.int32) for name, each in self._found.items()}
        self._free = {name: tf.constant(each.values != 0, each.values.dtype) for name, each in self._found.items()}
        self.variables = [tf.Variable(each.values, trainable=False) for each in self._found.values()]

    def after_update(self) -> None:
        """Move each centroid by the mean of what its weights moved, and give it to all of them."""
        tf = import_tensorflow()
        for name, centroid in zip(self._found, self.variables, strict=True):
            variable, ids = self._kernels[name].variable, self._ids[name]
            moved = tf.reshape(variable.value, [-1]) - tf.gather(centroid, ids)
            mean = tf.math.unsorted_segment_mean(moved, ids, len(self._free[name]))
            centroid.assign_add(mean * self._free[name])
            variable.assign(tf.reshape(tf.gather(centroid, ids), variable.shape))

    def _flat(self, name: str, found: Centroids) -> Array:
        """Index of each weight in the order of the variable."""
        kernel = self._kernels[name]
        return (kernel.shaped(found.indices) if len(found.sizes) > 1 else found.indices).ravel()
