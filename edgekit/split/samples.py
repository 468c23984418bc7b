"""Samples to hold a split against its model with: random, where there are none of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.errors import DataError
from edgekit.split.plan import Port

Array = np.ndarray[Any, Any]


def random_samples(ports: Sequence[Port], count: int, seed: int = 0) -> list[Array]:
    """`[count, *shape]` for each input: the whole range where it has a scale, [-1, 1) for floats, 0 or 1 else.

    The same as `edgekit benchmark` feeds, so that an index never leaves its table.
    """
    random = np.random.default_rng(seed)
    return [_random(random, port, count) for port in ports]


def as_samples(arrays: Sequence[Array], ports: Sequence[Port]) -> list[Array]:
    """Arrays `[rows, ...]` of data as whole inputs `[samples, *shape]`; what does not fill a batch is left out.

    Raises DataError for arrays that do not fit.
    """
    found = []
    for array, port in zip(arrays, ports, strict=True):
        batch = port.shape[0] if port.shape else 1
        count = len(array) // batch
        if not count or array.shape[1:] != port.shape[1:]:
            problem = f"samples of shape {list(array.shape)} for {port.name!r}, which takes {list(port.shape)}"
            raise DataError(problem, f"give at least {batch} samples of its shape")
        found.append(array[: count * batch].reshape(count, *port.shape))
    return found


def _random(random: np.random.Generator, port: Port, count: int) -> Array:
    dtype, shape = np.dtype(port.dtype), (count, *port.shape)
    if dtype.kind == "f":
        return (random.random(shape) * 2 - 1).astype(dtype)
    if port.scale is None or dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max + 1, shape, dtype=dtype)
