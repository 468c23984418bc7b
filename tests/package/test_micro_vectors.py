"""Firmware's golden vectors and arena: TensorFlow Lite Micro itself agrees, and works in what is said."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgekit.errors import RunError
from edgekit.package.firmware_files import _resource_variables
from edgekit.package.golden import golden_vectors
from edgekit.package.micro_arena import find_arena, planned_arena
from edgekit.package.micro_run import run_micro
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
import time
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
    made = golden_vectors(path.read_bytes(), 4, kernels="tflite-micro")
    np.save(tmp_path / "in.npy", made.inputs[0])
    subprocess.run([sys.executable, "-c", MICRO, path, tmp_path / "in.npy", tmp_path / "out.npy"], check=True)
    found = np.load(tmp_path / "out.npy")
    assert made.worst([found.reshape(made.outputs[0].shape)])[0] <= 1
    assert made.head.runtime.startswith("tflite-micro")
    recorded, planned = find_arena(path, contents), planned_arena(contents)
    assert recorded.how == "recorded"
    assert runs_in(path, recorded.bytes_64) == ""
    assert runs_in(path, planned.bytes_64) == ""
    assert recorded.bytes_32 <= planned.bytes_32


COUNT = """
import sys
from pathlib import Path
from tflite_micro.python.tflite_micro.runtime import count_resource_variables
print(count_resource_variables(Path(sys.argv[1]).read_bytes()))
"""


@needs_micro
def test_resource_variables_are_counted_as_the_interpreter_counts_them(shared_data: Path) -> None:
    path = shared_data / "models" / "microwakeword" / "okay_nabu.tflite"
    counted = subprocess.run([sys.executable, "-c", COUNT, path], check=True, capture_output=True, text=True).stdout
    assert 0 < _resource_variables(path.read_bytes(), read_contents(path).subgraphs) == int(counted)


@needs_micro
@pytest.mark.skipif(sys.version_info < (3, 11), reason="only Python 3.11 can leave the folder out")
def test_python_in_the_folder_of_the_user_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numbers.py").write_text("raise RuntimeError('this is not the standard library')\n")
    monkeypatch.chdir(tmp_path)
    assert golden_vectors(tiny_models.negative(), 1, kernels="tflite-micro").head.samples == 1


@needs_micro
def test_two_inputs_and_two_outputs_keep_their_order() -> None:
    made = golden_vectors(tiny_models.sum_and_difference(), kernels="tflite-micro")
    x, y = made.inputs
    assert made.outputs[0] == pytest.approx(x + y)
    assert made.outputs[1] == pytest.approx(x - y)
    assert not made.head.xnnpack_compared


@needs_micro
def test_what_micro_cannot_run_is_told() -> None:
    with pytest.raises(RunError, match="TensorFlow Lite Micro did not run the vectors"):
        golden_vectors(tiny_models.wide((2, 2)), kernels="tflite-micro")


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a model with an endless loop does: another package of that name sleeps at its first call."""
    inner = tmp_path / "tflite_micro" / "python" / "tflite_micro"
    inner.mkdir(parents=True)
    for folder in (inner, *inner.parents[:2]):
        (folder / "__init__.py").touch()
    (inner / "runtime.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = tiny_models.negative()
    started = time.monotonic()
    with pytest.raises(RunError, match="for 1 s without an end"):
        run_micro(model, read_contents(model), [np.zeros((1, 4), np.float32)], seconds=1.0)
    assert time.monotonic() - started < 30
