"""A model walked and rebuilt is the same model, with weights of its own, and the user's is left as it was."""

from __future__ import annotations

from collections.abc import Callable
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
    with pytest.raises(ModelError, match=r"cannot be copied: ValueError\n"):
        copy(keras.Model(inputs, Silent()(inputs)))


def _own_layers() -> dict[str, Callable[[], Any]]:
    """Layers as people write them, and what Keras's own ones hold of them."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    class Block(layers.Layer):
        def __init__(self, width: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.dense = layers.Dense(width)

        def build(self, shape: Any) -> None:
            self.dense.build(shape)

        def call(self, x: Any) -> Any:
            return self.dense(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return (*shape[:-1], self.dense.units)

    class Nameless(Block):
        def __init__(self, width: int) -> None:
            super().__init__(width)

    class Described(Nameless):
        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "width": self.dense.units}

    class Cell(layers.Layer):
        def __init__(self, units: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.units = self.state_size = units

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], self.units))

        def call(self, x: Any, states: Any) -> Any:
            state = ops.tanh(ops.matmul(x, self.kernel) + states[0])
            return state, [state]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Rule(keras.regularizers.Regularizer):
        def __call__(self, x: Any) -> Any:
            return ops.sum(x)

        def get_config(self) -> dict[str, Any]:
            return {}

    half = 0.5  # which the configuration of a function leaves out
    return {
        "no name": lambda: Nameless(4),
        "no name, described": lambda: Described(4),
        "wrapped": lambda: layers.TimeDistributed(Block(width=4)),
        "wrapped model": lambda: layers.TimeDistributed(keras.Sequential([layers.Dense(3), Block(width=4)])),
        "cell": lambda: layers.RNN(Cell(3)),
        "regularizer": lambda: layers.Dense(3, kernel_regularizer=Rule()),
        "wrapped function": lambda: layers.TimeDistributed(layers.Dense(3, activation=_half)),
        "wrapped lambda": lambda: layers.TimeDistributed(layers.Lambda(lambda x: x * half)),
    }


@pytest.mark.parametrize("case", _own_layers())
def test_layers_of_the_users_own_are_copied(case: str) -> None:
    keras = import_keras()
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, _own_layers()[case]()(inputs))
    twin, x = copy(model), np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(twin(x), model(x), rtol=1e-6)
    assert twin.layers[-1].name == model.layers[-1].name


def test_a_class_in_a_wrapper_of_keras_is_the_one_to_be_mended() -> None:
    keras = import_keras()

    class Nameless(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()

        def call(self, x: Any) -> Any:
            return x

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    inputs = keras.Input((5, 4))
    with pytest.raises(ModelError, match="unexpected keyword argument") as caught:
        copy(keras.Model(inputs, keras.layers.TimeDistributed(Nameless())(inputs)))
    assert caught.value.mend.startswith("give Nameless a get_config")


def _holder(inner: Any) -> Any:
    """A layer of the user's own that holds another one."""
    keras = import_keras()

    class Holder(keras.layers.Layer):
        def __init__(self, inner: Any, **settings: Any) -> None:
            super().__init__(**settings)
            self.inner, self.dense = inner, keras.layers.Dense(2)

        def build(self, shape: Any) -> None:
            self.inner.build(shape)
            self.dense.build(self.inner.compute_output_shape(shape))

        def call(self, x: Any) -> Any:
            return self.dense(self.inner(x))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "inner": type(self.inner).from_config(self.inner.get_config())}

    inputs = keras.Input((4,))
    return keras.Model(inputs, Holder(inner)(inputs))


def test_what_was_adapted_inside_a_layer_is_copied() -> None:
    scale, x = import_keras().layers.Normalization(), np.full((2, 4), 5, np.float32)
    model = _holder(scale)
    scale.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    np.testing.assert_allclose(copy(model)(x), model(x), rtol=1e-6)


def test_what_is_frozen_inside_a_layer_stays_frozen_in_the_copy() -> None:
    model = _holder(import_keras().layers.Dense(3))
    model.layers[-1].dense.trainable = False
    assert [weight.shape for weight in copy(model).trainable_weights] == [(4, 3), (3,)]


def test_an_output_that_a_nested_model_gave_keeps_its_name() -> None:
    keras = import_keras()
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="logits")], name="kind_head")
    inputs = keras.Input((3,))
    twin = copy(keras.Model(inputs, [keras.layers.Dense(2, name="side")(inputs), head(inputs)]))
    assert twin.output_names == copy(twin).output_names == ["side", "kind_head"]
    assert len(copy(twin).layers) == len(twin.layers)


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
