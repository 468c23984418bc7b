"""Multiply-accumulates of one inference, from the shapes of each operator's tensors.

Shapes are TFLite's: activations `[batch, height, width, channels]`, convolution kernels `[out, height, width, in]`,
depthwise kernels `[1, height, width, out]`, dense kernels `[out, in]`. Operators that only move, compare or look up
data count zero, as do those whose products are not known here: custom ones, RNN and the bidirectional LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.tflite.flatbuffer import bounded_product

Shape = tuple[int, ...]


def operator_macs(name: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """MACs of one operator; zero for those that multiply nothing, are not known, or whose tensors are missing."""
    count = _COUNTS.get(name)
    try:
        return count(inputs, outputs) if count and outputs else 0
    except IndexError:  # fewer tensors or dimensions than the schema prescribes
        return 0


def _convolution(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return bounded_product(outputs[0]) * bounded_product(inputs[1][1:])


def _depthwise(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return bounded_product(outputs[0]) * bounded_product(inputs[1][1:3])


def _transposed(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Inputs are (output shape, kernel `[out, height, width, in]`, activations)."""
    kernel = inputs[1]
    return bounded_product(inputs[2]) * bounded_product((kernel[0], kernel[1], kernel[2]))


def _dense(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return bounded_product(outputs[0]) * max(inputs[1][-1], 1)


def _matmul(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """The first factor is `[..., rows, summed]` or, with `adj_x`, `[..., summed, rows]`; the output has the rows."""
    summed = bounded_product(inputs[0][-2:]) // max(outputs[0][-2], 1)
    return bounded_product(outputs[0]) * max(summed, 1)


def _lstm(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Four gates, each an input and a recurrent product, at every step of the sequence."""
    features, units = inputs[0][-1], outputs[0][-1]
    steps = bounded_product(inputs[0][:-1])
    return steps * 4 * units * (features + units)


def _svdf(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Weights by feature `[filters, features]` and by time `[filters, memory]`: each once for a sample."""
    return max(inputs[0][0], 1) * (bounded_product(inputs[1]) + bounded_product(inputs[2]))


_COUNTS: dict[str, Callable[[Sequence[Shape], Sequence[Shape]], int]] = {
    "CONV_2D": _convolution,
    "CONV_3D": lambda inputs, outputs: bounded_product(outputs[0]) * bounded_product(inputs[1][:4]),
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
