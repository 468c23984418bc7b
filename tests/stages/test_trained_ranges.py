"""Ranges of quantization-aware training reach the integer file as they were learned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from toys import Toy

from edgekit.bench.run import infer
from edgekit.errors import RecipeError
from edgekit.model import Model, load_model
from edgekit.stages.calibrate import calibrate
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import lowered
from edgekit.stages.trained_ranges import noted_ranges, without_rounding
from edgekit.tflite.inspect import read_contents

GOLDENS = Path(__file__).parent.parent / "model" / "tfmot_goldens"
NAMES = ("qat", "qat_functional")


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest) -> tuple[Model, bytes]:
    model = load_model(GOLDENS / f"{request.param}.h5")
    return model, lowered(model.keras)


def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32)


def learned(model: Model) -> list[tuple[float, float]]:
    rounding = [layer for layer in model.keras.layers if type(layer).__name__ == "FakeQuantize"]
    return [(float(layer.low), float(layer.high)) for layer in rounding]


def test_the_float_file_rounds_nothing_and_notes_every_range(trained: tuple[Model, bytes]) -> None:
    model, file = trained
    names = {operator.name for operator in read_contents(file).operators}
    assert not names & {"QUANTIZE", "DEQUANTIZE", "FAKE_QUANT"}
    noted = list(noted_ranges(file).values())
    for low, high in learned(model):  # on the grid that has zero, so up to one step beside
        assert any(np.allclose((low, high), pair, atol=(high - low) / 255) for pair in noted)
    assert without_rounding(file) == file


@pytest.mark.parametrize("engine", ["converter", "litert"])
def test_calibration_does_not_move_them_and_the_file_computes_the_trained_model(
    trained: tuple[Model, bytes], engine: Literal["converter", "litert"]
) -> None:
    model, file = trained
    ranges = calibrate(file, [samples()[:4] * 100])
    assert noted_ranges(file).items() <= ranges.items()
    stage = Quantize("int8", granularity="per-channel", dense_granularity="per-channel", io="float32", engine=engine)
    integers = quantize(Source(file, ranges), stage)
    assert read_contents(integers).numeric == "int8"
    scales = {round(tensor.scale, 6) for tensor in read_contents(integers).tensors if tensor.scale}
    lost = {round((high - low) / 255, 6) for low, high in learned(model)} - scales
    joined = sum(operator.name == "CONCATENATION" for operator in read_contents(integers).operators)
    assert len(lost) <= joined  # an engine may give what is joined the scale of the whole
    for ours, theirs in zip(infer(integers, [samples()]).outputs, model.predict([samples()]), strict=True):
        assert np.abs(ours - theirs).max() < 8 / 256
        assert np.abs(ours - theirs).mean() < 2 / 256


@pytest.mark.parametrize(("name", "text"), [(None, ""), (b"\xff", "\ufffd")])
def test_a_tensor_may_have_no_name_or_one_that_is_no_text(name: bytes | None, text: str) -> None:
    toy = Toy()
    tensor = toy.graph.tensors[toy.tensor([1, 4], scales=[0.1])]
    tensor.name, tensor.quantization.min, tensor.quantization.max = name, [0.0], [1.0]
    assert noted_ranges(toy.bytes([0], [0])) == {text: (0.0, 1.0)}


def test_the_ranges_are_not_used_for_another_scheme(trained: tuple[Model, bytes]) -> None:
    stage = Quantize("int16x8", granularity="per-channel", dense_granularity="per-channel", engine="converter")
    with pytest.raises(RecipeError, match="8-bit ranges"):
        quantize(Source(trained[1], {}), stage)
