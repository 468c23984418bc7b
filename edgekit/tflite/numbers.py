"""Between real values and what a file stores: real = (stored - zero_point) * scale (arXiv:1712.05877, equation 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.errors import DataError
from edgekit.tflite.inspect import TensorInfo

Array = np.ndarray[Any, Any]


def to_stored(real: Array, tensor: TensorInfo) -> Array:
    """Real values as the file stores them: rounded to the nearest quantum and clipped where the tensor has a scale.

    Integers given for an integer tensor are taken as stored values already. Raises DataError for a tensor of strings.
    """
    dtype = number_type(tensor)
    if tensor.scale is None or real.dtype.kind != "f":
        return real.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.round(real / tensor.scale) + (tensor.zero_point or 0), limits.min, limits.max).astype(dtype)


def number_type(tensor: TensorInfo) -> np.dtype[Any]:
    """The type of the numbers that an input takes. Raises DataError where it takes none, as strings."""
    try:
        return np.dtype(tensor.dtype)
    except TypeError:
        raise DataError(
            f"input {tensor.name!r} takes {tensor.dtype}s, which edgekit does not feed",
            "`edgekit inspect` shows what the model takes; leave what turns that into numbers out of the file",
        ) from None


def to_real(stored: Array, tensor: TensorInfo) -> Array:
    """Stored values as real ones, float32; those of a tensor without scale as they are."""
    if tensor.scale is None:
        return stored
    return ((stored.astype(np.float32) - (tensor.zero_point or 0)) * tensor.scale).astype(np.float32)
