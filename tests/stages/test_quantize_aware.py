"""Quantization-aware training: the simulation is the file, it learns what rounding lost, and nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import strict_toml
from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import ModelError, RecipeError
from edgekit.graph.rebuild import copy
from edgekit.model import load_model
from edgekit.stages import quantize_aware as quantize_aware_module
from edgekit.stages.calibrate import calibrate
from edgekit.stages.cluster import Cluster, cluster
from edgekit.stages.integer_graph import read_graph
from edgekit.stages.integer_report import HEADER
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_weights import PruneWeights, prune_weights
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import (
    IntegerTrainingDiverged,
    QuantizeAware,
    QuantizedAware,
    QuantizeLayers,
    lowered,
    plan,
    quantize_aware,
)
from edgekit.stages.training import Callback, Training
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents
from edgekit.verify import run_file

Array = np.ndarray[Any, Any]
SHORT = Training(epochs=4, learning_rate=1e-4)


def numerics(**changes: Any) -> Quantize:
    settings = {"granularity": "per-channel", "dense_granularity": "per-channel", "io": "float32"}
    return Quantize(**{"scheme": "int8", "engine": "converter", **settings, **changes})


@pytest.fixture(scope="module")
def network(digits: Path) -> Any:
    return load_model(digits / "digits.keras").keras


@pytest.fixture(scope="module")
def data(digits: Path, network: Any) -> Dataset:
    with np.load(digits / "digits.npz") as arrays:
        x, y, test = arrays["x_train"], arrays["y_train"], {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    path = digits / f"quantize-aware-{os.getpid()}.npz"
    rest = {"x_validation": x[900:], "y_validation": y[900:], "x_calibration": x[:100]}
    np.savez(path, x_train=x[:900], y_train=y[:900], **test, **rest)
    return match(load_dataset(path), network.inputs, network.outputs)


@pytest.fixture(scope="module")
def float32(network: Any) -> bytes:
    return lowered(network)


@pytest.fixture(scope="module")
def trained(network: Any, data: Dataset, float32: bytes) -> QuantizedAware:
    return quantize_aware(network, QuantizeAware(training=SHORT), data, float_file=float32)


def accuracy(file: bytes, data: Dataset) -> float:
    part = data.part("test")
    assert part.labels is not None
    return float((run_file(file, part).arrays[0].argmax(1) == part.labels[0]).mean())


def kept_at(operators: tuple[str, ...], file: bytes) -> bool:
    return all(op.dtype == "int8" for op in read_contents(file).operators if op.name in operators)


# Training.


def test_digits_stay_as_good_and_all_integer(trained: QuantizedAware, data: Dataset, network: Any) -> None:
    part = data.part("test")
    assert part.labels is not None
    before = float((np.asarray(network(part.array()[0])).argmax(1) == part.labels[0]).mean())
    assert accuracy(trained.file, data) >= before - 0.005
    assert trained.report.float_operators == ()
    casts = [op.name for op in read_contents(trained.file).operators if op.dtype == "float32"]
    assert casts == ["QUANTIZE"]
    assert read_contents(trained.file).numeric == "int8"
    found = trained.report.agreement.outputs[0]
    assert found.within >= 0.999
    assert found.top1 is not None
    assert found.top1 >= 0.995
    assert trained.report.agreement.samples == 512


def test_what_is_in_the_file_was_trained(trained: QuantizedAware) -> None:
    assert all(0 < kernel.changed < 1 for kernel in trained.report.kernels)
    moved = [row for row in trained.report.ranges if row.after != row.before]
    assert len(moved) >= len(trained.report.ranges) - 1
    assert all(len(row) == len(HEADER) for row in trained.report.rows())
    assert trained.history[0].number == 0


def test_the_same_seed_gives_the_same_file_also_after_a_kill(
    network: Any, data: Dataset, float32: bytes, trained: QuantizedAware, tmp_path: Path
) -> None:
    stage, place, lines = QuantizeAware(training=SHORT), tmp_path / "state.npz", list[str]()

    def stop(line: str) -> None:
        lines.append(line)
        if "epoch 3/4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_aware(network, stage, data, float_file=float32, checkpoint=place, say=stop)
    again = quantize_aware(network, stage, data, float_file=float32, checkpoint=place, say=lines.append)
    assert any("goes on after epoch" in line for line in lines)
    assert again.file == trained.file


def test_an_unrolled_model_is_calibrated_on_as_many_samples_as_asked(
    network: Any, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(model: bytes, samples: list[Array], *_: Any) -> None:
        raise KeyboardInterrupt(len(samples[0]))

    monkeypatch.setattr(quantize_aware_module, "calibrate", stop)
    with pytest.raises(KeyboardInterrupt, match=r"^7$"):
        quantize_aware(network, QuantizeAware(training=SHORT), data, numerics=numerics(calibration_samples=7))


@pytest.mark.parametrize("ranges", ["moving", pytest.param("calibrated", marks=pytest.mark.slow)])
def test_ranges_follow_or_stay(ranges: Any, network: Any, data: Dataset, float32: bytes) -> None:
    stage = QuantizeAware(ranges=ranges, training=SHORT)
    found = quantize_aware(network, stage, _unvalidated(data), float_file=float32)
    changed = [row.before != row.after for row in found.report.ranges]
    assert any(changed) == (ranges == "moving")
    assert accuracy(found.file, data) >= 0.985


@pytest.mark.slow
def test_it_repairs_what_per_tensor_weights_lose(network: Any, data: Dataset) -> None:
    """Channels of very different scales, as a folded normalization leaves them, under one scale for each kernel."""
    model = disparate(copy(network))
    start, tensorwise = lowered(model), numerics(granularity="per-tensor", dense_granularity="per-tensor")
    source = Source(start, calibrate(start, data.part("calibration").array()))
    whole = accuracy(start, data)
    assert whole - accuracy(quantize(source, tensorwise), data) > 0.05
    stage = QuantizeAware(teacher=0.5, training=Training(epochs=15, learning_rate=5e-4, batch_size=32, patience=0))
    found = quantize_aware(model, stage, data, numerics=tensorwise, float_file=start, ranges=source.ranges)
    assert whole - accuracy(found.file, data) <= 0.007
    assert all(len(tensor.scales) <= 1 for tensor in read_graph(found.file, start).tensors)


def disparate(model: Any) -> Any:
    """The same function, with the channels between layers scaled by up to e^2 and back."""
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    after = [layer for layer in model.layers if "Conv2D" in type(layer).__name__][1:]
    for norm, layer in zip(norms, after, strict=False):
        scale = np.exp(rng.uniform(-2, 2, norm.gamma.shape)).astype(np.float32)
        norm.gamma.assign(norm.gamma * scale)
        norm.beta.assign(norm.beta * scale)
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
        kernel.assign(np.asarray(kernel) / scale[None, None, :, None])
    return model


@pytest.mark.slow
def test_the_float_model_alone_can_teach(network: Any, data: Dataset, float32: bytes) -> None:
    stage = QuantizeAware(teacher=1.0, training=SHORT)
    assert accuracy(quantize_aware(network, stage, data, float_file=float32).file, data) >= 0.985


# Numerics, exceptions, composition.


def test_layers_stay_in_float_or_get_fewer_bits(network: Any, data: Dataset, float32: bytes) -> None:
    last = next(layer.name for layer in reversed(network.layers) if type(layer).__name__ == "Conv2D")
    rules = (QuantizeLayers("digit", keep=True), QuantizeLayers(last, bits=8))
    found = quantize_aware(network, QuantizeAware(bits=4, layers=rules, training=SHORT), data, float_file=float32)
    assert [name.split()[0] for name in found.report.float_operators] == ["FULLY_CONNECTED", "SOFTMAX"]
    values = [kernel.values for kernel in found.report.kernels]
    assert max(values[:-1]) <= 15 < values[-1]
    assert accuracy(found.file, data) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "io", "engine"),
    [("int8", "uint8", "litert"), ("int16x8", "float32", "litert"), ("int8", "int8", "converter")],
)
def test_schemes_engines_and_types(
    scheme: Any, io: Any, engine: Any, network: Any, data: Dataset, float32: bytes
) -> None:
    wished = numerics(scheme=scheme, io=io, engine=engine)
    found = quantize_aware(network, QuantizeAware(training=SHORT), data, numerics=wished, float_file=float32)
    contents = read_contents(found.file)
    assert contents.numeric == scheme
    assert contents.inputs[0].dtype == contents.outputs[0].dtype == io
    assert accuracy(found.file, data) >= 0.985


def test_zeros_and_shared_values_survive_into_the_file(network: Any, data: Dataset) -> None:
    sparse = prune_weights(network, PruneWeights(sparsity=0.5, one_shot=True)).model
    both = cluster(sparse, Cluster(clusters=16, one_shot=True)).model
    found = quantize_aware(both, QuantizeAware(training=SHORT), data)
    pruned = [kernel for kernel in found.report.kernels if kernel.sparsity > 0.1]
    assert len(pruned) == 4
    assert all(kernel.sparsity >= 0.49 and kernel.values <= 16 and kernel.changed > 0 for kernel in pruned)


def test_a_loop_in_the_float_file_is_unrolled(data: Dataset) -> None:
    keras = import_keras()
    layers = [keras.layers.Reshape((8, 8)), keras.layers.GRU(6), keras.layers.Dense(10)]
    model, lines = keras.Sequential([keras.Input((8, 8, 1)), *layers]), list[str]()
    stage, matched = QuantizeAware(training=SHORT), match(load_dataset(data_path(data)), model.inputs, model.outputs)
    found = quantize_aware(model, stage, matched, float_file=lowered(model), ranges={}, say=lines.append)
    assert any("unrolled" in line for line in lines)
    assert "WHILE" not in {operator.name for operator in read_contents(found.file).operators}
    assert found.report.float_operators == ()


def data_path(data: Dataset) -> str:
    """Where the data set was read from."""
    return str(data.spec.source)


# Settings and bad input.


def test_a_stage_survives_toml() -> None:
    stage = QuantizeAware(ranges="moving", bits=4, layers=(QuantizeLayers("a*", keep=True),), teacher=0.5)
    assert strict_toml.loads(strict_toml.dumps(stage), QuantizeAware, "stage", RecipeError) == stage


def test_a_plan_names_each_kernel(network: Any, float32: bytes) -> None:
    made = plan(network, QuantizeAware(layers=(QuantizeLayers("conv2d*", bits=4),)), float32)
    assert [kernel.bits for kernel in made.kernels] == [4, 4, 8, 8, 4, 8]
    assert made.kernels[0].weights == 288 + 32
    assert made.kept == ()


def test_settings_that_make_no_sense() -> None:
    for settings in ({"bits": 4, "keep": True}, {}, {"bits": 1}):
        with pytest.raises(ValueError, match="layers 'a'"):
            QuantizeLayers("a", **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share between 0 and 1"):
        QuantizeAware(teacher=2.0)


def test_bad_input_names_the_mend(network: Any, data: Dataset, float32: bytes, trained: QuantizedAware) -> None:
    few = QuantizeAware(training=Training(epochs=1))
    with pytest.raises(RecipeError, match="14 steps are too few to learn ranges"):
        quantize_aware(network, few, data, float_file=float32)
    with pytest.raises(ModelError, match="the file is int8 already"):
        quantize_aware(network, QuantizeAware(), data, float_file=trained.file)
    with pytest.raises(RecipeError, match="not dynamic-int8"):
        quantize_aware(network, QuantizeAware(), data, numerics=Quantize("dynamic-int8"))
    with pytest.raises(RecipeError, match="'nothing' matches no layer"):
        quantize_aware(network, QuantizeAware(layers=(QuantizeLayers("nothing", bits=4),)), data, float_file=float32)


def test_a_quantized_keras_model_is_refused(data: Dataset) -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.quantize("int8")
    with pytest.raises(ModelError, match="is quantized already"):
        quantize_aware(model, QuantizeAware(), data)


@pytest.mark.parametrize(("factor", "word"), [(5.0, "exploded"), (-5.0, "collapsed")])
def test_a_range_out_of_bounds_ends_the_training_with_the_last_good_file(
    factor: float, word: str, network: Any, data: Dataset, float32: bytes
) -> None:
    class Stretch(Callback):
        """Moves all ranges in the second epoch."""

        def start(self, model: Any, steps: int) -> None:
            self.stretch = next(weight for weight in model.weights if weight.name == "stretch")

        def before_step(self, step: int) -> None:
            if step == 20:
                self.stretch.assign_add(factor * np.ones(self.stretch.shape))

    with pytest.raises(
        IntegerTrainingDiverged, match=rf"the range of '.+' {word}: .+ became .+ after epoch 2"
    ) as caught:
        quantize_aware(network, QuantizeAware(training=SHORT), data, float_file=float32, callbacks=[Stretch()])
    assert caught.value.mend.endswith("or say ranges = 'calibrated'")
    assert caught.value.trained.best <= 1
    assert accuracy(caught.value.file, data) >= 0.985
    assert read_contents(caught.value.file).inputs[0].dtype == "float32"


def _unvalidated(data: Dataset) -> Dataset:
    """Without a validation part the last weights are the result, however bad."""
    import dataclasses

    return dataclasses.replace(data, validation=None)


def test_training_adds_nothing_to_the_file(trained: QuantizedAware, data: Dataset, float32: bytes) -> None:
    ranges = calibrate(float32, data.part("calibration").array())
    plain = quantize(Source(float32, ranges), numerics())
    assert abs(len(trained.file) - len(plain)) < 500
