"""Golden vectors and the arena: TensorFlow Lite Micro itself agrees, and works in what is said."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgekit.package.micro_arena import find_arena, planned_arena
from edgekit.package.vectors import make_vectors
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.recorded_arena import runs_in

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="the package tflite-micro is not installed"
)
REAL = ["tflm/hello_world_int8", "tflm/micro_speech_quantized"]
SLOW = [
    "mlperf_tiny_ic/pretrainedResnet_quant",
    "tflm/hello_world_float",
    "mlperf_tiny_ad/ad01_int8",
    "microwakeword/okay_nabu",
]

MICRO = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
given = np.load(sys.argv[2])
interpreter = runtime.Interpreter.from_file(sys.argv[1])
shape, dtype = (interpreter.get_input_details(0)[key] for key in ("shape", "dtype"))
found = []
for row in given:
    interpreter.set_input(row.reshape(shape).astype(dtype), 0)
    interpreter.invoke()
    found.append(interpreter.get_output(0).ravel())
np.save(sys.argv[3], np.array(found))
"""


@needs_micro
@pytest.mark.parametrize("name", [*REAL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_micro_agrees_and_works_in_the_arena(name: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models" / f"{name}.tflite"
    contents = read_contents(path)
    vectors = make_vectors(path, contents)
    np.save(tmp_path / "in.npy", vectors.inputs[0].values)
    subprocess.run([sys.executable, "-c", MICRO, path, tmp_path / "in.npy", tmp_path / "out.npy"], check=True)
    found, golden = np.load(tmp_path / "out.npy").astype(np.float64), vectors.outputs[0]
    assert np.abs(found - golden.values).max() <= golden.tolerance
    recorded, planned = find_arena(path, contents), planned_arena(contents)
    assert recorded.how == "recorded"
    assert runs_in(path, recorded.bytes_64) == ""
    assert runs_in(path, planned.bytes_64) == ""
    assert recorded.bytes_32 <= planned.bytes_32


def test_vectors_are_the_same_each_time_and_reach_over_the_range() -> None:
    model = tiny_models.dequantize()
    contents = read_contents(model)
    first, second = (make_vectors(model, contents) for _ in range(2))
    assert first.count == 4
    for one, other in zip((*first.inputs, *first.outputs), (*second.inputs, *second.outputs), strict=True):
        assert np.array_equal(one.values, other.values)
    stored, real = first.inputs[0].values, first.outputs[0].values
    assert stored.dtype == np.int8
    assert int(stored.max()) - int(stored.min()) > 128
    assert real == pytest.approx((stored.astype(np.float32) - 3) * 0.5)
    assert 0 < first.outputs[0].tolerance < 0.01


@pytest.mark.parametrize("runtime", ["ai-edge-litert", pytest.param("tflite-micro", marks=needs_micro)])
def test_two_inputs_and_two_outputs_keep_their_order(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.package.vectors.find_spec", lambda name: name if runtime == "tflite-micro" else None)
    model = tiny_models.sum_and_difference()
    found = make_vectors(model, read_contents(model))
    assert found.runtime.startswith(runtime)
    x, y = (one.values for one in found.inputs)
    assert found.outputs[0].values == pytest.approx(x + y)
    assert found.outputs[1].values == pytest.approx(x - y)


def test_large_tensors_give_fewer_vectors() -> None:
    model = tiny_models.negative((1, 10_000))
    assert make_vectors(model, read_contents(model)).count == 1
