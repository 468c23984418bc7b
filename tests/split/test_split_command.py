"""`edgekit split` from the command line, on files as they are found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from toy_networks import chain, skipping, two_branches

from edgekit.cli.split import command
from edgekit.cli.split_table import Report, render
from edgekit.device.local import LocalDevice
from edgekit.errors import DataError, DeviceError, GateError, InputError, ModelError, OutputError, RunError
from edgekit.split import on_device
from edgekit.split.make import Wish, split_model
from edgekit.split.on_device import Agreement
from edgekit.split.plan import Port
from edgekit.split.samples import as_samples, random_samples
from edgekit.split.write import write_split
from edgekit.tf import import_keras

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "branches.tflite"
    path.write_bytes(two_branches("int8"))
    return path


def run(*words: object) -> str:
    """Standard output of the command in this process; what it raises is raised."""
    done = CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.stdout


def test_from_the_command_line_to_the_runner(model: Path, tmp_path: Path, edgekit_cli: Cli) -> None:
    done = edgekit_cli("split", model, "-n", 3, "-o", "parts", "--measure", "--seconds", 0.2, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [one["file"] for one in report["plan"]["segments"]] == [f"segment{at}.tflite" for at in range(3)]
    assert "measured on local" in report["plan"]["basis"]
    assert [(one["identical"], one["varies"]) for one in report["agreements"]] == [(True, True)]
    rows = report["speeds"]["rows"]
    assert [row["ratio"] is None for row in rows] == [True, *[False] * (len(rows) - 1)]
    assert all(row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"] for row in rows[1:])
    assert json.loads((tmp_path / "parts/plan.json").read_bytes()) == report["plan"]


def test_the_table(model: Path, tmp_path: Path) -> None:
    said = run(model, "-n", 4, "-o", tmp_path / "parts", "--branches", "--estimate")
    assert "identical to the whole, bit for bit" in said
    assert "because segments end where branches do" in said
    last = next(line for line in said.splitlines() if line.startswith("segment3.tflite"))
    assert "1, 2" in last


def test_bytes_need_no_clock(model: Path, tmp_path: Path) -> None:
    said = run(model, "-n", 2, "-o", tmp_path / "parts", "--balance", "bytes", "--no-verify")
    assert "balanced by bytes" in said
    assert "the whole" not in said


def test_a_target_with_a_cache_says_what_stays_on_it(model: Path, tmp_path: Path) -> None:
    said = json.loads(run(model, "-o", tmp_path / "parts", "-t", "coral-usb", "--balance", "bytes", "--json"))
    segments = said["plan"]["segments"]
    assert len(segments) == 2
    assert [one["streamed_bytes"] for one in segments] == [0, 0]
    assert sum(one["accelerated"] for one in segments) > 0


def test_a_folder_is_replaced_only_if_it_is_a_split(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    words = (model, "-n", 2, "-o", out, "--balance", "bytes", "--no-verify")
    run(*words)
    with pytest.raises(OutputError, match="exists"):
        run(*words)
    run(*words, "--overwrite")
    (out / "plan.json").unlink()
    with pytest.raises(OutputError, match="not the folder of a split"):
        run(*words, "--overwrite")
    with pytest.raises(OutputError, match="no such folder"):
        run(model, "-n", 2, "-o", tmp_path / "no/where")
    assert not list(tmp_path.glob(".*partial"))


def test_what_the_user_put_beside_a_split_is_not_lost_with_it(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    words = (model, "-n", 2, "-o", out, "--balance", "bytes", "--no-verify", "--overwrite")
    run(*words)
    (out / "segment1_edgetpu.tflite").write_bytes(b"compiled")
    (out / "runner" / "__pycache__").mkdir()
    (out / "runner" / "__pycache__" / "cli.pyc").touch()
    run(*words)
    assert not (out / "segment1_edgetpu.tflite").exists(), "that of another segment"
    for mine in ("outputs.npz", "data/input.npy", "segment7.tflite"):
        (out / mine).parent.mkdir(exist_ok=True)
        (out / mine).touch()
        with pytest.raises(OutputError, match=f"{mine}: not part of this split, and would be lost"):
            run(*words)
        (out / mine).unlink()
    (out / "plan.json").write_text("{}")
    with pytest.raises(OutputError, match="not the folder of a split"):
        run(*words)


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("-n", 1), InputError, "1 asked for, a split has at least 2"),
        (("-n", 99), InputError, "99 segments"),
        (("-n", 2, "--units", "cpu"), InputError, "1 units for 2 segments"),
        (("-n", 2, "--units", "cpu,tpu"), InputError, "is no unit"),
        (("-n", 2, "--units", "cpu,cpu:4000"), RunError, "segment 1 .*core 4000"),
        (("-n", 2, "--units", "cpu,edgetpu:0"), InputError, r"compiled segments.*\n.*run\.py run input\.npy --units"),
        (("-n", 2, "--data", "nothing.npz"), DataError, "nothing.npz"),
        (("-n", 2, "--device", "nobody"), InputError, "nobody"),
    ],
    ids=["one", "many", "few units", "no unit", "no core", "not compiled", "no data", "no device"],
)
def test_bad_input_is_told(words: tuple[object, ...], kind: type, said: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said) as refused:
        run(model, "-o", tmp_path / "parts", "--estimate", *words)
    assert refused.value.mend
    if kind is not RunError:  # what only the machine can tell comes after the folder was written
        assert not (tmp_path / "parts").exists()


def test_samples_of_the_user_are_fed(model: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x_test=x, y_test=np.zeros((20, 4), np.float32))
    words = ("--data", tmp_path / "x.npz", "--task", "regression")
    said = run(model, "-n", 2, "-o", tmp_path / "parts", "--estimate", *words)
    assert f"on 20 samples of {tmp_path / 'x.npz'}: identical" in said
    np.savez(tmp_path / "wrong.npz", x_test=x[:, :5], y_test=np.zeros((20, 4), np.float32))
    words = ("--data", tmp_path / "wrong.npz", "--task", "regression")
    with pytest.raises(DataError):
        run(model, "-n", 2, "-o", tmp_path / "other", "--estimate", *words)


def test_integers_that_differ_are_not_accepted(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = on_device.Installed.run

    def wrong(*words: object) -> list[np.ndarray]:
        (found,) = right(*words)  # type: ignore[arg-type]
        return [found ^ 1]

    monkeypatch.setattr(on_device.Installed, "run", wrong)
    with pytest.raises(GateError, match=r"differs from that of the whole model by up to 0\.1"):
        run(model, "-n", 2, "-o", tmp_path / "parts", "--estimate")


def test_a_difference_of_floats_is_told_with_its_size() -> None:
    plan = split_model(chain(), Wish(2)).plan
    report = Report(Path("out"), plan, 8, "random samples", (Agreement("y", "float32", False, 1e-6, 15.0, True),))
    assert "within 1e-06 of the whole (whose values reach 15)" in render(report)


def test_samples_that_tell_nothing_apart_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "dead.tflite"
    path.write_bytes(chain((8, 8), "int8"))
    np.savez(tmp_path / "x.npz", x_test=np.zeros((4, 8), np.float32), y_test=np.zeros((4, 8), np.float32))
    words = ("--data", tmp_path / "x.npz", "--task", "regression", "--estimate")
    done = CliRunner().invoke(command, [str(path), "-n", "2", "-o", str(tmp_path / "parts"), *map(str, words)])
    assert "proves little" in done.stderr


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, out, rename = split_model(chain(), Wish(2)), tmp_path / "parts", Path.rename
    write_split(split, out)

    def full(path: Path, to: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        write_split(split, out, overwrite=True)
    assert (out / "plan.json").is_file()
    assert list(tmp_path.iterdir()) == [out]


def test_answers_of_a_device_that_do_not_fit_together_are_its_fault(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_model(model.read_bytes(), Wish(2))
    write_split(split, tmp_path / "parts")
    arrays = random_samples(split.plan.inputs, 3)
    row = {"name": "a", "stream": [1.0, 1.0], "processor": [1.0], "single": [1.0]}
    said = json.dumps({"runtime": "r", "cores": 1, "rows": [row, {**row, "stream": [1.0]}]})
    with LocalDevice() as device:
        installed = on_device.Installed(tmp_path / "parts", split.plan, device)
        monkeypatch.setattr(installed, "_asked", lambda *words: said)
        with pytest.raises(DeviceError, match="an answer that is none"):
            installed.measure(model, arrays, on_device.Units(), 0.1)
        with pytest.raises(DeviceError, match=r"an output of the shape \[2, 1, 4\] for 3 samples"):
            on_device.agreements(model, arrays, [np.zeros((2, 1, 4), np.int8)], split.plan, device)


def test_inputs_of_a_batch() -> None:
    port = Port(0, "x", (2, 3), "float32")
    (array,) = as_samples([np.zeros((5, 3), np.float32)], [port])
    assert array.shape == (2, 2, 3)
    with pytest.raises(DataError, match="at least 2"):
        as_samples([np.zeros((1, 3), np.float32)], [port])


def test_random_samples_reach_the_whole_range_of_what_is_quantized() -> None:
    ports = [
        Port(0, "q", (1, 500), "int8", 0.1, 0),
        Port(1, "f", (1, 500), "float32"),
        Port(2, "i", (1, 500), "int32"),
        Port(3, "b", (), "bool"),
    ]
    quantized, floats, indices, flags = random_samples(ports, 4)
    assert (quantized.min(), quantized.max()) == (-128, 127)
    assert -1 <= floats.min() < -0.9
    assert set(np.unique(indices)) == {0, 1}
    assert (flags.shape, flags.dtype) == ((4,), bool)


def test_a_keras_model_is_converted_first(tmp_path: Path) -> None:
    keras = import_keras()
    layers = [keras.layers.Dense(8, activation="relu") for _ in range(3)]
    keras.Sequential([keras.Input((8,)), *layers]).save(tmp_path / "tiny.keras")
    said = run(tmp_path / "tiny.keras", "-n", 2, "-o", tmp_path / "parts", "--estimate")
    assert "bit for bit" in said
    assert (tmp_path / "parts/whole.tflite").is_file()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(skipping()[:100])
    with pytest.raises(ModelError):
        run(tmp_path / "x.tflite", "-n", 2, "-o", tmp_path / "parts")
    with pytest.raises(ModelError, match="no such file"):
        run(tmp_path / "none.tflite", "-n", 2, "-o", tmp_path / "parts")


REAL = ("mlperf_tiny_ic/**/*.tflite", "mlperf_tiny_ad/**/*.tflite", "basic_pitch/**/*.tflite")


def published(shared_data: Path, pattern: str) -> Path:
    found = min((shared_data / "models").glob(pattern), default=None)
    if found is None:
        pytest.skip(f"no {pattern} in the shared data")
    return found


@pytest.mark.parametrize("pattern", REAL)
def test_published_files_are_the_same_in_segments(pattern: str, shared_data: Path, tmp_path: Path) -> None:
    said = json.loads(run(published(shared_data, pattern), "-n", 3, "-o", tmp_path / "x", "--estimate", "--json"))
    assert all(one["identical"] for one in said["agreements"])


def test_a_published_file_with_a_state_is_refused(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="keeps its state outside"):
        run(published(shared_data, "microwakeword/**/*.tflite"), "-n", 2, "-o", tmp_path / "x")
