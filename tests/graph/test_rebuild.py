"""A model walked and rebuilt is the same model, with weights of its own, and the user's is left as it was."""

from __future__ import annotations

from typing import Any

import architectures
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.graph.rebuild import assign, copy, fresh, per_operation, rebuild, same
from edgekit.graph.walk import Call, walk
from edgekit.tf import import_keras

FAST = ("resnet8", "autoencoder", "conv1d", "unet", "two_in_two_out", "lstm", "gru", "vit", "nested", "shared")


def _check(name: str) -> None:
    model = architectures.build(name, dtype="float64")
    inputs = architectures.samples(model)
    wanted = architectures.outputs(model, inputs)
    twin = copy(model)
    for before, after in zip(wanted, architectures.outputs(twin, inputs), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-14)
    assert twin.count_params() == model.count_params()
    weighted = {name for name, layer in walk(model).layers.items() if layer.weights}
    assert {layer.name for layer in twin.layers if layer.weights} == weighted
    if name != "nested":  # whose layers get longer names
        shapes = [weight.shape for weight in model.weights]
        assert [weight.shape for weight in twin.weights] == shapes


@pytest.mark.parametrize("name", FAST)
def test_a_copy_computes_the_same(name: str) -> None:
    _check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in architectures.ALL if name not in FAST])
def test_a_copy_of_a_large_network_computes_the_same(name: str) -> None:
    _check(name)


def test_a_copy_has_weights_of_its_own() -> None:
    model = architectures.build("shared")
    before = [np.asarray(weight).copy() for weight in model.weights]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    for weight in copy(model).weights:
        weight.assign(weight * 0 + 7)
    assert all(np.array_equal(weight, old) for weight, old in zip(model.weights, before, strict=True))
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


def test_structure_and_names_of_inputs_and_outputs_are_kept() -> None:
    model = architectures.build("two_in_two_out")
    twin = copy(model)
    assert sorted(twin.input) == ["image", "vector"]
    assert sorted(twin.output) == ["kind", "value"]
    assert twin.output_names == model.output_names
    assert twin.name == model.name


def test_rebuilding_with_the_same_operations_shares_layers_and_weights() -> None:
    model = architectures.build("resnet8")
    twin = rebuild(walk(model), same)
    assert [layer.name for layer in twin.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights
    ]
    twin.get_layer(model.layers[-1].name).bias.assign([1.0] * 10)
    assert float(model.layers[-1].bias[0]) == 1.0


def test_same_refuses_names_that_clash_in_a_flat_model() -> None:
    with pytest.raises(ModelError, match="two layers are called 'conv'"):
        rebuild(walk(architectures.build("nested")), same)


def test_a_call_can_be_replaced_by_anything() -> None:
    keras = import_keras()
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.ReLU(name="relu")(inputs)))

    def doubled(call: Call) -> Any:
        return (lambda x: 2 * x) if call.name == "relu" else fresh(call)

    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    twin = rebuild(walk(model), per_operation(doubled))
    np.testing.assert_allclose(twin(x), model.layers[-1](2 * x), rtol=1e-6)


def test_other_tensors_can_become_outputs() -> None:
    model = architectures.build("resnet8")
    graph = walk(model)
    first = graph.calls[0].results[0]
    twin = rebuild(graph, same, outputs={"first": first, "last": graph.outputs})
    assert sorted(twin.output) == ["first", "last"]
    assert twin.output["first"].shape == first.shape


def test_a_layer_without_a_sound_configuration_is_named() -> None:
    keras = import_keras()

    class Scaled(keras.layers.Layer):
        def __init__(self, factor: float) -> None:
            super().__init__(name="scaled")
            self.factor = [factor]

        def call(self, x: Any) -> Any:
            return x * self.factor[0]

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

    inputs = keras.Input((3,))
    with pytest.raises(ModelError, match=r"'scaled'.*cannot be copied"):
        copy(keras.Model(inputs, Scaled(2.0)(inputs)))


def test_a_reason_without_words_is_given_by_its_kind() -> None:
    keras = import_keras()

    class Silent(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

        def get_config(self) -> dict[str, Any]:
            raise ValueError

    inputs = keras.Input((3,))
    with pytest.raises(ModelError, match=r"cannot be copied: ValueError\(\)"):
        copy(keras.Model(inputs, Silent()(inputs)))


def _half(x: Any) -> Any:
    return x * 0.5


def test_a_recurrent_layer_with_a_function_of_the_users_own_is_copied() -> None:
    keras = import_keras()
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.LSTM(2, activation=_half)(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(copy(model)(x), model(x), rtol=1e-6)


def test_weights_of_another_shape_are_refused() -> None:
    keras = import_keras()
    dense = keras.layers.Dense(2)
    dense.build((None, 3))
    with pytest.raises(ModelError, match=r"made weights \[\(3, 2\), \(2,\)\]"):
        assign(dense, [np.zeros((4, 2)), np.zeros(2)])
