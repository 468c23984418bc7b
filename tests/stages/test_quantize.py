"""Both engines, every scheme: the right numbers inside, the right types at the rim, an accuracy that survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny_models

from edgekit.bench.run import infer
from edgekit.errors import DataError, ModelError, RecipeError
from edgekit.model import load_model
from edgekit.model.live import from_keras
from edgekit.stages.calibrate import Ranges, calibrate
from edgekit.stages.convert import export
from edgekit.stages.engine_converter import _forgotten
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tf import import_keras
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.inspect import ModelSummary, inspect_model, read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata
from edgekit.tflite.numbers import to_real, to_stored

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def arrays(digits: Path) -> dict[str, Array]:
    with np.load(digits / "digits.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def source(
    digits: Path, float_file: bytes, arrays: dict[str, Array], once: Callable[[str, Callable[[Path], None]], Path]
) -> Source:
    model = load_model(digits / "digits.keras")
    exported = export(model, 1, once("source", lambda folder: None) / f"export-{np.random.default_rng().integers(1e9)}")
    samples = [arrays["x_train"][:100]]
    return Source(float_file, calibrate(float_file, samples), lambda: exported, samples)


def _accuracy(file: bytes, summary: ModelSummary, arrays: dict[str, Array]) -> float:
    stored = to_stored(arrays["x_test"], summary.inputs[0])
    found = to_real(infer(batched_twin(file), [stored], batch=64).outputs[0], summary.outputs[0])
    return float((found.argmax(1) == arrays["y_test"]).mean())


def _stage(scheme: Any, granularity: Any, engine: Any, io: Any = None) -> Quantize:
    io = io or {"int8": "int8", "int16x8": "int16"}.get(scheme, "float32")
    return Quantize(scheme, granularity, granularity, io, engine)


REFUSED = {("dynamic-int8", "per-tensor", "litert"), ("int16x8", "per-tensor", "converter")}
CASES = [
    (scheme, granularity, engine)
    for engine in ("litert", "converter")
    for scheme in ("float16", "dynamic-int8", "int8", "int16x8")
    for granularity in ("per-channel", "per-tensor")
    if (scheme, granularity, engine) not in REFUSED
]


@pytest.mark.parametrize("scheme", ["dynamic-int8", "int8"])
@pytest.mark.parametrize("engine", ["litert", "converter"])
def test_label_files_stay_packed(engine: str, scheme: str, source: Source) -> None:
    labelled = write_metadata(source.model, FileMetadata(files={"labels.txt": b"zero\none\n"}))
    made = quantize(replace(source, model=labelled), _stage(scheme, "per-channel", engine))
    assert read_metadata(made).files == {"labels.txt": b"zero\none\n"}


@pytest.mark.parametrize(("scheme", "granularity", "engine"), CASES)
def test_a_variant_is_what_it_says_and_still_knows_its_digits(
    scheme: str, granularity: str, engine: str, source: Source, arrays: dict[str, Array]
) -> None:
    file = quantize(source, _stage(scheme, granularity, engine))
    summary = inspect_model(file)
    assert summary.numeric == scheme
    assert [(t.name, t.shape) for t in summary.inputs] == [("image", (1, 8, 8, 1))]
    assert [(t.name, t.shape) for t in summary.outputs] == [("digit", (1, 10))]
    assert len(file) < 0.7 * len(source.model)
    assert _accuracy(file, summary, arrays) > 0.97
    per_channel = any(tensor.channel_scales for tensor in summary.tensors)
    if scheme in {"int8", "int16x8"}:
        assert per_channel == (granularity == "per-channel")


@pytest.mark.parametrize("engine", ["litert", "converter"])
def test_dense_layers_can_have_one_scale_while_convolutions_keep_theirs(engine: Any, source: Source) -> None:
    stage = Quantize("int8", "per-channel", "per-tensor", "int8", engine)
    tensors = inspect_model(quantize(source, stage)).tensors
    dense = [tensor for tensor in tensors if tensor.shape == (10, 64)]
    assert [(tensor.channel_scales, tensor.scale is not None) for tensor in dense] == [(0, True)]
    assert any(tensor.channel_scales == 64 for tensor in tensors)


def test_the_engines_agree(source: Source, arrays: dict[str, Array]) -> None:
    """Same ranges, same rules: outputs differ by at most three quanta of 1/256."""
    x = arrays["x_test"][:64]
    found = []
    for engine in ("litert", "converter"):
        file = quantize(source, _stage("int8", "per-channel", engine))
        summary = inspect_model(file)
        found.append(to_real(infer(file, [to_stored(x, summary.inputs[0])]).outputs[0], summary.outputs[0]))
    assert np.abs(found[0] - found[1]).mean() < 3 / 256


@pytest.mark.parametrize("engine", ["litert", "converter"])
def test_an_operator_can_stay_in_float(engine: Any, source: Source) -> None:
    stage = Quantize("int8", "per-channel", "per-channel", "int8", engine, keep_float=("SOFTMAX",))
    types = {operator.name: operator.dtype for operator in inspect_model(quantize(source, stage)).operators}
    assert (types["SOFTMAX"], types["CONV_2D"]) == ("float32", "int8")


@pytest.mark.parametrize("engine", ["litert", "converter"])
def test_an_operator_that_an_engine_calls_otherwise_can_stay_in_float(engine: Any, tmp_path: Path) -> None:
    keras = import_keras()
    layers = [keras.layers.Conv2D(2, 3, padding="same"), keras.layers.Conv2DTranspose(2, 2, 2)]
    model = from_keras(keras.Sequential([keras.Input((4, 4, 1)), *layers]), "wider", "wider", None)
    file = export(model, 1, tmp_path / "export").lower()
    samples = [np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype(np.float32)]
    stage = Quantize("int8", "per-channel", "per-channel", "int8", engine, keep_float=("TRANSPOSE_CONV",))
    made = inspect_model(quantize(Source(file, calibrate(file, samples)), stage))
    types = {operator.name: operator.dtype for operator in made.operators}
    assert (types["TRANSPOSE_CONV"], types["CONV_2D"]) == ("float32", "int8")


def test_the_same_inputs_give_the_same_bytes(source: Source) -> None:
    for engine in ("litert", "converter"):
        stage = _stage("int8", "per-channel", engine)
        assert quantize(source, stage) == quantize(source, stage)


def test_what_an_engine_cannot_do_is_refused_with_the_way_out(source: Source) -> None:
    with pytest.raises(RecipeError, match="computes wrongly"):
        quantize(source, _stage("dynamic-int8", "per-tensor", "litert"))
    with pytest.raises(ModelError, match="Quantized dimension"):
        quantize(source, _stage("int16x8", "per-tensor", "converter"))
    with pytest.raises(RecipeError, match="engine=litert"):
        quantize(Source(source.model), _stage("float16", "per-channel", "converter"))


def test_the_converter_is_shown_as_many_samples_at_once_as_the_file_takes(tmp_path: Path) -> None:
    layers = import_keras().layers
    model = import_keras().Sequential([import_keras().Input((6, 4)), layers.Flatten(), layers.Dense(3)])
    exported = export(from_keras(model, "flat", "flat", None), 4, tmp_path / "four")
    samples = [np.random.default_rng(0).normal(size=(10, 6, 4)).astype(np.float32)]
    source = Source(exported.lower(), {}, lambda: exported, samples)
    found = inspect_model(quantize(source, _stage("int16x8", "per-channel", "converter")))
    assert (found.numeric, found.inputs[0].shape) == ("int16x8", (4, 6, 4))


def test_ranges_hold_every_value_that_was_seen(float_file: bytes, arrays: dict[str, Array]) -> None:
    x = arrays["x_train"][:37]  # not a multiple of the batch of the pass
    ranges = calibrate(float_file, [x])
    outputs = infer(float_file, [x]).outputs[0]
    assert ranges["image"] == (0.0, float(x.max()))
    assert ranges["digit"] == pytest.approx((0.0, float(outputs.max())), abs=1e-5)
    assert not {tensor.name for tensor in inspect_model(float_file).tensors if tensor.constant_bytes} & ranges.keys()


def test_one_batched_pass_gives_the_ranges_of_single_samples(float_file: bytes, arrays: dict[str, Array]) -> None:
    whole = calibrate(float_file, [arrays["x_train"][:20]])
    merged: Ranges = {}
    for index in range(20):
        for name, (low, high) in calibrate(float_file, [arrays["x_train"][index : index + 1]]).items():
            before = merged.get(name, (0.0, 0.0))
            merged[name] = (min(before[0], low), max(before[1], high))
        if index == 2:
            break
    for name, (low, high) in merged.items():
        assert whole[name][0] <= low + 1e-5
        assert whole[name][1] >= high - 1e-5


def test_calibration_refuses_nothing_and_nonsense(float_file: bytes) -> None:
    with pytest.raises(DataError, match="no calibration data"):
        calibrate(float_file, [np.zeros((0, 8, 8, 1), np.float32)])
    with pytest.raises(DataError, match="infinite or undefined"):
        calibrate(float_file, [np.full((2, 8, 8, 1), np.nan, np.float32)])


def test_a_file_that_the_quantizer_cannot_read_is_a_told_error() -> None:
    with pytest.raises(ModelError, match="litert-quantizer cannot read"):
        quantize(Source(b"\x1c\0\0\0TFL3" + bytes(40)), _stage("dynamic-int8", "per-channel", "litert"))


def test_a_float_copy_is_no_neighbour_of_a_cast_in_another_graph() -> None:
    contents, stage = read_contents(tiny_models.frozen_reshape()), _stage("int8", "per-channel", "converter")
    (copy,) = contents.operators
    found = []
    for graph in (0, 1):
        cast = msgspec.structs.replace(copy, name="DEQUANTIZE", outputs=copy.inputs, subgraph=graph)
        both = msgspec.structs.replace(contents, operators=(cast, copy))
        found.append(_forgotten(both, Source(b""), stage))
    assert found == [True, False]
