"""The doctor names what was planted, and says nothing where nothing is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import patients
import planted
import pytest
import tiny_models
from _pytest.mark import ParameterSet
from planted import PLANTED, Patient, Planted

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import DataSpec
from edgekit.doctor import cause
from edgekit.doctor.cause import causes, suffered, unlike_channels
from edgekit.doctor.cause_weights import coarse_weights, reading_one
from edgekit.doctor.defects import likeness
from edgekit.doctor.diagnosis import diagnose
from edgekit.doctor.layer_error import look_inside
from edgekit.doctor.mismatch import mismatches
from edgekit.errors import DataError, ModelError
from edgekit.recipe import Recipe
from edgekit.tflite.graph import Graph, Tensor
from edgekit.tflite.surgery import with_io_type

SAMPLES = 32
OF_DATA = ("labels", "preprocessing")
OF_SCALES = ("unsound-scale",)
AT_ONCE = (
    planted.scale_disparity,
    planted.outlier_weights,
    planted.activation_outlier,
    planted.bias_overflow,
    planted.infinite_scale,
    planted.labels,
)
OTHERS = ("branched", "measuring")


def _cases(within: bool) -> list[ParameterSet]:
    """The planted faults that are found by looking inside, or the others; but for one of a kind they are slow."""
    chosen = [one for one in PLANTED if (one.code in (*OF_DATA, *OF_SCALES)) != within]
    marks = {one.plant: [] if one.plant in AT_ONCE else [pytest.mark.slow] for one in chosen}
    return [pytest.param(one, id=one.plant.__name__, marks=marks[one.plant]) for one in chosen]


def _codes(patient: Patient) -> list[str]:
    samples = patient.data.part("test").take(SAMPLES).array()
    return [finding.code for finding in causes(look_inside(patient.quantized, patient.source, samples))]


@pytest.mark.parametrize("fault", _cases(within=True))
def test_the_planted_cause_comes_first(fault: Planted, sound: Mapping[str, patients.Net]) -> None:
    assert _codes(fault.plant(sound[fault.net]))[:1] == [fault.code]


@pytest.mark.parametrize("fault", _cases(within=False))
def test_what_needs_no_look_inside_comes_first_too(fault: Planted, sound: Mapping[str, patients.Net]) -> None:
    patient = fault.plant(sound[fault.net])
    found = diagnose(patient.quantized, patient.source, patient.data)
    assert found.findings[0].code == fault.code
    assert found.findings[0].level == "error"


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("name", ["digits", *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)])
def test_nothing_is_said_of_a_sound_file(name: str, granularity: str, sound: Mapping[str, patients.Net]) -> None:
    net = sound[name]
    assert not _codes(Patient(net.file, net.int8(granularity), net.data()))


@pytest.mark.slow
def test_a_disparity_that_per_channel_weights_can_hold_is_no_cause_in_the_weights(
    sound: Mapping[str, patients.Net],
) -> None:
    """The other side of the rule: the same network, with one scale for each channel, has no starved kernel."""
    patient = planted.outlier_weight_channel(sound["digits"])
    net = sound["digits"].with_file(patient.source)
    assert "outlier-weight-channel" not in _codes(Patient(net.file, net.int8("per-channel"), net.data()))


def test_every_finding_has_numbers_and_a_mend(sound: Mapping[str, patients.Net]) -> None:
    patient = planted.scale_disparity(sound["digits"])
    (first, *_) = causes(look_inside(patient.quantized, patient.source, [sound["digits"].arrays["x_test"][:SAMPLES]]))
    assert any(letter.isdigit() for letter in first.problem)
    assert "equalize" in first.mend
    assert "arXiv:1906.04721" in first.source


@pytest.mark.slow
def test_an_output_suffers_only_where_it_is_noisy(sound: Mapping[str, patients.Net]) -> None:
    net, samples = sound["digits"], [sound["digits"].arrays["x_test"][:SAMPLES]]
    assert not suffered(look_inside(net.int8(), net.file, samples))
    sick = planted.activation_outlier(net)
    assert suffered(look_inside(sick.quantized, sick.source, samples))


def test_a_shift_that_all_samples_have_is_told_before_an_output_has_suffered(
    sound: Mapping[str, patients.Net], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here 0.14 % of an output are noise, less than the bound; with a lower bound it is told, and nothing else is."""
    patient = planted.biased_error(sound["digits"])
    look = look_inside(patient.quantized, patient.source, [sound["digits"].arrays["x_test"][:SAMPLES]])
    assert not suffered(look)
    assert not causes(look)
    monkeypatch.setattr(cause, "BIASED", 0.001)
    assert [finding.code for finding in causes(look)] == ["biased-error"]


@pytest.mark.parametrize(
    ("operator", "shape", "weights"),
    [
        ("CONV_2D", (16, 3, 3, 24), 9),
        ("CONV_2D", (64, 1, 1, 64), 1),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 24), 1),
        ("FULLY_CONNECTED", (10, 64), 1),
    ],
)
def test_how_many_weights_read_one_channel(operator: str, shape: tuple[int, ...], weights: int) -> None:
    assert reading_one(operator, shape) == weights


def _kernels(scale: float, zero: int) -> tuple[Tensor, Tensor]:
    """A dense kernel in float, and as old converters write it: of any range, its zero among the integers."""
    real = np.random.default_rng(0).normal(0.3, 1, (8, 16)).astype(np.float32)
    stored = np.clip(np.round(real / scale) + zero, 0, 255).astype(np.uint8)
    return (
        Tensor("real", real.shape, real.shape, "float32", data=memoryview(real.tobytes())),
        Tensor("stored", real.shape, real.shape, "uint8", (scale,), (zero,), data=memoryview(stored.tobytes())),
    )


def test_weights_of_unsigned_bytes_are_read_from_their_zero() -> None:
    real, stored = _kernels(0.025, 100)
    assert likeness("FULLY_CONNECTED", real, stored) > 0.999


def test_few_levels_are_counted_from_the_zero_of_unsigned_weights() -> None:
    """A step so wide that weights lie within a few integers of their zero at 100."""
    real, stored = _kernels(0.5, 100)
    operator = SimpleNamespace(index=0, name="FULLY_CONNECTED", operator="FULLY_CONNECTED")
    seen = {"noise": 1.0, "grid_noise": 0.0, "real": np.ones((4, 8)), "alone": np.zeros((4, 8))}
    one: Any = SimpleNamespace(pair=(operator, operator), error=operator, tensor=stored, **seen)
    look: Any = SimpleNamespace(pairing=SimpleNamespace(kernel=lambda _: (real, stored), float=Graph((), (), (), ())))
    found = coarse_weights(look, one)
    assert found is not None
    assert found.code == "per-tensor-weights"
    (phrase,) = re.findall("`-r (.+?)`", found.mend)
    assert Recipe.parse(phrase).quantize.dense_granularity == "per-channel"


def test_files_of_unlike_networks_are_refused(sound: Mapping[str, patients.Net]) -> None:
    data = sound["digits"].data()
    with pytest.raises(ModelError, match=r"not the same network|unlike outputs"):
        diagnose(sound["digits"].int8(), tiny_models.negative((1, 8, 8, 1)), data)
    with pytest.raises(ModelError, match="no quantized activation"):
        diagnose(sound["digits"].file, sound["digits"].file, data)
    with pytest.raises(ModelError, match="quantized itself"):
        diagnose(sound["digits"].int8(), sound["digits"].int8(), data)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([np.zeros((4, 9, 8, 1), np.float32)], "the samples have the shape"),
        ([np.zeros((0, 8, 8, 1), np.float32)], "no samples"),
        ([np.full((4, 8, 8, 1), np.nan, np.float32)], "NaN"),
        ([np.zeros((4, 8, 8, 1), np.float32)] * 2, "2 inputs"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    samples: list[np.ndarray], said: str, sound: Mapping[str, patients.Net]
) -> None:
    with pytest.raises(DataError, match=said):
        look_inside(sound["digits"].int8(), sound["digits"].file, samples)


def test_calibration_samples_that_are_unlike_the_training_data_are_told_last(sound: Mapping[str, patients.Net]) -> None:
    net = sound["digits"]
    found = diagnose(net.int8(), net.file, net.data(x_calibration=net.arrays["x_train"][:150] * 0.1))
    assert [finding.code.split("-")[0] for finding in found.findings] == ["calibration"]
    assert not diagnose(net.int8(), net.file, net.data()).findings


def test_a_file_of_unsigned_inputs_and_outputs_is_no_better_than_it_is(sound: Mapping[str, patients.Net]) -> None:
    sick = planted.scale_disparity(sound["digits"])
    assert _codes(replace(sick, quantized=with_io_type(sick.quantized, "uint8"))) == _codes(sick)


def test_channels_that_never_change_are_not_told_as_small() -> None:
    tensor, operator = SimpleNamespace(scales=(0.1,)), SimpleNamespace(index=0)
    one: Any = SimpleNamespace(tensor=tensor, grid_noise=1.0, pair=(operator, operator), real=np.ones((4, 3)))
    assert unlike_channels(one, one) is None


def _of_numbering(labels: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> list[str]:
    """What is said of labels and outputs of a classifier, with nothing to be said of its two inputs."""
    part = Part("test", (np.zeros((64, 1), np.float32),) * 2, tuple(labels))
    data = Dataset(None, None, None, part, DataSpec(), "", "classification")
    return [found.problem for found in mismatches(b"", data, part, (), outputs)]


def test_classes_in_another_order_are_told_by_those_that_move() -> None:
    truth = np.repeat(np.arange(6), 11)[:64]
    (said,) = _of_numbering([truth], [np.eye(6)[np.array([0, 1, 2, 3, 5, 4])[truth]]])
    assert said.endswith("and 100.0% if its classes are numbered otherwise (4 -> 5, 5 -> 4)")


def test_a_right_head_beside_a_wrong_one_has_its_classes_in_order() -> None:
    truth = np.arange(64) // 2 % 4
    assert not _of_numbering([truth, truth], [np.eye(4)[truth], np.eye(4)[(truth + 1) % 4]])


def test_one_output_for_two_classes_is_decided_as_it_is_scored() -> None:
    truth = np.arange(64) // 2 % 4 > 0
    assert not _of_numbering([truth.astype(int)], [(np.arange(64) // 8 % 2).astype(np.float32)[:, None]])
    (said,) = _of_numbering([truth.astype(int)], [1 - truth.astype(np.float32)[:, None]])
    assert "(0 -> 1, 1 -> 0)" in said
