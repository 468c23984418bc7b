"""Layers of the user's own in quantization-aware training: what the converter made of them is trained, no protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import DataSpec
from edgekit.stages.integer_graph import read_graph
from edgekit.stages.integer_weights import Weight, weights_of
from edgekit.stages.quantize_aware import QuantizeAware, QuantizedAware, lowered, quantize_aware
from edgekit.stages.training import Training
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents

Array = np.ndarray[Any, Any]


def network() -> Any:
    """Gates, a learned scale, standardized kernels, noise in training, inner layers, and a sine that stays in float."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    class Gated(layers.Layer):  # type: ignore[misc,name-defined]
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], 16), name="kernel")
            self.gate = self.add_weight(shape=(shape[-1], 16), name="gate")

        def call(self, x: Any) -> Any:
            return ops.matmul(x, self.kernel) * ops.sigmoid(ops.matmul(x, self.gate))

    class Scaled(layers.Layer):  # type: ignore[misc,name-defined]
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.37), name="scale")

        def call(self, x: Any) -> Any:
            return 0.5 + x * self.scale

    class Standardized(layers.Conv2D):  # type: ignore[misc,name-defined]
        def call(self, x: Any) -> Any:
            centred = self.kernel - ops.mean(self.kernel, axis=(0, 1, 2))
            return ops.conv(x, centred / (ops.std(centred, axis=(0, 1, 2)) + 1e-3)) + self.bias

    class Noisy(layers.Layer):  # type: ignore[misc,name-defined]
        def call(self, x: Any, training: bool = False) -> Any:
            return x + keras.random.normal(ops.shape(x)) if training else ops.sin(x)

    class Block(layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.first, self.norm = layers.Dense(16, "relu", name="first"), layers.LayerNormalization(name="norm")

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.norm.build(shape)

        def call(self, x: Any) -> Any:
            return self.norm(self.first(x) + x)

    keras.utils.set_random_seed(0)
    stack = [keras.Input((6, 6, 2)), Standardized(4, 3, name="standard"), Standardized(4, 3, name="frozen")]
    stack += [Noisy(name="noisy"), Scaled(name="scaled"), layers.Flatten(), Gated(name="gated"), Block(name="block")]
    model = keras.Sequential([*stack, layers.Dense(3, name="last")], name="net")
    model.get_layer("frozen").trainable = model.get_layer("last").trainable = False
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


@pytest.fixture(scope="module")
def float32(model: Any) -> bytes:
    return lowered(model)


@pytest.fixture(scope="module")
def trained(model: Any, float32: bytes) -> QuantizedAware:
    rng = np.random.default_rng(0)
    train, calibration = (
        Part(name, (rng.normal(size=(416, 6, 6, 2)).astype(np.float32),)) for name in ("train", "cal")
    )
    data = Dataset(train, None, calibration, None, DataSpec("noise"), "", "none")
    stage = QuantizeAware(teacher=1.0, training=Training(epochs=4, batch_size=32, learning_rate=1e-3))
    return quantize_aware(model, stage, data, float_file=float32)


def by_layer(model: Any, float32: bytes, name: str) -> list[Weight]:
    graph = read_graph(float32, float32)
    weights = weights_of(graph, model)
    outputs = {source: graph.tensors[each.operator.outputs[0]].name for source, each in _constants(graph).items()}
    return [weight for source, weight in weights.items() if f"/{name}_1/" in outputs[source]]


def _constants(graph: Any) -> dict[int, Any]:
    return {each.source: each for each in graph.constants.values()}


def test_weights_that_are_used_as_they_are_are_found_in_the_file(model: Any, float32: bytes) -> None:
    kernels = [weight for weight in by_layer(model, float32, "gated") if weight.value.size == 16 * 16]
    for variable in (model.get_layer("gated").kernel, model.get_layer("gated").gate):
        assert any(np.array_equal(weight.value, np.asarray(variable)) and weight.trainable for weight in kernels)
    assert all(weight.trainable and not weight.derived for weight in by_layer(model, float32, "block"))


def test_a_learned_number_is_trained_and_other_numbers_are_not(model: Any, float32: bytes) -> None:
    (scale,) = by_layer(model, float32, "scaled")
    assert scale.trainable
    assert scale.value == pytest.approx(1.37)


def test_weights_computed_from_others_are_trained_unless_their_layer_is_frozen(model: Any, float32: bytes) -> None:
    standard, frozen = (
        [weight for weight in by_layer(model, float32, name) if weight.value.ndim == 4]
        for name in ("standard", "frozen")
    )
    assert [(weight.derived, weight.trainable) for weight in (*standard, *frozen)] == [(True, True), (True, False)]
    assert not any(weight.trainable for weight in by_layer(model, float32, "last"))


def test_the_integer_file_is_trained_and_says_what_was_done(trained: QuantizedAware) -> None:
    report = trained.report
    assert report.derived == ("standard",)
    assert report.frozen == ("frozen", "last")
    assert any(name.startswith("SIN") for name in report.float_operators)
    names = {operator.name for operator in read_contents(trained.file).operators}
    assert not {name for name in names if name.startswith("RANDOM")}
    changed = {kernel.tensor: kernel.changed for kernel in report.kernels}
    assert all((share > 0.01) != ("frozen" in name or name == "last") for name, share in changed.items()), changed
