"""What a walk sees: every call in order, nested models inlined, shared layers once a call."""

from __future__ import annotations

from collections import Counter

import architectures
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.graph.rebuild import copy
from edgekit.graph.walk import run_through, tensors, walk
from edgekit.tf import import_keras


def test_keras_still_runs_a_graph_call_by_call() -> None:
    """Keras's own method is private: this notices a change of what it does."""
    keras = import_keras()
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], keras.layers.ReLU(name="relu")(a - b))
    seen = []

    def call(operation: object, *args: object, **kwargs: object) -> str:
        seen.append((type(operation).__name__, args, kwargs))
        return type(operation).__name__

    assert run_through(model, ["left", "right"], call) == "ReLU"
    assert seen == [("Subtract", ("left", "right"), {}), ("ReLU", ("Subtract",), {})]


def test_each_call_of_a_shared_layer_is_seen() -> None:
    graph = walk(architectures.build("shared"))
    counts = Counter(call.name for call in graph.calls)
    shared = [name for name, layer in graph.layers.items() if counts[name] == 2]
    assert [type(graph.layers[name]).__name__ for name in shared if graph.layers[name].weights] == [
        "Conv2D",
        "BatchNormalization",
        "Dense",
    ]
    assert {len(graph.calls_of(name)) for name in shared} == {2}


def test_nested_models_are_inlined_under_unique_names() -> None:
    graph = walk(architectures.build("nested"))
    names = [call.name for call in graph.calls if call.kind == "Conv2D"]
    assert names == ["stem.conv", *["outer.inner.conv"] * 4]
    assert [call.name for call in graph.calls if call.kind == "Dense"] == ["head.conv", "logits"]
    assert not {"Functional", "Sequential"} & {call.kind for call in graph.calls}


def test_training_given_to_a_nested_model_reaches_its_layers() -> None:
    graph = walk(architectures.build("nested"))
    frozen = [call.kwargs.get("training") for call in graph.calls if call.kind == "BatchNormalization"]
    assert frozen == [None, None, None, False, False]


def test_tensors_know_who_makes_them() -> None:
    graph = walk(architectures.build("resnet8"))
    adds = [call for call in graph.calls if call.kind == "Add"]
    assert len(adds) == 3
    for call in graph.calls:
        assert all(graph.producers[tensor] is call for tensor in call.results)
    (image,) = tensors(graph.inputs)
    assert image not in graph.producers


def test_shapes_follow_the_call_and_not_the_first_use() -> None:
    keras = import_keras()
    start = keras.Input((None, None, 3))
    block = keras.Model(start, keras.layers.Conv2D(4, 3, name="conv")(start), name="block")
    small, large = keras.Input((8, 8, 3)), keras.Input((16, 16, 3))
    graph = walk(keras.Model([small, large], [block(small), block(large)]))
    assert sorted(call.results[0].shape[1:] for call in graph.calls) == [(6, 6, 4), (14, 14, 4)]


def test_masks_survive_a_copy() -> None:
    keras = import_keras()
    layers = keras.layers
    start = keras.Input((None, 4))
    inner = keras.Model(start, layers.GRU(5)(start), name="inner")
    tokens = keras.Input((6,), dtype="int32")
    model = keras.Model(tokens, inner(layers.Embedding(9, 4, mask_zero=True)(tokens)))
    x = np.array([[3, 4, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    np.testing.assert_allclose(copy(model)(x), model(x), rtol=1e-6)


def test_a_subclassed_model_is_refused_and_as_a_layer_it_is_one_call() -> None:
    keras = import_keras()

    class Own(keras.Model):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)
            self.dense = keras.layers.Dense(2)

        def call(self, x: object) -> object:
            return self.dense(x)

    own = Own(name="own")
    inputs = keras.Input((3,))
    graph = walk(keras.Model(inputs, own(inputs)))
    assert [call.name for call in graph.calls] == ["own"]
    with pytest.raises(ModelError, match=r"'own'.*no functional or Sequential"):
        walk(own)
