"""An integer TFLite file as a Keras model that trains: each tensor on its grid, each weight rounded, straight through.

q = round(r / S) + Z with S and Z of the file (Jacob et al. 2018, arXiv:1712.05877, equation 1); the gradient passes
rounding unchanged (Bengio et al. 2013, arXiv:1308.3432) and is zero outside of the range, where it moves the bounds of
the range instead (Choi et al. 2018, arXiv:1805.06085, equation 3). Weights are symmetric in a narrow range, their
scale is that of the largest of the channel; a bias is an int32 with the scale of input times weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.stages.integer_graph import LEVELS, IntegerGraph
from edgekit.stages.integer_ops import RULES
from edgekit.stages.integer_pass import SMALLEST, Integers, Pass
from edgekit.stages.integer_weights import Weight
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]
RangeMode = Literal["learned", "moving", "calibrated"]

_ENDS = LEVELS | {"int16": (-32767, 32767)}  # symmetric, as its scale is that of the larger bound


def integer_model(
    graph: IntegerGraph, weights: dict[int, Weight], ranges: RangeMode = "learned", bits: dict[int, int] | None = None
) -> Any:
    """The Keras model of an integer graph, which computes what the file computes, on real inputs and outputs.

    `bits` gives kernels, by tensor, fewer bits than eight. Raises ModelError for an operator that nothing is known of.
    """
    unknown = {op.name: graph.tensors[op.outputs[0]].name for op in graph.operators if op.name not in RULES}
    if unknown:
        name, tensor = next(iter(unknown.items()))
        raise ModelError(
            f"no rule to train through the operator {name} ({tensor!r})",
            "use post-training int8 (leave qat out), or build the layer of other operations"
            + (" (of a recurrent layer: graph.unroll, or unroll=True)" if name == "WHILE" else ""),
        )
    keras = import_keras()
    inputs = [
        keras.Input(graph.tensors[i].shape[1:], dtype=_real(graph.tensors[i].dtype), name=f"input_{number}")
        for number, i in enumerate(graph.inputs)
    ]
    outputs = _layer_class()(graph, weights, ranges, dict(bits or {}), name="integer")(inputs)
    return keras.Model(inputs, outputs, name="integer")


def integers_of(model: Any) -> Integers:
    """What a trained model of `integer_model` (or a copy of it) puts into the file."""
    found: Integers = _layer(model).integers()
    return found


def operators_alone(model: Any, values: dict[int, Array]) -> Iterator[dict[int, Array]]:
    """What each operator, in order, makes of given real activations, by the index of the tensor."""
    for outputs in _layer(model).alone(values):
        yield {index: np.asarray(value) for index, value in outputs.items()}


def bounds_of(model: Any) -> Array:
    """Lower and upper bound of the range of each group, `[groups, 2]`."""
    return np.asarray(_layer(model).bounds())


def _layer(model: Any) -> Any:
    return next(layer for layer in model.layers if isinstance(layer, _layer_class()))


def _real(dtype: str) -> str:
    return "float32" if dtype in LEVELS or dtype == "uint8" else dtype


@cache
def _layer_class() -> Any:
    keras, tf = import_keras(), import_tensorflow()

    class IntegerNetwork(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """The whole graph; its weights are those of the float file, each channel of a kernel in its own unit."""

        def __init__(
            self,
            graph: IntegerGraph,
            starts: dict[int, Weight],
            ranges: RangeMode,
            bits: dict[int, int],
            **settings: Any,
        ) -> None:
            super().__init__(**settings)
            self.graph, self.ranges, self.bits = graph, ranges, bits
            self.starts = _Held(starts)

        def get_config(self) -> dict[str, Any]:
            return {
                "name": self.name,
                "graph": self.graph,
                "starts": self.starts.weights,
                "ranges": self.ranges,
                "bits": self.bits,
            }

        def build(self, _: Any = None) -> None:
            self.variables_of = {
                str(source): self._weight(f"weight_{source}", start.value, start.trainable)
                for source, start in self.starts.weights.items()
            }
            self.spans = self._weight("spans", _spans(self.graph).reshape(-1), False)
            self.stretch = self._weight("stretch", np.zeros(2 * len(self.graph.groups)), self.ranges == "learned")
            self.built = True

        def _weight(self, name: str, value: Array, trainable: bool) -> Any:
            weight = self.add_weight(shape=value.shape, initializer="zeros", trainable=trainable, name=name)
            weight.assign(value)
            return weight

        def real(self, source: int) -> Any:
            """A trained constant as the network uses it."""
            return self.variables_of[str(source)].value * self.starts.weights[source].unit

        def bounds(self) -> Any:
            """The bounds of each range, `[groups, 2]`."""
            return tf.reshape(self.spans.value * tf.exp(self.stretch.value), [-1, 2])

        def compute_output_spec(self, *_: Any, **__: Any) -> Any:
            tensors = [self.graph.tensors[index] for index in self.graph.outputs]
            return [keras.KerasTensor((None, *t.shape[1:]), dtype=_real(t.dtype)) for t in tensors]

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return self.run(inputs, bool(training), {})

        def run(self, inputs: Any, training: bool, values: dict[int, Any]) -> list[Any]:
            return Pass(self, training, values).run(list(inputs))

        def alone(self, values: dict[int, Array]) -> Iterator[dict[int, Any]]:
            one = Pass(self, False, {})
            for operator in self.graph.operators:
                one.values = {index: tf.constant(values[index]) for index in operator.inputs if index in values}
                one.step(operator)
                yield {index: one.values[index] for index in operator.outputs}

        def integers(self) -> Integers:
            return Pass(self, False, {}).integers()

        # The grids.

        def grids(self) -> tuple[Any, Any]:
            """Scale and zero point of each group; gradients pass the rounding of the zero point."""
            low, high = tf.unstack(self.bounds(), axis=1)
            given = [(t.scales[0], t.zero) for t in (self.graph.tensors[group[0]] for group in self.graph.groups)]
            wide = tf.constant([self.graph.tensors[group[0]].dtype == "int16" for group in self.graph.groups], "bool")
            scale = tf.where(wide, tf.maximum(-low, high) / 32767, tf.maximum(high - low, SMALLEST) / 255)
            zero = tf.where(wide, 0.0, tf.clip_by_value(tf.round(-128 - low / scale), -128, 127))
            dictated = tf.constant(self.graph.fixed, "bool")
            return (
                tf.where(dictated, tf.constant([s for s, _ in given], "float32"), scale),
                tf.where(dictated, tf.constant([z for _, z in given], "float32"), zero),
            )

    return IntegerNetwork


def _spans(graph: IntegerGraph) -> Array:
    """The range of each group, from the grid in the file."""
    firsts = [graph.tensors[group[0]] for group in graph.groups]
    bounds = [[(level - t.zero) * t.scales[0] for level in _ENDS[t.dtype]] for t in firsts]
    return np.array(bounds, np.float32).reshape(-1, 2)


class _Held:
    """The start values, out of the sight of Keras, which would track a dictionary."""

    def __init__(self, weights: dict[int, Weight]) -> None:
        self.weights = weights
