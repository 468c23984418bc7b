"""Multiply-accumulates against what pencil and paper give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import architectures
import pytest

from edgekit.errors import ModelError
from edgekit.graph.macs import costs, total, uncounted
from edgekit.graph.walk import walk
from edgekit.tf import import_keras
from edgekit.tflite.inspect import inspect_model


def _count(shape: tuple[int | None, ...], *layers: Any) -> int:
    keras = import_keras()
    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return total(costs(walk(keras.Model(inputs, x)))).macs


def test_each_kind_of_layer() -> None:
    layers = import_keras().layers
    assert _count((9, 9, 3), layers.Conv2D(8, 3)) == 7 * 7 * 3 * 3 * 3 * 8
    assert _count((9, 9, 4), layers.Conv2D(8, 3, groups=2)) == 7 * 7 * 3 * 3 * 2 * 8
    assert _count((9, 9, 4), layers.DepthwiseConv2D(3, depth_multiplier=2)) == 7 * 7 * 3 * 3 * 4 * 2
    assert _count((9, 9, 4), layers.SeparableConv2D(6, 3)) == 7 * 7 * (3 * 3 * 4 + 4 * 6)
    assert _count((5, 5, 4), layers.Conv2DTranspose(6, 2, 2)) == 5 * 5 * 2 * 2 * 4 * 6
    assert _count((7, 4), layers.Dense(6)) == 7 * 4 * 6
    assert _count((7, 4), layers.EinsumDense("abc,cd->abd", (7, 6))) == 7 * 4 * 6
    assert _count((7, 4), layers.EinsumDense("...c,cd->...d", 6)) == 7 * 4 * 6
    assert _count((7, 4), layers.LSTM(6)) == 7 * 4 * 6 * (4 + 6)
    assert _count((7, 4), layers.Bidirectional(layers.GRU(6))) == 2 * 7 * 3 * 6 * (4 + 6)
    assert _count((7, 4), layers.TimeDistributed(layers.Dense(6))) == 7 * 4 * 6
    assert _count((9, 4), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling1D()) == 0


def test_attention_counts_projections_scores_and_sums() -> None:
    keras = import_keras()
    inputs = keras.Input((10, 16))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4)(inputs, inputs))
    assert total(costs(walk(model))).macs == 4 * 10 * 16 * 8 + 2 * 2 * 10 * 10 * 4


def test_products_of_activations_count() -> None:
    keras = import_keras()
    left, right = keras.Input((5, 3)), keras.Input((3, 7))
    assert total(costs(walk(keras.Model([left, right], left @ right)))).macs == 5 * 3 * 7
    product = keras.ops.einsum("bij,bjk->bik", left, right)
    assert total(costs(walk(keras.Model([left, right], product)))).macs == 5 * 3 * 7


def test_a_shared_layer_multiplies_at_each_call_and_is_stored_once() -> None:
    graph = walk(architectures.build("shared"))
    (conv,) = [name for name, layer in graph.layers.items() if type(layer).__name__ == "Conv2D"]
    found = costs(graph)[conv]
    assert found.macs == 2 * 10 * 10 * 9 * 16
    assert found.parameters == 9 * 16 + 16


def test_resnet8_has_the_published_count() -> None:
    """MLPerf Tiny's ResNet-8 has 12.5 million MACs (arXiv:2106.07597, table 1 of the reference models)."""
    graph = walk(architectures.build("resnet8"))
    found = total(costs(graph))
    assert round(found.macs / 1e6, 1) == 12.5
    assert found.parameters == architectures.build("resnet8").count_params()


def test_an_open_dimension_is_refused_only_where_it_matters() -> None:
    layers = import_keras().layers
    with pytest.raises(ModelError, match="depend on an open dimension") as caught:
        _count((None, None, 3), layers.Conv2D(4, 3))
    assert "keras.Input(shape=(HEIGHT, WIDTH, 3))" in caught.value.mend
    with pytest.raises(ModelError, match="depend on an open dimension") as caught:
        _count((None, 40), layers.Conv1D(8, 3), layers.Conv1D(4, 3))
    assert "keras.Input(shape=(STEPS, 40)), and new.set_weights(old.get_weights())" in caught.value.mend
    assert _count((None, None, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)) == 12


def test_layers_that_are_not_counted_are_named() -> None:
    keras = import_keras()
    inputs = keras.Input((4, 6, 6, 3))
    model = keras.Model(inputs, keras.layers.ConvLSTM2D(4, 3, name="memory")(inputs))
    assert uncounted(walk(model)) == ("memory",)


@pytest.mark.parametrize("kind", ["Attention", "MultiHeadAttention", "Dense", "LSTM"])
def test_a_layer_of_the_users_own_is_not_taken_for_the_one_of_keras(kind: str) -> None:
    keras = import_keras()

    def build(self: Any, shape: Any) -> None:
        self.weight = self.add_weight(shape=(shape[-1], shape[-1]))

    own = type(kind, (keras.layers.Layer,), {"build": build, "call": lambda self, x: x @ self.weight})
    inputs = keras.Input((5, 3))
    graph = walk(keras.Model(inputs, own(name="mine")(inputs)))
    assert total(costs(graph)).macs == 0
    assert uncounted(graph) == ("mine",)


def test_the_file_that_is_made_of_a_network_counts_the_same(digits: Path, float_file: bytes) -> None:
    network = import_keras().models.load_model(digits / "digits.keras")
    assert total(costs(walk(network))).macs == inspect_model(float_file).macs


def test_attention_and_dot_layers_count_their_products() -> None:
    keras = import_keras()
    left, right = keras.Input((5, 3)), keras.Input((7, 3))
    for layer, macs in (
        (keras.layers.Attention(), 5 * 7 * (3 + 3)),
        (keras.layers.AdditiveAttention(), 5 * 7 * 3),
        (keras.layers.Dot(axes=2), 5 * 7 * 3),
        (keras.layers.Dot(axes=(2, -1)), 5 * 7 * 3),
    ):
        assert total(costs(walk(keras.Model([left, right], layer([left, right]))))).macs == macs


def test_what_a_known_layer_wraps_is_named_where_it_is_not_counted() -> None:
    keras, layers = import_keras(), import_keras().layers
    inputs = keras.Input((4, 6))
    inner = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    for layer, named in (
        (layers.TimeDistributed(inner, name="many"), ("many",)),
        (layers.Bidirectional(layers.RNN(layers.LSTMCell(3)), name="both"), ("both",)),
        (layers.Bidirectional(layers.LSTM(3)), ()),
        (layers.TimeDistributed(layers.BatchNormalization()), ()),
    ):
        assert uncounted(walk(keras.Model(inputs, layer(inputs)))) == named
