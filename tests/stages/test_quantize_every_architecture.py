"""Quantization-aware training of every architecture there is a builder for: all integer, and as it was trained."""

from __future__ import annotations

import math
from typing import Any

import architectures
import numpy as np
import pytest

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import DataSpec
from edgekit.stages.agreement import OutputAgreement, SimulationAgreement
from edgekit.stages.quantize_aware import QuantizeAware, QuantizedAware, quantize_aware
from edgekit.stages.training import Training
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents

STEPS, BATCH, CALIBRATION, PROOF = 50, 2, 32, 512
WITHIN, TOP1 = 0.999, 0.995


@pytest.mark.slow
@pytest.mark.covers("qat")
@pytest.mark.parametrize("name", architectures.ALL)
def test_the_file_is_all_integer_and_is_what_was_trained(name: str, record_property: Any) -> None:
    model = architectures.build(name)
    training = Training(epochs=1, batch_size=BATCH, learning_rate=1e-4, patience=0)
    found = quantize_aware(model, QuantizeAware(teacher=1.0, training=training), _data(model))
    loss = found.history[-1].loss
    assert loss is not None
    assert math.isfinite(loss)
    _assert_trained(found)
    assert found.report.float_operators == ()
    proof = found.report.agreement
    assert proof.samples == PROOF
    _assert_each_operator_agrees(proof, found.file)
    record_property("covered", _cell(proof))


def _data(model: Any) -> Dataset:
    arrays = import_keras().tree.flatten(architectures.samples(model, STEPS * BATCH + CALIBRATION + PROOF))
    types = tuple("float32" if "float" in tensor.dtype else tensor.dtype for tensor in model.inputs)
    ends = np.cumsum([0, STEPS * BATCH, CALIBRATION, PROOF])
    parts = [
        Part(part, tuple(np.asarray(array[start:end]) for array in arrays), input_types=types)
        for part, start, end in zip(("train", "calibration", "test"), ends, ends[1:], strict=False)
    ]
    return Dataset(parts[0], None, parts[1], parts[2], DataSpec(""), "", "none")


def _assert_trained(found: QuantizedAware) -> None:
    layer = found.model.get_layer("integer")
    starts = {source: weight.value for source, weight in layer.starts.weights.items() if weight.trainable}
    moved = [(layer.variables_of[str(source)].numpy() != value).any() for source, value in starts.items()]
    assert np.mean(moved) > 0.9, "nearly every weight has a gradient"
    assert any(row.after != row.before for row in found.report.ranges), "a range has one where it clips"


def _assert_each_operator_agrees(proof: SimulationAgreement, file: bytes) -> None:
    assert proof.parted is None
    assert max(operator.quanta for operator in proof.operators) <= 2.01
    integer = {operator.name for operator in read_contents(file).operators if operator.dtype == "int8"}
    assert integer - {operator.operator for operator in proof.operators} <= {"QUANTIZE", "DEQUANTIZE"}


def _cell(proof: SimulationAgreement) -> str:
    ours, kernels = _worst(proof.outputs), _worst(proof.kernels)
    whole = ours[0] >= WITHIN and ours[1] >= TOP1
    return "yes" if whole else "{:.1%}, {:.1%} ({:.1%}, {:.1%})".format(*ours, *kernels)


def _worst(outputs: tuple[OutputAgreement, ...]) -> tuple[float, float]:
    within = min(output.within for output in outputs)
    return within, min((output.top1 for output in outputs if output.top1 is not None), default=1.0)
