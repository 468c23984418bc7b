"""`edgekit benchmark`, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from click.testing import CliRunner, Result

from edgekit.bench.result import Measurement, Results
from edgekit.bench.run import measure
from edgekit.cli.benchmark import command
from edgekit.errors import EdgekitError, InputError, ModelError, OutputError, RunError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "neg.tflite"
    path.write_bytes(tiny_models.negative((1, 1000), 20))
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in arguments])
    if isinstance(result.exception, EdgekitError):
        raise result.exception
    return result


def test_a_table_on_stdout_and_warnings_on_stderr(model: Path) -> None:
    result = run(model, "--runs", 5)
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["model", "size", "load", "first"]
    assert lines[2].startswith("neg.tflite")
    assert "ai-edge-litert" in lines[-1]
    assert "give a higher --runs than 5" in result.stderr


def test_json_holds_statistics_warnings_and_setting(model: Path) -> None:
    (row,) = json.loads(run(model, "--runs", 40, "--json").stdout)["rows"]
    assert row["summary"]["runs"] == 40
    assert row["summary"]["p50_seconds"]["low"] <= row["summary"]["p50_seconds"]["high"]
    assert row["runtime"]["name"] == "ai-edge-litert"


def test_raw_samples_go_to_a_file_that_is_never_overwritten_by_chance(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    run(model, "--runs", 5, "-o", out)
    first = out.read_bytes()
    assert len(Results.from_json(first).measurements[0].steady_ns) == 5
    with pytest.raises(OutputError, match="exists"):
        run(model, "--runs", 5, "-o", out)
    assert out.read_bytes() == first
    run(model, "--runs", 6, "-o", out, "--overwrite")
    assert len(Results.from_json(out.read_bytes()).measurements[0].steady_ns) == 6


def test_a_missing_folder_is_told_before_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such folder"):
        run(tmp_path / "never-looked-for.tflite", "-o", tmp_path / "missing" / "r.json")


def test_a_file_that_is_no_model_is_told_before_a_device_is_asked(tmp_path: Path) -> None:
    (tmp_path / "page.tflite").write_text("<!doctype html>")
    for name, words in (
        ("gone.tflite", "no such file"),
        ("page.tflite", "not a TFLite file"),
        (".", "no manifest.json"),
    ):
        with pytest.raises(ModelError, match=words):
            run(tmp_path / name, "--device", "ssh://nobody@host.invalid")


def test_several_models_that_share_a_name_are_told_apart(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "b" / model.name
    other.parent.mkdir()
    other.write_bytes(model.read_bytes())
    assert str(other) in run(model, other, "--runs", 3).stdout


def test_wrong_options_are_told(model: Path) -> None:
    assert "not both" in run(model, "--runs", 5, "--seconds", 1).stderr
    with pytest.raises(InputError, match="no address"):
        run(model, "--device", "X")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [(b"", 3, "empty"), (tiny_models.custom(), 5, "Unheard"), (b"\x1c\0\0\0TFL3", 3, "mend: copy or export it again")],
)
def test_exit_codes(tmp_path: Path, data: bytes, code: int, words: str) -> None:
    (tmp_path / "m.tflite").write_bytes(data)
    argv = [sys.executable, "-c", "from edgekit.cli import main; main()", "benchmark", "m.tflite", "--runs", "2"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""


def test_every_real_model_is_measured_or_refused_with_its_reason(shared_data: Path) -> None:
    for path in sorted((shared_data / "models").rglob("*.tflite")):
        if path.stem.endswith("_edgetpu"):
            with pytest.raises(InputError, match="runs on an Edge TPU only"):
                run(path, "--runs", 2, "--no-xnnpack")
        elif path.stem.endswith("_decoder"):
            with pytest.raises(RunError, match="has no custom operator 'PosenetDecoderOp'"):
                run(path, "--runs", 2, "--no-xnnpack")
        else:
            assert path.name in run(path, "--runs", 2, "--no-xnnpack").stdout


def test_a_missing_file_is_told_before_anything_is_measured(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.cli.benchmark.find_device", lambda *words: pytest.fail("a device was looked for"))
    with pytest.raises(InputError, match=r"missing\.tflite"):
        run(model, tmp_path / "missing.tflite")


def test_a_hostile_file_name_is_text_on_both_outputs(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\nb$(id).tflite"
    path.write_bytes(tiny_models.negative())
    shown = run(path, "--runs", 2)
    for text in (shown.stdout, shown.stderr):
        assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]
    assert shown.stdout.splitlines()[2].startswith("a [2J b$(id).tflite ")
    assert all(line.startswith(("measuring ", "warning: ")) for line in shown.stderr.splitlines())


def test_a_long_measurement_is_given_the_time_that_it_takes(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def measured(*words: object, timeout: float, **others: object) -> None:
        given.append(timeout)
        raise RunError("not run", "no matter")

    monkeypatch.setattr("edgekit.cli.benchmark.measure", measured)
    for words in (["--seconds", 3600], ["--seconds", 3600, "--timeout", 5]):
        with pytest.raises(RunError, match="not run"):
            run(model, *words)
    assert given == [4200, 5]


@pytest.fixture
def unrunnable(tmp_path: Path) -> Path:
    path = tmp_path / "custom.tflite"
    path.write_bytes(tiny_models.custom())
    return path


def test_a_model_that_cannot_be_run_does_not_stop_those_behind_it(
    model: Path, unrunnable: Path, tmp_path: Path
) -> None:
    result = run(unrunnable, model, "--runs", 3, "--processes", 2, "--json", "-o", tmp_path / "r.json")
    assert result.exit_code == 5
    report = json.loads(result.stdout)
    assert [row["model"] for row in report["rows"]] == [str(model)] * 2
    (failure,) = report["failures"]
    assert failure["model"] == str(unrunnable)
    assert "custom.tflite" in failure["problem"]
    assert "error: local: " in result.stderr
    assert len(Results.from_json((tmp_path / "r.json").read_bytes()).measurements) == 2


def test_a_device_under_two_names_is_refused_before_anything_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.toml").write_text('[pi]\naddress = "ssh://pi@pi1:22"\n')
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    with pytest.raises(InputError, match="pi and ssh://pi@pi1:22 are one device"):
        run(model, "--device", "local", "--device", "pi", "--device", "ssh://pi@pi1:22", "--runs", 3)


def test_of_several_models_that_cannot_be_run_each_is_named(unrunnable: Path, tmp_path: Path) -> None:
    (tmp_path / "edgetpu.tflite").write_bytes(tiny_models.custom("edgetpu-custom-op"))
    result = run(unrunnable, tmp_path / "edgetpu.tflite", "--runs", 3)
    assert result.exit_code == 5
    assert "nothing was measured" in result.stdout
    assert "Unheard" in result.stderr
    assert "runs on an Edge TPU only" in result.stderr


def full(*words: object) -> None:
    raise OutputError("r.json: No space left on device", "free space")


@pytest.mark.parametrize("place", ["", "r.json", "full"])
def test_what_was_measured_before_an_interruption_is_kept(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def measured(path: Path, *words: Any, **others: Any) -> Measurement:
        begun.append(path)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return measure(path, *words, **others)

    monkeypatch.setattr("edgekit.cli.benchmark.measure", measured)
    if place == "full":
        monkeypatch.setattr("edgekit.cli.benchmark.write_new", full)
    result = run(model, "--runs", 3, "--processes", 3, *(("-o", tmp_path / place) if place else ()))
    assert result.exit_code != 0
    assert ("No space left" in result.stderr) == (place == "full")
    if place == "r.json":
        assert len(Results.from_json((tmp_path / "r.json").read_bytes()).measurements) == 2
        assert f"measured before the interruption: 2, kept in {tmp_path / 'r.json'}" in result.stderr
    else:
        assert result.stdout.count("neg.tflite") == 2


def test_a_folder_that_may_not_be_written_to_is_told_before_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.cli.common.os.access", lambda *words: False)
    with pytest.raises(OutputError, match="you may not write there"):
        run(tmp_path / "never-looked-for.tflite", "-o", tmp_path / "r.json")


def test_what_cannot_be_written_is_shown(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.cli.benchmark.write_new", full)
    result = CliRunner().invoke(command, [str(model), "--runs", "3", "-o", str(tmp_path / "r.json")])
    assert isinstance(result.exception, OutputError)
    assert "neg.tflite" in result.stdout
