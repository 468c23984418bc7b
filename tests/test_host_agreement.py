"""A device beside this host: alike within a quantum, or the first tensor that parts by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from crooked import AGENT, crooked, kernels, with_another_kernel
from fake_device import FakeDevice
from msgspec import structs

from edgekit.bench.plan import Plan, delegate_for
from edgekit.bench.run import infer
from edgekit.cli.evaluate import command, render
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Completed
from edgekit.errors import DataError, DeviceError, ModelError
from edgekit.evaluate import evaluate_model
from edgekit.host_agreement import judged_outputs, same_decisions
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_stored
from edgekit.tflite.taps import with_inner_outputs
from edgekit.verify import Outputs


@pytest.fixture(scope="module")
def file(int8_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "digits-int8.tflite"
    path.write_bytes(int8_file)
    return path


def test_every_tensor_becomes_an_output_and_the_last_is_as_it_was(int8_file: bytes, digits: Path) -> None:
    with np.load(digits / "digits.npz") as arrays:
        x = to_stored(arrays["x_test"][:1], read_contents(int8_file).inputs[0])
    tapped = with_inner_outputs(int8_file)
    contents = read_contents(int8_file)
    written = [contents.tensors[index].name for op in contents.operators for index in op.outputs]
    assert [tensor.name for tensor in read_contents(tapped).outputs] == written
    before, after = infer(int8_file, [x]).outputs, infer(tapped, [x]).outputs
    np.testing.assert_array_equal(before[0], after[-1])


def test_only_a_row_of_values_a_sample_decides() -> None:
    def outputs(*arrays: Any) -> Outputs:
        return Outputs(tuple(np.asarray(one, np.float32) for one in arrays), 1, "")

    rows, other = [[1, 2], [2, 1]], [[1, 2], [1, 2]]
    maps = np.zeros((2, 4, 4, 2))
    assert same_decisions(outputs(rows, maps), outputs(other, maps + 1)) == 0.5
    assert same_decisions(outputs(maps, [[1], [2]]), outputs(-maps, [[1], [1]])) is None


def test_the_same_machine_agrees_with_itself(file: Path, digits: Path) -> None:
    with LocalDevice() as device:
        found = evaluate_model(file, digits / "digits.npz", device=device, samples=40)
    assert found.samples == 40
    assert found.agreement is not None
    assert found.agreement.same
    assert found.agreement.decisions == 1
    assert found.agreement.outputs[0].quanta == 0
    assert "no output differs" in render(found)


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_tensor_that_parts_is_named(place: int, file: Path, digits: Path) -> None:
    model = file.read_bytes()
    number = kernels(model)[place]
    operator = read_contents(model).operators[number]
    with crooked(lambda given: with_another_kernel(given, number)) as device:
        found = evaluate_model(file, digits / "digits.npz", device=device, samples=30)
    assert found.agreement is not None
    assert found.agreement.parted is not None
    assert found.agreement.parted.tensor == operator.output_name
    assert found.agreement.operator == f"{operator.name}, operator {number}"
    assert found.agreement.parted.quanta > 1
    text = render(found)
    assert f"the first tensor that parts is '{operator.output_name}'" in text
    assert "unlike this host" in text


@pytest.mark.parametrize("lost", [False, True])
def test_a_file_that_cannot_show_its_tensors_is_still_judged(lost: bool, file: Path, digits: Path) -> None:
    outputs = len(read_contents(file.read_bytes()).outputs)

    def change(model: bytes) -> bytes | None:
        if len(read_contents(model).outputs) == outputs:
            return with_another_kernel(model, kernels(model)[0])
        if lost:
            raise DeviceError("the connection was lost", "look at it")
        return None

    with crooked(change) as device:
        found = evaluate_model(file, digits / "digits.npz", device=device, samples=30)
    assert found.agreement is not None
    assert found.agreement.parted is None
    why = "the device failed in the search" if lost else "with all tensors as outputs the file does not run"
    assert f"no first tensor can be named: {why}" in render(found)


def test_a_device_runs_only_tflite_files(digits: Path) -> None:
    with LocalDevice() as device, pytest.raises(ModelError, match=r"no \.tflite file"):
        evaluate_model(digits / "digits.keras", digits / "digits.npz", device=device)


def test_without_labels_a_device_is_still_compared(file: Path, digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "digits.npz") as arrays:
        np.savez(tmp_path / "bare.npz", **{key: arrays[key] for key in arrays if key.startswith("x")})
    with LocalDevice() as device:
        found = evaluate_model(file, tmp_path / "bare.npz", device=device, samples=10)
    assert found.scores == ()
    assert found.agreement is not None
    assert found.agreement.same


@pytest.fixture
def board() -> FakeDevice:
    """One that runs -x where it is given a file for its Edge TPU."""

    def script(request: dict[str, Any]) -> Completed | bytes:
        place, model = Path(request["response"]), Path(request["model"]).with_name("plain.tflite")
        model.write_bytes(tiny_models.negative())
        asked = place.with_name("asked.json")
        asked.write_text(json.dumps({**request, "model": str(model), "delegate": None}))
        subprocess.run([sys.executable, str(AGENT), str(asked)], check=True)
        return place.read_bytes()

    return FakeDevice(script, "board")


def test_what_this_host_cannot_run_is_scored_and_the_reason_told(board: FakeDevice, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.custom("edgetpu-custom-op"))
    x = np.eye(4, dtype=np.float32)[np.arange(100) % 4]
    np.savez(tmp_path / "labelled.npz", x=-x, y=np.arange(100) % 4)
    np.savez(tmp_path / "bare.npz", x=-x)
    plan = Plan(delegate=delegate_for("edgetpu"))
    with board:
        found = evaluate_model(tmp_path / "m.tflite", tmp_path / "labelled.npz", device=board, plan=plan)
        with pytest.raises(DataError, match=r"no labels.*; not compared with this host: .* an Edge TPU only"):
            evaluate_model(
                tmp_path / "m.tflite", tmp_path / "bare.npz", data_options={"task": "none"}, device=board, plan=plan
            )
    assert found.scores[0].value == 1
    assert found.agreement is None
    assert "not compared with this host: model: edgetpu-custom-op runs on an Edge TPU only" in found.warnings[-1]
    assert " on board\n" in render(found)


def test_a_device_that_fails_is_no_matter_of_this_host(
    file: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*words: object) -> None:
        raise DeviceError("the connection was lost", "look at it")

    monkeypatch.setattr("edgekit.evaluate.host_agreement", lost)
    with LocalDevice() as device, pytest.raises(DeviceError, match="lost"):
        evaluate_model(file, digits / "digits.npz", device=device, samples=10)


def test_the_command_takes_some_samples_and_json(file: Path, digits: Path) -> None:
    words = [str(file), "--data", str(digits / "digits.npz"), "--samples", "50", "--json"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["samples"] == 50
    assert told["device"] == "local"
    assert told["agreement"] is None


def test_a_cast_inside_another_subgraph_gives_no_output_its_scale() -> None:
    contents = read_contents(tiny_models.dequantize(0.5))
    inside = structs.replace(contents.operators[0], subgraph=1)
    elsewhere = structs.replace(contents, operators=(inside,))
    assert [judged_outputs(each)[0].scale for each in (contents, elsewhere)] == [0.5, None]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--floor", "50%"), 0, ""),
        (("--floor", "99.9%"), 1, "not accepted: accuracy 0."),
        (("--floor", "lots"), 3, "is no score"),
        (("--floor", "0.5", "--float", "x.keras"), 2, "give no --float"),
    ],
)
def test_the_command_is_a_gate(
    words: tuple[str, ...], code: int, said: str, file: Path, digits: Path, edgekit_cli: Callable[..., Any]
) -> None:
    done = edgekit_cli("evaluate", str(file), "--data", str(digits / "digits.npz"), *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
