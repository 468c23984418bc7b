"""Where things are printed: the result alone on standard output, errors on lines of their own, no traceback."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

import edgekit.cli
from edgekit.bench.baseline import METRICS, Verdict
from edgekit.bench.statistics import Interval
from edgekit.cli import cli, keygen, memory
from edgekit.cli.common import escaped, file_names, refuse_ending, refuse_place
from edgekit.cli.gate_options import render_verdicts
from edgekit.errors import OutputError
from edgekit.limit import parse_limit

Cli = Callable[..., subprocess.CompletedProcess[str]]


def on_terminal(*words: str, columns: int, folder: Path | None = None) -> str:
    """What a terminal of that width gets to see."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "edgekit", *words]
    subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder, check=False)
    os.close(slave)
    return os.read(master, 100_000).decode()


def test_an_error_does_not_stick_to_the_progress_line(tmp_path: Path) -> None:
    (tmp_path / "custom.tflite").write_bytes(tiny_models.custom("Unheard"))
    shown = on_terminal("benchmark", "custom.tflite", columns=80, folder=tmp_path)
    assert "measuring custom.tflite\r\x1b[Kerror: " in shown


def test_progress_never_wraps(tmp_path: Path) -> None:
    (tmp_path / f"{'x' * 90}.tflite").write_bytes(tiny_models.custom("Unheard"))
    shown = on_terminal("benchmark", "x" * 90 + ".tflite", columns=40, folder=tmp_path)
    assert shown.split("\r\x1b[K")[1] == ("measuring " + "x" * 90)[:39]


def test_what_a_users_function_prints_stays_out_of_the_json(
    edgekit_cli: Cli, float_file: bytes, digits: Path, tmp_path: Path
) -> None:
    data = str(digits / "digits.npz")
    (tmp_path / "talk.py").write_text(
        f"import numpy as np\ndef data():\n    print('hello')\n    return dict(np.load({data!r}))\n"
    )
    (tmp_path / "digits.tflite").write_bytes(float_file)
    done = edgekit_cli("evaluate", "digits.tflite", "--data", "talk:data", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 597
    assert "hello" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_an_error_and_no_traceback() -> None:
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "edgekit", "targets"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=plain)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (("optimize", "my", "model.keras", "-o", "build"), "into quotes"),
        (("check", "m.tflite"), "edgekit targets list"),
        (("evaluate", "m.tflite"), "class folders of images"),
    ],
)
def test_wrong_usage_that_newcomers_run_into_names_the_mend(
    edgekit_cli: Cli, words: tuple[str, ...], mend: str
) -> None:
    done = edgekit_cli(*words)
    assert done.returncode == 2
    assert re.search(rf"^  mend: .*{mend}", done.stderr, re.MULTILINE)


def test_a_reader_that_has_read_enough_ends_a_command_as_any_other_program() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "edgekit", "results", "schema"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("place", "mend"), [(".", "write NAME.html"), ("a/b.htm", "write a/b.html"), ("..", "write NAME.html")]
)
def test_a_name_with_another_ending_is_answered_with_the_right_one(place: str, mend: str) -> None:
    with pytest.raises(OutputError, match=r"not the name of a \.html file") as error:
        refuse_ending(Path(place), ".html")
    assert error.value.mend == mend


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_keys_need_a_name(name: str) -> None:
    assert isinstance(CliRunner().invoke(keygen.command, [name, "--no-passphrase"]).exception, OutputError)


def test_a_pipe_is_written_to_though_it_exists(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refuse_place(tmp_path / "pipe", overwrite=False)
    refuse_place(Path("/dev/null"), overwrite=False)


def test_a_place_is_refused_before_a_model_is_read(tmp_path: Path) -> None:
    words = [str(tmp_path / "none.tflite"), "-o", str(tmp_path / "none" / "x.html")]
    with pytest.raises(OutputError, match="no such folder"):
        CliRunner().invoke(memory.command, words, catch_exceptions=False)


def test_files_of_the_same_name_are_shown_by_their_paths() -> None:
    assert file_names(["a/m.tflite", "b/n.tflite"]) == {"a/m.tflite": "m.tflite", "b/n.tflite": "n.tflite"}
    assert set(file_names(["a/m.tflite", "b/m.tflite"]).values()) == {"a/m.tflite", "b/m.tflite"}
    limit = parse_limit("p50>1ms", METRICS)
    verdicts = [
        Verdict(f"{folder}/m.tflite", "local", limit, "kept", Interval(1, 1, 1), 1, None) for folder in ("a", "b")
    ]
    assert "b/m.tflite" in render_verdicts(verdicts)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "a", "b", "--fail-undecided"), "goes with --fail-if"),
        (("doctor", "a", "--float", "b", "--data", "c", "--target", "host"), "give --repair"),
    ],
)
def test_an_option_that_another_needs_is_refused_without_it(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_a_time_out_of_ci_ends_a_command_as_ctrl_c_does(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    words = [sys.executable, "-m", "edgekit", "benchmark", "m.tflite", "--runs", "3", "--processes", "999"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr is not None
        while "measuring" not in job.stderr.readline():
            assert job.poll() is None
        job.terminate()
        said = job.stderr.read()
    assert job.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said


def test_a_fault_of_our_own_is_no_missed_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a riddle")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(SystemExit) as ended:
        edgekit.cli.main()
    signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 70
    assert "RuntimeError: a riddle" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["targets", "recipes", "devices"])
def test_a_group_alone_lists_as_json_too(group: str) -> None:
    assert json.loads(CliRunner().invoke(cli, [group, "--json"]).stdout) is not None
    refused = CliRunner().invoke(cli, [group, "--json", "list"])
    assert refused.exit_code == 2
    assert "write --json behind list" in refused.output


def test_json_for_another_encoding_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"licence": "\N{LATIN SMALL LETTER E WITH ACUTE} \N{GRINNING FACE}"}, ensure_ascii=False)
    for encoding, ascii_only in (("utf-8", False), ("UTF8", False), ("latin-1", True), ("ascii", True)):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
        found = escaped(text)
        assert found.isascii() == ascii_only
        assert json.loads(found) == json.loads(text)
