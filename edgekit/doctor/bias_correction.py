"""Bias correction: what rounding the weights shifts in the mean is taken from the biases; it costs nothing to run.

b_o -= sum_k (W_q - W)_ok E[x_k]: the mean of the error that the weights make, over real samples (Nagel et al. 2019,
arXiv:1906.04721, section 4.2, with measured means instead of those of a normalization).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.doctor.equalizable import CHANNEL_AXIS, INPUT_AXIS
from edgekit.doctor.layer_error import Array, by_channel
from edgekit.doctor.pairing import Pairing, paired
from edgekit.stages.inner_values import inner_values
from edgekit.stages.integer_graph import BIAS_PLACE, DATA_PLACE
from edgekit.tflite.constants import with_constants
from edgekit.tflite.graph import Operator, Tensor

_INT32 = 2**31 - 1


def correct_biases(quantized: bytes, source: bytes, samples: Sequence[Array]) -> bytes:
    """The int8 file with the biases of all its layers corrected on real-valued `samples`, one array for each input.

    Layers without an int32 bias of their own are left as they are. Raises ModelError where the files are no pair,
    RunError if the float file cannot be run.
    """
    pairing = paired(quantized, source)
    means = _means(inner_values(source, list(samples)))
    read = Counter(index for operator in pairing.int8.operators for index in operator.inputs)
    changed = {}
    for pair in pairing.operators:
        found = _corrected(pairing, pair, means)
        if found is not None and read[bias := pair[1].inputs[BIAS_PLACE[pair[1].name]]] == 1:
            changed[bias] = found
    return with_constants(quantized, changed) if changed else quantized


def _means(runs: Sequence[dict[int, Array]]) -> dict[int, Array]:
    """The mean of each channel of each float tensor over all runs."""
    return {
        index: np.mean([by_channel(run[index]).mean(0, dtype=np.float64) for run in runs if index in run], axis=0)
        for index, values in runs[0].items()
        if values.dtype.kind == "f" and values.size
    }


def _corrected(pairing: Pairing, pair: tuple[Operator, Operator], means: dict[int, Array]) -> Array | None:
    kernel, bias = pairing.kernel(pair), pairing.bias(pair)
    if kernel is None or bias is None or bias[1].dtype != "int32":
        return None
    place = DATA_PLACE[pair[1].name]
    mean, data = means.get(pair[0].inputs[place]), pairing.int8.tensors[pair[1].inputs[place]]
    if mean is None or not data.scales:
        return None
    off = _values(kernel[1]) * kernel[1].steps - _values(kernel[0])
    if len(mean) != off.shape[INPUT_AXIS[pair[1].name]]:
        return None  # a dense layer that flattens its input: its columns are no channels
    shift = _shift(pair[1], off, mean)
    steps = np.asarray(kernel[1].scales, np.float64) * data.scales[0]
    stored = _values(bias[1]).astype(np.float64) - shift.reshape(-1) / steps
    return np.clip(np.round(stored), -_INT32, _INT32).astype(np.int32)


def _shift(operator: Operator, off: Array, mean: Array) -> Array:
    """The mean of the error of each output channel, each position of which reads the whole kernel.

    One of a transposed convolution reads its share of it: the kernel spreads over the positions that an input makes.
    """
    if operator.name == "DEPTHWISE_CONV_2D":
        return np.asarray(off.sum((0, 1, 2)) * mean)
    axes = tuple(axis for axis in range(off.ndim) if axis != CHANNEL_AXIS[operator.name])
    options: Any = operator.options
    shares = options["StrideH"] * options["StrideW"] if operator.name == "TRANSPOSE_CONV" else 1
    return np.asarray((off * mean).sum(axes) / shares)


def _values(tensor: Tensor) -> Array:
    values: Any = tensor.values()
    assert values is not None  # pairs of constants only
    return np.asarray(values)
