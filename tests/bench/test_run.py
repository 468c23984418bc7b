"""Models run on a device: what comes back, and what every way of failing turns into."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec
import numpy as np
import pytest
import tiny_models
from fake_device import FakeDevice

from edgekit.bench import ask
from edgekit.bench.plan import Plan, plan_for
from edgekit.bench.run import Turns, alternate, infer, measure
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Completed
from edgekit.errors import DataError, DeviceError, InputError, MissingDependency, ModelError, RunError

FLOATS = np.ones((3, 4), np.float32)


def test_outputs_come_back_raw_in_the_order_of_the_file() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 1000, 3)).astype(np.float32)
    result = infer(tiny_models.sum_and_difference(), [x, y], batch=64)
    np.testing.assert_array_equal(result.outputs[0], x + y)
    np.testing.assert_array_equal(result.outputs[1], x - y)
    assert [detail.name for detail in result.output_details] == ["plus", "minus"]
    assert result.samples_per_run == 64
    assert result.runtime.name == "ai-edge-litert"


def test_an_array_of_any_memory_order_is_taken() -> None:
    x = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(infer(tiny_models.negative(), [x[::-1]]).outputs[0], -x[::-1])


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    np.testing.assert_array_equal(infer(str(tmp_path / "m.tflite"), [FLOATS]).outputs[0], -FLOATS)
    with pytest.raises(ModelError, match=r"none\.tflite: no such file"):
        infer(str(tmp_path / "none.tflite"), [FLOATS])


def test_a_batch_that_the_graph_refuses_is_a_run_error() -> None:
    with pytest.raises(RunError, match="cannot run this model"):
        infer(tiny_models.frozen_reshape(), [FLOATS], batch=3)
    assert infer(tiny_models.frozen_reshape(), [FLOATS]).outputs[0].shape == (3, 2, 2)


def test_a_measurement_says_what_was_measured_and_how(tmp_path: Path) -> None:
    path = tmp_path / "neg.tflite"
    path.write_bytes(tiny_models.negative())
    found = measure(path, plan_for(runs=9))
    assert found.model.name == str(path)
    assert found.model.file_bytes == path.stat().st_size
    assert len(found.steady_ns) == 9
    assert found.agent_sha256 == ask.agent_sha256()
    assert measure(path, plan_for(runs=9), inputs=[FLOATS]).inputs == found.inputs


def test_models_take_turns() -> None:
    models = [tiny_models.negative(), tiny_models.negative((1, 10_000), 30)]
    turns = alternate(models, Plan(xnnpack=False), turns=4, turn_seconds=0.002)
    first, second = map(np.median, turns.steady_ns)
    assert second > 2 * first
    medians = turns.turn_medians()
    assert [len(one) for one in medians] == [4, 4]
    assert min(turns.steady_ns[0]) * 1e-9 <= min(medians[0])
    assert max(medians[1]) <= max(turns.steady_ns[1]) * 1e-9


@pytest.mark.parametrize("runs", [((2, 1), (2, 2)), ((4,), (2, 2)), ((0, 4), (2, 2)), ((), (4,))])
def test_turns_that_do_not_add_up_are_not_believed(runs: tuple[tuple[int, ...], ...]) -> None:
    runtime = {"name": "ai-edge-litert", "version": "2"}
    answer = {
        "runtime": runtime,
        "steady_ns": [[5, 6, 7, 8]] * 2,
        "delegations": [[]] * 2,
        "delegate_partitions": [None] * 2,
    }
    good = msgspec.convert({**answer, "turn_runs": [[1, 3], [2, 2]]}, Turns)
    assert good.turn_medians()[1] == pytest.approx([5.5e-9, 7.5e-9])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**answer, "turn_runs": runs}, Turns)
    with pytest.raises(msgspec.ValidationError, match="numbers of models"):
        msgspec.convert({**answer, "turn_runs": [[1, 3], [2, 2]], "delegations": [[]]}, Turns)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"not a model at all", "not a TFLite file"), (b"\x1c\0\0\0TFL3", "damaged or truncated")],
)
def test_files_that_are_no_models_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        measure(data, plan_for(runs=2))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.tflite"):
        infer(tmp_path / "none.tflite", [FLOATS])


def test_arrays_of_objects_never_reach_a_device() -> None:
    with FakeDevice(lambda request: b"") as device, pytest.raises(DataError, match="not numbers"):
        infer(tiny_models.negative(), [np.array([{}], object)], device=device)


def test_a_crash_of_the_real_interpreter_is_survived(tmp_path: Path) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    with (
        LocalDevice(str(crashing)) as device,
        pytest.raises(RunError, match=r"crashed the interpreter.*SIGSEGV") as error,
    ):
        infer(tiny_models.negative(), [FLOATS], device=device)
    assert "--no-xnnpack" in error.value.mend


def test_time_out_is_told_in_seconds() -> None:
    with pytest.raises(RunError, match=r"no answer from local after 0\.01 s"):
        measure(tiny_models.negative(), Plan(), timeout=0.01)


@pytest.mark.parametrize(
    ("completed", "words"),
    [
        (Completed(-11, "", ""), "SIGSEGV"),
        (Completed(-6, "", ""), "SIGABRT"),
        (Completed(-9, "", ""), "memory ran out"),
        (Completed(-200, "", ""), "signal 200"),
        (Completed(1, "", "Traceback\nImportError: x\x1b[31m"), "ImportError: x"),
        (Completed(None, "", ""), "no answer"),
    ],
)
def test_every_end_of_the_process_is_a_run_error(completed: Completed, words: str) -> None:
    with FakeDevice(lambda request: completed) as device, pytest.raises(RunError, match=words) as error:
        measure(tiny_models.negative(), Plan(), device, timeout=5)
    assert not isinstance(error.value, DeviceError)
    assert "\x1b" not in str(error.value)


ERRORS = {
    "runtime": MissingDependency,
    "numpy": MissingDependency,
    "model": ModelError,
    "input": DataError,
    "run": RunError,
    "memory": RunError,
    "request": DeviceError,
    "library": MissingDependency,
    "delegate": RunError,
    "cpus": InputError,
    "meter": InputError,
}


@pytest.mark.parametrize(
    ("name", "runtime", "mend"),
    [
        ("local", "auto", "pip install 'edgekit[runtime]'"),
        ("local", "tflite-runtime", "pip install tflite-runtime 'numpy<2' (Python 3.11 or older)"),
        ("pi", "auto", "on pi: `python3 -m venv ~/edgekit-rt && ~/edgekit-rt/bin/pip install ai-edge-litert numpy`"),
        ("pi", "tflite-runtime", "pip install tflite-runtime 'numpy<2'`, and `python = "),
    ],
)
def test_a_missing_runtime_is_mended_by_the_one_that_was_asked_for(name: str, runtime: Any, mend: str) -> None:
    answer = {"format_version": 1, "command": "infer", "error": {"kind": "runtime", "message": "none is installed"}}
    with FakeDevice(answering(answer), name) as device, pytest.raises(MissingDependency) as error:
        infer(tiny_models.negative(), [FLOATS], runtime=runtime, device=device)
    assert mend in error.value.mend


def test_every_kind_of_refusal_has_its_error() -> None:
    kinds = ask._Fault.__annotations__["kind"]
    assert set(get_args(eval(kinds, vars(ask)))) == ERRORS.keys()
    for kind, wanted in ERRORS.items():
        answer = {"format_version": 1, "command": "infer", "error": {"kind": kind, "message": "why\x1b[2J"}}
        with FakeDevice(answering(answer)) as device, pytest.raises(wanted, match="why") as error:
            infer(tiny_models.negative(), [FLOATS], device=device)
        assert error.value.mend
        assert "\x1b" not in str(error.value)


def answering(answer: object) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: answer if isinstance(answer, bytes) else json.dumps(answer).encode()


GOOD = {
    "format_version": 1,
    "command": "infer",
    "runtime": {"name": "ai-edge-litert", "version": "2"},
    "load_seconds": 0.1,
    "seconds": 0.1,
    "samples_per_run": 1,
    "delegate_partitions": None,
    "output_shapes": [[3, 4]],
    "inputs": [],
    "outputs": [
        {"name": "y", "argument": None, "dtype": "float32", "shape": [1, 4], "scale": None, "zero_point": None}
    ],
}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe garbage",
        b"[" * 100_000,
        b"null",
        {},
        {**GOOD, "format_version": 2},
        {**GOOD, "command": "measure"},
        {**GOOD, "seconds": -1},
        {**GOOD, "seconds": "1"},
        {**GOOD, "extra": 1},
        {**GOOD, "runtime": {"name": "evil", "version": "2"}},
        {**GOOD, "runtime": {"name": "ai-edge-litert", "version": "\x1b[2J"}},
        {**GOOD, "delegate_partitions": 10**30},
        {**GOOD, "output_shapes": [[3, -4]]},
        {**GOOD, "output_shapes": []},
        {**GOOD, "error": {"kind": "other", "message": ""}},
        {key: value for key, value in GOOD.items() if key != "outputs"},
    ],
)
def test_an_answer_that_does_not_fit_is_not_believed(answer: object) -> None:
    with FakeDevice(answering(answer)) as device, pytest.raises(DeviceError):
        infer(tiny_models.negative(), [FLOATS], device=device)


def test_an_answer_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "_MOST_ANSWER_BYTES", 10)
    with FakeDevice(answering(GOOD)) as device, pytest.raises(DeviceError, match="larger than 10"):
        infer(tiny_models.negative(), [FLOATS], device=device)


def header_of(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def npy(folder: Path, array: np.ndarray) -> bytes:
    np.save(folder / "a.npy", array, allow_pickle=True)
    return (folder / "a.npy").read_bytes()


def writing(data: bytes) -> Callable[[dict[str, Any]], bytes]:
    def script(request: dict[str, Any]) -> bytes:
        Path(request["outputs"]).mkdir()
        Path(request["outputs"], "0.npy").write_bytes(data)
        return json.dumps(GOOD).encode()

    return script


def test_outputs_are_read_only_if_they_are_what_was_announced(tmp_path: Path) -> None:
    with FakeDevice(writing(npy(tmp_path, FLOATS))) as device:
        np.testing.assert_array_equal(infer(tiny_models.negative(), [FLOATS], device=device).outputs[0], FLOATS)
    lies = [
        b"",
        b"garbage",
        npy(tmp_path, FLOATS[:2]),
        npy(tmp_path, FLOATS.astype(np.float64)),
        npy(tmp_path, np.array([{}] * 3, object)),
        npy(tmp_path, FLOATS)[:-4],
        header_of("(3, 1000000000000)"),
        header_of("(3, 0)"),
        header_of("'x'"),
    ]
    for data in lies:
        with FakeDevice(writing(data)) as device, pytest.raises(DeviceError):
            infer(tiny_models.negative(), [FLOATS], device=device)


def test_outputs_that_are_not_there_are_a_device_error() -> None:
    with FakeDevice(answering(GOOD)) as device, pytest.raises(DeviceError, match="No such file"):
        infer(tiny_models.negative(), [FLOATS], device=device)


def test_a_full_disk_for_temporary_files_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("edgekit.bench.ask.tempfile.TemporaryDirectory", full)
    with pytest.raises(RunError, match="No space left") as error:
        infer(tiny_models.negative(), [np.zeros((1, 4), np.float32)])
    assert "TMPDIR" in error.value.mend
