"""What the engines do to networks that are not convolutions: the same bytes each time, sound copies, no islands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.bench.run import infer
from edgekit.graph.unroll import unrolled
from edgekit.stages.calibrate import calibrate
from edgekit.stages.integer_graph import COPIES, read_graph
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import lowered
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.surgery import with_io_type, with_rescaled_copies

Array = np.ndarray[Any, Any]


def numerics(engine: Any = "converter") -> Quantize:
    return Quantize("int8", granularity="per-channel", dense_granularity="per-channel", io="int8", engine=engine)


def lowered_with_samples(*layers: Any) -> tuple[Source, Array]:
    keras = import_keras()
    model = unrolled(keras.Sequential([keras.Input((4, 4)), *layers, keras.layers.Dense(3)]))
    samples = np.random.default_rng(0).normal(size=(64, 4, 4)).astype(np.float32)
    file = lowered(model)
    return Source(file, calibrate(file, [samples])), samples


def floats(file: bytes) -> set[str]:
    casts = {"QUANTIZE", "DEQUANTIZE"}
    return {op.name for op in read_contents(file).operators if op.dtype == "float32"} - casts


def test_an_unrolled_lstm_gives_the_same_bytes_without_float_copies() -> None:
    import_keras().utils.set_random_seed(0)
    source, _ = lowered_with_samples(import_keras().layers.LSTM(4))
    found = [quantize(source, numerics()) for _ in range(3)]
    assert not floats(found[0]) & COPIES
    assert len({*found}) == 1


def test_a_copy_that_is_asked_for_stays_in_float() -> None:
    import_keras().utils.set_random_seed(0)
    source, _ = lowered_with_samples(import_keras().layers.LSTM(4))
    kept = Quantize("int8", "per-channel", "per-channel", "int8", "converter", keep_float=("SPLIT",))
    assert "SPLIT" in floats(quantize(source, kept))


def test_a_reversed_sequence_keeps_its_scale() -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    both = keras.layers.Bidirectional(keras.layers.LSTM(6, return_sequences=True))
    source, samples = lowered_with_samples(both, keras.layers.Conv1D(4, 1), keras.layers.Flatten())
    expected = infer(source.model, [samples]).outputs[0]
    raw, sound = (quantize(source, numerics(), rescaled=rescaled) for rescaled in (False, True))
    off = [np.abs(infer(with_io_type(file, "float32"), [samples]).outputs[0] - expected).max() for file in (raw, sound)]
    assert off[1] < off[0] / 2
    graph = read_graph(sound, source.model)
    reverse = next(op for op in graph.operators if op.name == "REVERSE_V2")
    assert graph.tensors[reverse.inputs[0]].scales == graph.tensors[reverse.outputs[0]].scales
    assert with_rescaled_copies(sound) == sound


@pytest.mark.parametrize("engine", ["converter", "litert"])
def test_a_layer_normalization_is_all_integer(engine: Any) -> None:
    """Keras negates its mean, and NEG is an operator that the converter leaves in float."""
    source, _ = lowered_with_samples(import_keras().layers.LayerNormalization())
    assert "NEG" in {operator.name for operator in read_contents(source.model).operators}
    assert "NEG" not in {operator.name for operator in read_contents(quantize(source, numerics(engine))).operators}
    assert floats(quantize(source, numerics())) == set()
