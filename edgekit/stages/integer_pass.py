"""One pass through an integer graph: activations snapped to their grids, constants rounded, straight through.

`integer_model` has the formulas and the weights; here is what a run does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.stages.integer_graph import BIAS_PLACE, DATA_PLACE, LEVELS, MOVES, Constant, Operator
from edgekit.stages.integer_ops import channel_axes, compute, file_layout, kernel_layout, step_of
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]

SMALLEST = 1e-8
_FEWEST = 1e-6
_BIAS_LIMIT = 2.0**30
_MOMENTUM = 0.99


@dataclass(frozen=True, eq=False)
class Integers:
    """What the trained network puts into the file: the grid of each group, and each constant with its grid."""

    grids: tuple[tuple[float, int], ...]
    constants: dict[int, tuple[Array, tuple[float, ...], int]]


class Pass:
    """One run through the graph of `layer`, an `IntegerNetwork`; `values` are the activations that are known."""

    def __init__(self, layer: Any, training: bool, values: dict[int, Any]) -> None:
        self.layer, self.graph, self.training, self.values = layer, layer.graph, training, values
        self.scales, self.zeros = layer.grids()
        self._bounds = self._make_bounds()
        self._seen: dict[int, list[tuple[Any, Any]]] = {}
        self._floats: dict[int, Any] = {}
        self._kernel_scales: dict[int, Any] = {}

    def run(self, inputs: list[Any]) -> list[Any]:
        """The outputs for real inputs; while training with moving ranges, these follow what was seen.

        The range of an input is not learned: it is that of the data, and a first convolution's gradient by its input,
        which is needed for nothing else, takes a fifth of a step of DS-CNN.
        """
        for index, value in zip(self.graph.inputs, inputs, strict=True):
            self.values[index] = import_tensorflow().stop_gradient(self.snapped(index, value))
        for operator in self.graph.operators:
            self.step(operator)
        if self.training and self.layer.ranges == "moving":
            self._follow()
        return [self.values[index] for index in self.graph.outputs]

    def step(self, operator: Operator) -> None:
        """Compute one operator from the values of its inputs."""
        cut = self._is_cut(operator.outputs[0])
        step = step_of(self.graph, operator, lambda index: self.value(index, operator), cut)
        for index, value in zip(operator.outputs, compute(operator.name, step), strict=True):
            moved = operator.name in MOVES and self._same_grid(operator)
            self.values[index] = value if moved else self.snapped(index, value)

    def value(self, index: int, operator: Operator) -> Any:
        """What an operator reads: an activation, or a constant as the file has it."""
        tf = import_tensorflow()
        if index in self.values:
            return self.values[index]
        constant = self.graph.constants.get(index)
        if constant is None:
            return tf.constant(self.graph.tensors[index].data)
        return self._constant(constant, operator)[0]

    def snapped(self, index: int, value: Any) -> Any:
        """The value on the grid of its tensor."""
        tf = import_tensorflow()
        group = self.graph.group_of.get(index)
        if group is None or self.graph.tensors[index].data is not None:
            return value
        if self.training and self.graph.fixed[group] and index in self.graph.outputs:
            return value  # the loss takes logarithms of probabilities, which must not be rounded to zero
        if self.training and self.layer.ranges == "moving" and not self.graph.fixed[group]:
            self._seen.setdefault(group, []).append((tf.reduce_min(value), tf.reduce_max(value)))
        wide = self.graph.tensors[index].dtype == "int16"
        low, high = self._bounds[group]
        return tf.quantization.fake_quant_with_min_max_vars(value, low, high, 16 if wide else 8, wide)

    def integers(self) -> Integers:
        """Grids and constants, as NumPy has them."""
        found = {}
        for index, constant in self.graph.constants.items():
            _, whole, scale, zero = self._constant(constant, constant.operator)
            values = np.asarray(whole)
            if constant.role == "kernel":
                values = file_layout(constant.operator.name, values)
            scales = tuple(float(each) for each in np.ravel(scale))
            found[index] = (values.astype(constant.tensor.dtype), scales, int(zero))
        pairs = zip(self.scales.numpy(), self.zeros.numpy(), strict=True)
        return Integers(tuple((float(scale), int(zero)) for scale, zero in pairs), found)

    # Constants: real value, integers, scale, zero point.

    def _constant(self, constant: Constant, operator: Operator) -> tuple[Any, Any, Any, Any]:
        tf = import_tensorflow()
        group = self.graph.group_of.get(constant.tensor.index)
        if constant.source not in self.layer.starts.weights and group is None:
            tensor = constant.tensor
            layout = kernel_layout(operator.name, tensor.real, operator.options) if constant.role == "kernel" else None
            return tf.constant(tensor.real if layout is None else layout), tensor.data, tensor.scales, tensor.zero
        value = self._float(constant)
        if not constant.tensor.quantized:
            return value, value, (), 0
        if group is not None:
            return self._rounded(value, self.scales[group], self.zeros[group], constant)
        if constant.role == "bias":
            return self._bias(constant, value)
        if constant.role == "kernel":
            return self._rounded(value, self._kernel_scale(constant), 0.0, constant)
        return self._rounded(value, *self._operand_grid(constant, value), constant)

    def _float(self, constant: Constant) -> Any:
        """The real value; a variable is read once, as TensorFlow takes a second reading for another value."""
        source = constant.source
        if source not in self._floats:
            known = source in self.layer.starts.weights
            self._floats[source] = self.layer.real(source) if known else import_tensorflow().constant(constant.value)
        return self._floats[source]

    def _rounded(self, value: Any, scale: Any, zero: Any, constant: Constant) -> tuple[Any, Any, Any, Any]:
        tf = import_tensorflow()
        scale = tf.stop_gradient(scale)
        low, high = LEVELS.get(constant.tensor.dtype, (-(2**31), 2**31 - 128))
        whole = tf.clip_by_value(tf.round(value / scale) + zero, low + (constant.role == "kernel"), high)
        return value + tf.stop_gradient((whole - zero) * scale - value), whole, scale, zero

    def _bias(self, constant: Constant, value: Any) -> tuple[Any, Any, Any, Any]:
        tf = import_tensorflow()
        operator = constant.operator
        kernel = self.graph.constants[operator.inputs[1]]
        scale = self._input_scale(operator) * tf.reshape(self._kernel_scale(kernel), [-1])
        return self._rounded(value, scale, 0.0, constant)

    def _input_scale(self, operator: Operator) -> Any:
        source = operator.inputs[DATA_PLACE[operator.name]]
        return self.scales[self.graph.group_of[source]]

    def _kernel_scale(self, constant: Constant) -> Any:
        index = constant.tensor.index
        if index not in self._kernel_scales:
            self._kernel_scales[index] = self._make_kernel_scale(constant)
        return self._kernel_scales[index]

    def _make_kernel_scale(self, constant: Constant) -> Any:
        """The scale of each output channel, or of all: the largest weight is the last level.

        A channel next to nothing gets a scale with which its bias still fits into 32 bits.
        """
        tf, value = import_tensorflow(), self._float(constant)
        operator, levels = constant.operator, 2 ** (self.layer.bits.get(constant.tensor.index, 8) - 1) - 1
        channels = channel_axes(operator.name)
        per_channel = len(constant.tensor.scales) > 1
        axes = [axis for axis in range(len(value.shape)) if not (per_channel and axis in channels)]
        start = self.layer.starts.weights[constant.source]
        if start.shared and per_channel:
            reach = tf.reduce_max(tf.abs(self.layer.variables_of[str(constant.source)].value)) * abs(start.unit)
        else:
            reach = tf.reduce_max(tf.abs(value), axes, keepdims=True)
        scale = tf.maximum(reach, _FEWEST * tf.reduce_max(reach)) / levels
        bias = self._bias_reach(operator, scale.shape, per_channel)
        return tf.maximum(scale, tf.maximum(bias / (self._input_scale(operator) * _BIAS_LIMIT), 1e-30))

    def _bias_reach(self, operator: Operator, shape: Any, per_channel: bool) -> Any:
        tf = import_tensorflow()
        place = BIAS_PLACE[operator.name]
        index = operator.inputs[place] if len(operator.inputs) > place else -1
        if index not in self.graph.constants:
            return 0.0
        reach = tf.abs(self._float(self.graph.constants[index]))
        return tf.reshape(reach, shape) if per_channel else tf.reduce_max(reach)

    def _operand_grid(self, constant: Constant, value: Any) -> tuple[Any, Any]:
        tf = import_tensorflow()
        if constant.tensor.dtype == "int16":
            return tf.maximum(tf.reduce_max(tf.abs(value)), SMALLEST) / 32767, 0.0
        low, high = tf.minimum(tf.reduce_min(value), 0.0), tf.maximum(tf.reduce_max(value), 0.0)
        scale = tf.maximum(high - low, SMALLEST) / 255
        return scale, tf.clip_by_value(tf.round(-128 - low / scale), -128, 127)

    # Bounds of the grids.

    def _make_bounds(self) -> list[tuple[Any, Any]]:
        """The least and the greatest real value of each grid; gradients reach the bounds of the range."""
        tf = import_tensorflow()
        wide = tf.constant([self.graph.tensors[group[0]].dtype == "int16" for group in self.graph.groups], "bool")
        low = tf.where(wide, -32767.0, -128 - self.zeros) * self.scales
        high = tf.where(wide, 32767.0, 127 - self.zeros) * self.scales
        if self.layer.ranges == "learned":
            raw = tf.unstack(self.layer.bounds(), axis=1)
            low, high = (r + tf.stop_gradient(exact - r) for r, exact in zip(raw, (low, high), strict=True))
        return list(zip(tf.unstack(low), tf.unstack(high), strict=True))

    def _follow(self) -> None:
        """Move each range towards what this batch has shown (Jacob et al. 2018, section 3.1)."""
        tf = import_tensorflow()
        rows, bounds = [], self.layer.bounds()
        for group in range(len(self.graph.groups)):
            seen = self._seen.get(group)
            old = bounds[group]
            if seen is None:
                rows.append(old)
                continue
            low = tf.minimum(tf.reduce_min([pair[0] for pair in seen]), 0.0)
            high = tf.maximum(tf.reduce_max([pair[1] for pair in seen]), 0.0)
            rows.append(old * _MOMENTUM + tf.stack([low, high]) * (1 - _MOMENTUM))
        self.layer.spans.assign(tf.reshape(rows, [-1]))

    def _is_cut(self, index: int) -> bool:
        """Whether the grid begins at zero, and nobody looks at what is below it."""
        tensor = self.graph.tensors[index]
        watched = self.training and self.layer.ranges == "moving"
        return tensor.dtype == "int8" and tensor.quantized and tensor.zero == -128 and not watched

    def _same_grid(self, operator: Operator) -> bool:
        groups = {self.graph.group_of.get(i) for i in (*operator.outputs, *operator.inputs) if self._gridded(i)}
        return len(groups) == 1

    def _gridded(self, index: int) -> bool:
        return index >= 0 and self.graph.tensors[index].dtype in LEVELS
