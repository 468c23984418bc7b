"""Masks: which weights are zero, recovered from a model, held at zero while it trains, or grown along a schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.stages import sparsity
from edgekit.stages.kernels import Kernel, kernels_of
from edgekit.stages.sparsity import Pattern
from edgekit.stages.training import Callback
from edgekit.tf import import_tensorflow

Mask = npt.NDArray[np.bool_]

_UPDATES = 50
PRUNED = 0.05


def masks_of(model: Any, at_least: float = PRUNED) -> dict[str, Mask]:
    """Which weights are not zero, for each kernel with a share of zeros of `at_least`, by name.

    It recovers the masks of a pruned model from its zeros, also after other rewrites. A share of a few per cent is
    needed because a trained kernel may have a zero by chance; a kernel of zeros alone has not been trained yet, as
    pruning leaves none empty.
    """
    masks = {kernel.name: kernel.value != 0 for kernel in kernels_of(model)}
    return {name: mask for name, mask in masks.items() if at_least <= 1 - mask.mean() < 1}


class Preserve(Callback):
    """Keep the zeros of a pruned model at zero through another training."""

    key = "preserve"

    def start(self, model: Any, steps: int) -> None:
        """Read the masks from the zeros of the copy."""
        masks = masks_of(model)
        self._hold([kernel for kernel in kernels_of(model) if kernel.name in masks])
        for variable, mask in zip(self.variables, masks.values(), strict=True):
            variable.assign(mask.astype(variable.dtype.as_numpy_dtype))

    def after_update(self) -> None:
        """Multiply each kernel by its mask."""
        for kernel, mask in zip(self._kernels, self.variables, strict=True):
            kernel.variable.assign(kernel.variable.value * mask)

    def _hold(self, kernels: list[Kernel]) -> None:
        tf = import_tensorflow()
        self._kernels = kernels
        self.variables = [
            tf.Variable(tf.ones(kernel.variable.shape, kernel.variable.dtype), trainable=False) for kernel in kernels
        ]


class Pruner(Preserve):
    """Grow the zeros of some kernels along the schedule, in about fifty steps, and hold them between.

    `shares` gives the final sparsity by name; zeros begin and are complete after the shares `begin` and `end` of the
    training.
    """

    def __init__(self, shares: dict[str, float], pattern: Pattern, begin: float, end: float, power: int) -> None:
        self.shares, self.pattern, self.begin, self.end, self.power = shares, pattern, begin, end, power
        self.key = repr((shares, pattern, begin, end, power))

    def start(self, model: Any, steps: int) -> None:
        """Find the kernels in the copy and fix the steps at which zeros are added."""
        self._hold([kernel for kernel in kernels_of(model) if kernel.name in self.shares])
        self._first, self._last = (min(int(part * steps), steps - 1) for part in (self.begin, self.end))
        self._every = max((self._last - self._first) // _UPDATES, 1)

    def before_step(self, step: int) -> None:
        """Add zeros where the schedule says so."""
        due = step == self._last or (step - self._first) % self._every == 0
        if not self._first <= step <= self._last or not due:
            return
        span = self._last - self._first
        progress = (step - self._first) / span if span else 1.0
        for kernel, variable in zip(self._kernels, self.variables, strict=True):
            share = sparsity.scheduled(self.shares[kernel.name], progress, self.power)
            mask = _mask(kernel, share, self.pattern)
            variable.assign(mask.astype(variable.dtype.as_numpy_dtype))
            kernel.variable.assign(kernel.value * mask)

    def settled(self, step: int) -> bool:
        """Whether the last zeros are in."""
        return step > self._last


def masks_for(model: Any, shares: dict[str, float], pattern: Pattern) -> list[tuple[Kernel, Mask]]:
    """The kernels that are named in `shares`, each with the mask that makes this share of its blocks zero."""
    return [
        (kernel, _mask(kernel, shares[kernel.name], pattern)) for kernel in kernels_of(model) if kernel.name in shares
    ]


def _mask(kernel: Kernel, share: float, pattern: Pattern) -> Mask:
    found: Mask = kernel.shaped(sparsity.mask(kernel.matrix(kernel.value), share, pattern))
    return found
