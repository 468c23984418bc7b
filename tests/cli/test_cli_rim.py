"""Where things are printed: the result alone on standard output, errors on lines of their own, no traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

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
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", "targets"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
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
