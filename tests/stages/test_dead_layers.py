"""Layers that are zero on every sample: they get a range that every runtime takes, and they are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.bench.run import infer
from edgekit.stages.calibrate import Ranges, calibrate
from edgekit.stages.integer_file import with_integers
from edgekit.stages.integer_graph import read_graph
from edgekit.stages.integer_model import integer_model, integers_of
from edgekit.stages.integer_weights import weights_of
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize, silent, widened
from edgekit.stages.quantize_aware import lowered
from edgekit.tf import import_keras
from edgekit.tflite.surgery import with_io_type

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def dead() -> tuple[Any, bytes, Array, Ranges]:
    """A network with a ReLU that never fires and a kernel of zeros, its float32 file, samples and their ranges."""
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="alive")(inputs)
    below = keras.initializers.Constant(-50.0)
    never = layers.Conv2D(8, 3, padding="same", activation="relu", bias_initializer=below, name="never")(x)
    nothing = layers.Conv2D(8, 3, padding="same", kernel_initializer="zeros", name="nothing")(x)
    x = layers.Add()([x, never, nothing])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    file, samples = lowered(model), np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32)
    return model, file, samples, calibrate(file, [samples])


def test_they_are_named(dead: tuple[Any, bytes, Array, Ranges]) -> None:
    _, file, _, ranges = dead
    found = silent(file, ranges)
    assert [name.split("/")[1] for name in found] == ["never_1", "nothing_1"]


def test_their_range_is_that_of_what_they_are_computed_from(dead: tuple[Any, bytes, Array, Ranges]) -> None:
    _, file, _, ranges = dead
    wide, alive = widened(file, ranges), next(name for name in ranges if "alive" in name)
    for name in silent(file, ranges):
        assert ranges[name] == (0.0, 0.0)
        assert wide[name] == ranges[alive]
    assert {name: pair for name, pair in wide.items() if ranges[name][0] < ranges[name][1]}.items() <= ranges.items()


def test_samples_of_zeros_give_sound_ranges(dead: tuple[Any, bytes, Array, Ranges]) -> None:
    _, file, samples, _ = dead
    assert all(low < high for low, high in widened(file, calibrate(file, [samples[:4] * 0])).values())


@pytest.mark.parametrize("engine", ["converter", "litert"])
def test_their_file_runs_and_computes_the_same(engine: Any, dead: tuple[Any, bytes, Array, Ranges]) -> None:
    model, file, samples, ranges = dead
    numerics = Quantize("int8", granularity="per-channel", dense_granularity="per-channel", io="int8", engine=engine)
    plain = quantize(Source(file, ranges), numerics)
    graph = read_graph(plain, file)
    trained = integer_model(graph, weights_of(graph, model))
    expected = infer(file, [samples]).outputs[0]
    for integers in (plain, with_integers(graph, integers_of(trained))):
        found = infer(with_io_type(integers, "float32"), [samples]).outputs[0]
        assert np.abs(found - expected).max() < 0.03 * np.ptp(expected)
