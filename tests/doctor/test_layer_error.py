"""What each operator adds: laws of the measures, and of feeding each operator on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import crashing, custom, negative

from edgekit.doctor.layer_error import channel_noise, look_inside, sqnr_db
from edgekit.doctor.pairing import paired
from edgekit.errors import DataError, ModelError, RunError
from edgekit.stages.calibrate import calibrate
from edgekit.stages.inner_values import inner_values
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tflite.graph import read_graph
from edgekit.tflite.taps import with_operators_apart


@pytest.fixture(scope="module")
def samples(digits: Path) -> np.ndarray:
    with np.load(digits / "digits.npz") as arrays:
        return arrays["x_test"][:16]


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_ratios_do_not_depend_on_the_unit(factor: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, off = random.normal(size=(20, 4)), 0.01 * random.normal(size=(20, 4))
    assert sqnr_db(truth, truth + off) == pytest.approx(sqnr_db(factor * truth, factor * (truth + off)), abs=0.02)
    assert channel_noise(truth, truth + off) == pytest.approx(channel_noise(factor * truth, factor * (truth + off)))


def test_noise_of_a_tenth_is_twenty_decibels() -> None:
    truth = np.ones((10, 3))
    assert sqnr_db(truth, 1.1 * truth) == pytest.approx(20.0)
    assert sqnr_db(truth, truth) is None


def test_a_small_channel_that_is_lost_shows_in_the_channels_only() -> None:
    truth = np.tile([100.0, 0.1], (10, 1))
    found = truth * [1, 0]
    assert sqnr_db(truth, found) > 50
    assert channel_noise(truth, found).tolist() == [0, 1]


@pytest.mark.parametrize("engine", ["converter", "litert"])
def test_both_engines_are_paired_with_the_float_file(engine: str, float_file: bytes, samples: np.ndarray) -> None:
    stage = Quantize("int8", "per-channel", "per-channel", "int8", engine)
    file = quantize(Source(float_file, calibrate(float_file, [samples])), stage)
    pairing = paired(file, float_file)
    assert [(one.name, other.name) for one, other in pairing.operators] == [
        (op.name, op.name) for op in read_graph(float_file).operators
    ]
    look = look_inside(file, float_file, [samples])
    assert len(look.layers) == len(pairing.operators)
    assert all(one.error.isolated_db > 30 for one in look.layers)
    assert look.ranked[0].channel_db == min(one.channel_db for one in look.ranked)


def test_float_inputs_and_outputs_are_casts_that_stand_for_the_same(float_file: bytes, samples: np.ndarray) -> None:
    stage = Quantize("int8", "per-channel", "per-channel", "float32", "litert")
    file = quantize(Source(float_file, calibrate(float_file, [samples])), stage)
    pairing = paired(file, float_file)
    assert {pairing.meaning[op.outputs[0]] for op in pairing.int8.operators} == {
        *(op.outputs[0] for op in pairing.float.operators),
        pairing.float.inputs[0],
    }
    assert look_inside(file, float_file, [samples]).layers


def test_operators_that_are_fed_what_they_read_give_what_they_gave(int8_file: bytes, samples: np.ndarray) -> None:
    """Feeding each tensor with its own value of a run changes nothing."""
    graph = read_graph(int8_file)
    stored = (np.round(samples / graph.tensors[graph.inputs[0]].scales[0]) - 128).clip(-128, 127).astype(np.int8)
    fed = [op.outputs[0] for op in graph.operators[:-1]]
    whole = inner_values(int8_file, [stored])
    inputs = [np.concatenate([run[index] for run in whole]) for index in fed]
    apart = inner_values(with_operators_apart(int8_file, fed), [stored, *inputs])
    for one, other in zip(whole, apart, strict=True):
        assert all((one[op.outputs[0]] == other[op.outputs[0]]).all() for op in graph.operators)


def test_an_operator_alone_hears_nothing_of_the_fault_before_it(float_file: bytes, samples: np.ndarray) -> None:
    """With a first layer of noise, what comes behind is as good alone as ever, and as bad in the run."""
    from edgekit.tflite.constants import with_constants

    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert")
    file = quantize(Source(float_file, calibrate(float_file, [samples])), stage)
    kernel = read_graph(file).operators[0].inputs[1]
    values = read_graph(file).tensors[kernel].values()
    sick = with_constants(file, {kernel: values[::-1].copy()})
    first, *others = look_inside(sick, float_file, [samples]).layers
    assert first.error.isolated_db < 10
    assert all(one.error.isolated_db > 30 for one in others)
    assert min(one.error.accumulated_db for one in others) < 10


def test_fewer_samples_than_a_run_takes_are_refused() -> None:
    with pytest.raises(DataError, match="3 samples, and the file takes 4 at once"):
        inner_values(negative((4, 2)), [np.zeros((3, 2), np.float32)])


def test_an_interpreter_that_dies_is_an_error(float_file: bytes) -> None:
    with pytest.raises(RunError, match="could not be run"):
        inner_values(crashing(), [np.zeros((1, 4), np.float32)])


def test_a_custom_operator_is_refused_by_name(float_file: bytes) -> None:
    from edgekit.tflite.surgery import pack, schema, unpack

    tree = unpack(custom("Detection"))
    for tensor in tree.subgraphs[0].tensors:
        tensor.type = schema().TensorType.INT8
        tensor.quantization = schema().QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    with pytest.raises(ModelError, match="Detection"):
        paired(pack(tree), custom())


def test_a_tensor_that_was_scaled_on_purpose_has_a_gain_and_no_noise(float_file: bytes, samples: np.ndarray) -> None:
    """An equalized file beside the float file as it was: where all channels got one factor, that is a gain."""
    from edgekit.tflite.constants import with_constants

    graph = read_graph(float_file)
    first, second = graph.operators[0], graph.operators[1]
    values = {index: graph.tensors[index].values() for index in (*first.inputs[1:], second.inputs[1])}
    factors = dict(zip(values, (4, 4, 0.25), strict=True))
    scaled = with_constants(float_file, {index: (v * factors[index]).astype(np.float32) for index, v in values.items()})
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert")
    file = quantize(Source(scaled, calibrate(scaled, [samples])), stage)
    look = look_inside(file, float_file, [samples])
    assert look.layers[0].error.gain == pytest.approx(4, rel=0.01)
    assert all(one.error.isolated_db > 30 for one in look.layers)
    assert {one.error.gain for one in look.layers[1:]} == {1.0}
