"""Operators that few networks have: a float file is simulated as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.bench.run import infer
from edgekit.stages.integer_graph import read_graph
from edgekit.stages.integer_model import integer_model
from edgekit.stages.integer_rare_ops import RARE
from edgekit.stages.integer_weights import weights_of
from edgekit.stages.quantize_aware import lowered
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents


def outputs_of(x: Any) -> list[Any]:
    keras = import_keras()
    ops, layers = keras.ops, keras.layers
    convolved = layers.Conv3D(3, 2, padding="same", activation="relu")(x)
    flat = layers.Reshape((16, 12))(convolved)
    whole = ops.cast(flat * 100, "int32")
    return [
        convolved,
        ops.cumsum(flat, axis=1),
        ops.sign(flat - 0.2),
        ops.floor_divide(flat, 0.3),
        ops.mod(flat, 0.3),
        ops.prod(flat, axis=2),
        ops.one_hot(ops.argmax(whole, axis=2), 12),
        ops.cast(ops.argmin(whole, axis=2), "float32"),
        ops.top_k(flat, 3)[0],
        ops.arctan2(flat, flat + 0.5),
        ops.cast(ops.any(flat > 0.5, axis=1), "float32"),
        ops.cast(ops.all(flat > 0.0, axis=1), "float32"),
    ]


def test_each_computes_what_the_file_computes_for_any_batch() -> None:
    keras = import_keras()
    inputs = keras.Input((4, 4, 4, 2))
    model = keras.Model(inputs, outputs_of(inputs))
    file = lowered(model)
    seen = {operator.name for operator in read_contents(file).operators}
    assert set(RARE) - seen == {"ZEROS_LIKE", "GATHER_ND"}
    graph = read_graph(file, file)
    samples = np.random.default_rng(0).normal(size=(5, 4, 4, 4, 2)).astype(np.float32)
    simulated = integer_model(graph, weights_of(graph, model))(samples)
    for found, expected in zip(simulated, infer(file, [samples]).outputs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
