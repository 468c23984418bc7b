"""The agent, as a device runs it: a request file in, an answer file out."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

AGENT = Path(__file__).parent.parent / "benchmarks" / "agent" / "agent.py"
SHORT = {"window_runs": 2, "window_seconds": 0.0, "tolerance": 0.5, "max_seconds": 0.05}
PLAN = {"threads": 1, "xnnpack": True, "runtime": "auto", "seed": 0, "warm_up": SHORT}


def ask(
    folder: Path, command: str, flags: tuple[str, ...] = (), env: dict[str, str] | None = None, **request: Any
) -> dict[str, Any]:
    words = {"command": command, "response": str(folder / "answer.json"), **PLAN, **request}
    (folder / "request.json").write_text(json.dumps(words))
    argv = [sys.executable, *flags, str(AGENT), str(folder / "request.json")]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("*.partial"))
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return answer


def infer(folder: Path, model: bytes, arrays: list[np.ndarray], **request: Any) -> Any:
    (folder / "model.tflite").write_bytes(model)
    for index, array in enumerate(arrays):
        np.save(folder / f"in{index}.npy", array)
    paths = [str(folder / f"in{index}.npy") for index in range(len(arrays))]
    request = {"model": str(folder / "model.tflite"), "inputs": paths, "outputs": str(folder / "out"), **request}
    answer = ask(folder, "infer", **request)
    if "error" in answer:
        return answer["error"]
    return answer, [np.load(folder / "out" / f"{index}.npy") for index in range(len(answer["outputs"]))]


def measure(folder: Path, model: bytes, **request: Any) -> dict[str, Any]:
    (folder / "model.tflite").write_bytes(model)
    limits = {"min_runs": 5, "max_runs": 5, "min_seconds": 0, "max_seconds": 10}
    return ask(folder, "measure", **{"model": str(folder / "model.tflite"), "inputs": [], **limits, **request})


def test_it_is_written_for_python_3_8_and_imports_only_numpy_and_the_standard_library() -> None:
    tree = ast.parse(AGENT.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (7, 1), (7, 3), (7, 7), (7, 100), (6, 3)])
def test_all_samples_are_answered_whatever_the_batch(tmp_path: Path, samples: int, batch: int) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, samples, 3)).astype(np.float32)
    answer, (plus, minus) = infer(tmp_path, tiny_models.sum_and_difference(), [x, y], batch=batch)
    np.testing.assert_array_equal(plus, x + y)
    np.testing.assert_array_equal(minus, x - y)
    assert answer["samples_per_run"] == min(batch, samples)
    assert [detail["name"] for detail in answer["inputs"]] == ["x", "y"]


def test_an_input_without_a_batch_takes_one_whole_tensor_a_sample(tmp_path: Path) -> None:
    x = np.arange(15, dtype=np.float32).reshape(3, 5)
    _, (y,) = infer(tmp_path, tiny_models.negative((5,)), [x], batch=4)
    np.testing.assert_array_equal(y, -x)


def test_a_static_batch_larger_than_the_data_is_filled_up(tmp_path: Path) -> None:
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    answer, (y,) = infer(tmp_path, tiny_models.negative((3, 4)), [x], batch=1)
    np.testing.assert_array_equal(y, -x)
    assert answer["samples_per_run"] == 3


def test_open_dimensions_take_the_size_of_the_data(tmp_path: Path) -> None:
    x = np.ones((2, 6), np.float32)
    _, (y,) = infer(tmp_path, tiny_models.negative((1, -1)), [x])
    assert y.shape == (2, 6)


def test_quantized_tensors_stay_raw_and_their_scale_is_told(tmp_path: Path) -> None:
    x = np.array([[-128, 0, 3, 127]], np.int8)
    answer, (y,) = infer(tmp_path, tiny_models.dequantize(0.5, 3), [x])
    np.testing.assert_allclose(y, [[-65.5, -1.5, 0.0, 62.0]])
    assert (answer["inputs"][0]["scale"], answer["inputs"][0]["zero_point"]) == (0.5, 3)
    assert answer["outputs"][0]["scale"] is None


FLOATS = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize(
    ("model", "arrays", "kind", "words"),
    [
        (tiny_models.negative(), [FLOATS.astype(np.float64)], "input", "takes float32, the array is float64"),
        (tiny_models.negative(), [FLOATS[:, :3]], "input", "has shape [1, 4]"),
        (tiny_models.negative(), [FLOATS, FLOATS], "input", "1 inputs, 2 arrays"),
        (tiny_models.negative(), [FLOATS[:0]], "input", "at least one"),
        (tiny_models.sum_and_difference(), [FLOATS[:1, :3], FLOATS[:, :3]], "input", "same number of samples"),
        (tiny_models.strings(), [FLOATS[:, 0], FLOATS], "input", "takes strings"),
        (tiny_models.frozen_reshape(), [FLOATS], "run", "allocate"),
        (tiny_models.custom(), [FLOATS[:1]], "run", "Unheard"),
        (tiny_models.negative()[:60], [FLOATS], "model", "Flatbuffer"),
    ],
)
def test_what_cannot_be_run_is_answered_with_the_reason(
    tmp_path: Path, model: bytes, arrays: list[np.ndarray], kind: str, words: str
) -> None:
    error = infer(tmp_path, model, arrays, batch=2)
    assert error["kind"] == kind
    assert words in error["message"]


def test_pickled_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(tiny_models.negative())
    np.save(tmp_path / "in0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    paths = {"model": str(tmp_path / "model.tflite"), "outputs": str(tmp_path / "out")}
    answer = ask(tmp_path, "infer", inputs=[str(tmp_path / "in0.npy")], **paths)
    assert answer["error"]["kind"] == "input"


def test_exactly_the_runs_that_were_asked_are_timed(tmp_path: Path) -> None:
    answer = measure(tmp_path, tiny_models.negative(), min_runs=17, max_runs=17)
    assert len(answer["steady_ns"]) == 17
    assert min(answer["steady_ns"]) > 0
    assert answer["first_ns"] > 0
    assert answer["load_ns"] > answer["timer"]["resolution_ns"]


def test_runs_go_on_for_the_seconds_that_were_asked_and_no_longer_than_the_most(tmp_path: Path) -> None:
    answer = measure(tmp_path, tiny_models.negative(), min_runs=1, max_runs=10**6, min_seconds=0.2, max_seconds=10)
    assert sum(answer["steady_ns"]) < 0.3e9
    assert len(answer["steady_ns"]) > 1000
    late = measure(tmp_path, tiny_models.negative(), min_runs=10**6, max_runs=10**6, min_seconds=0, max_seconds=0.1)
    assert len(late["steady_ns"]) < 10**6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_adds_up_at_every_point(tmp_path: Path) -> None:
    points = measure(tmp_path, tiny_models.negative((1, 2**20)))["memory"]
    for point in points.values():
        parts = point["anonymous_bytes"] + point["file_bytes"] + point["shared_bytes"]
        assert abs(parts - point["resident_bytes"]) <= 2**20
        assert point["peak_bytes"] >= point["resident_bytes"] - 2**20
    in_and_out = 2 * 4 * 2**20
    assert points["first"]["anonymous_bytes"] - points["imported"]["anonymous_bytes"] >= in_and_out


def test_xnnpack_can_be_turned_off_and_it_is_told_whether_it_ran(tmp_path: Path) -> None:
    assert measure(tmp_path, tiny_models.negative())["delegate_partitions"] == 1
    assert measure(tmp_path, tiny_models.negative(), xnnpack=False)["delegate_partitions"] == 0


def test_models_alternate_and_each_has_its_own_samples(tmp_path: Path) -> None:
    for name, operators in (("a", 1), ("b", 60)):
        (tmp_path / name).write_bytes(tiny_models.negative((1, 1000), operators))
    paths = [str(tmp_path / name) for name in "ab"]
    turns = {"turns": 4, "turn_seconds": 0.002, "seconds": 10, "reverse": True}
    answer = ask(tmp_path, "alternate", models=paths, **{**turns, "xnnpack": False})
    a, b = map(np.median, answer["steady_ns"])
    assert b > 3 * a
    assert [len(runs) for runs in answer["turn_runs"]] == [4, 4]
    assert [sum(runs) for runs in answer["turn_runs"]] == [len(times) for times in answer["steady_ns"]]


def test_the_machine_is_described(tmp_path: Path) -> None:
    answer = ask(tmp_path, "describe")
    assert answer["machine"]["numpy"] == np.__version__
    assert answer["machine"]["usable_cores"] <= answer["machine"]["cores"]
    assert "ai-edge-litert" in [runtime["name"] for runtime in answer["runtimes"]]


def test_an_unknown_command_lists_the_known_ones(tmp_path: Path) -> None:
    answer = ask(tmp_path, "fly")
    assert answer["error"]["kind"] == "request"
    assert "measure" in answer["error"]["message"]


def test_a_python_without_numpy_is_told(tmp_path: Path) -> None:
    error = ask(tmp_path, "describe", flags=("-S",), env={"PYTHONPATH": ""})["error"]
    assert error["kind"] == "runtime"
    assert "numpy" in error["message"]


def stand_in(folder: Path, module: str) -> dict[str, str]:
    (folder / module).mkdir()
    (folder / module / "__init__.py").touch()
    (folder / module / "interpreter.py").write_text("raise ImportError('GLIBC_2.34 not found')")
    return {"PYTHONPATH": str(folder)}


def test_names_that_are_no_text_are_a_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "names.tflite"
    path.write_bytes(tiny_models.negative().replace(b"t0\0", b"\x88\x88\0"))
    error = ask(tmp_path, "measure", model=str(path), inputs=[])["error"]
    assert error["kind"] == "model"


def test_tflite_runtime_beside_numpy_2_is_refused_before_it_breaks(tmp_path: Path) -> None:
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("this is numpy 1")
    request = {"runtime": "tflite-runtime", "model": "-", "inputs": []}
    error = ask(tmp_path, "measure", env=stand_in(tmp_path, "tflite_runtime"), **request)["error"]
    assert error["kind"] == "numpy"
    assert "numpy<2" in error["message"]


def test_a_runtime_that_does_not_import_is_refused_with_its_reason(tmp_path: Path) -> None:
    error = ask(tmp_path, "measure", env=stand_in(tmp_path, "ai_edge_litert"), model="-", inputs=[])["error"]
    assert error["kind"] == "runtime"
    assert "GLIBC_2.34" in error["message"]


def test_a_runtime_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    if importlib.util.find_spec("tflite_runtime"):
        pytest.skip("tflite-runtime is installed")
    error = ask(tmp_path, "measure", runtime="tflite-runtime", model="-", inputs=[])["error"]
    assert error["kind"] == "runtime"
    assert "found: ai-edge-litert" in error["message"]


def test_it_ends_when_the_process_that_started_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(tiny_models.negative((1, 1), operators=500))
    np.save(tmp_path / "in.npy", np.zeros((500_000, 1), np.float32))
    words = {"command": "infer", "response": str(tmp_path / "answer.json"), **PLAN, "xnnpack": False, "batch": 1}
    words |= {"model": str(tmp_path / "model.tflite"), "inputs": [str(tmp_path / "in.npy")]}
    (tmp_path / "request.json").write_text(json.dumps({**words, "outputs": str(tmp_path / "out")}))
    argv = [sys.executable, str(AGENT), str(tmp_path / "request.json")]
    parent = (
        "import subprocess, sys, time, os; "
        f"child = subprocess.Popen({argv!r}, stderr=subprocess.DEVNULL); print(child.pid, flush=True); "
        f"[time.sleep(0.05) for _ in range(200) if not os.path.exists({str(tmp_path / 'out' / '0.npy')!r})]"
    )
    pid = int(subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True).stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            break
        subprocess.run(["sleep", "0.05"])
    else:
        os.kill(pid, 9)
        pytest.fail("the agent went on without its parent")
    assert not (tmp_path / "answer.json").exists()


def test_ctrl_c_ends_it_at_once_whatever_the_runtime_does(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(tiny_models.negative((1, 1)))
    np.save(tmp_path / "in.npy", np.zeros((4, 1), np.float32))
    limits = {"min_runs": 5, "max_runs": 10**9, "min_seconds": 600, "max_seconds": 600, "with_io": True}
    words = {"command": "measure", "response": str(tmp_path / "answer.json"), **PLAN, **limits}
    words |= {"model": str(tmp_path / "model.tflite"), "inputs": [str(tmp_path / "in.npy")]}
    (tmp_path / "request.json").write_text(json.dumps(words))
    argv = [sys.executable, str(AGENT), str(tmp_path / "request.json")]
    for _ in range(3):
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        try:
            while "tflite" not in Path(f"/proc/{process.pid}/maps").read_text():
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == -signal.SIGINT
        assert "Traceback" not in said
    assert not (tmp_path / "answer.json").exists()


@pytest.mark.parametrize("xnnpack", [True, False])
def test_memory_that_does_not_suffice_is_named(tmp_path: Path, xnnpack: bool) -> None:
    fault = measure(tmp_path, tiny_models.wide([2**24, 2**24]), xnnpack=xnnpack)["error"]
    assert fault["kind"] == "memory"
    assert f"takes {2**50} bytes" in fault["message"]
