"""`--device` and `edgekit devices`, as a user runs them, against a real sshd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from conftest import Sshd
from test_local_device import wait_until

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def devices(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two boards behind one sshd, and one that is not there."""
    entry = f'address = "ssh://board"\nssh_config = "{sshd.config}"\npython = "{sys.executable}"\n'
    path = tmp_path / "devices.toml"
    path.write_text(
        f'[one]\n{entry}cache = "{tmp_path}/one"\n[two]\n{entry}cache = "{tmp_path}/two"\n'
        '[gone]\naddress = "ssh://no-such-host.invalid"\n'
    )
    monkeypatch.setenv("EDGEKIT_DEVICES", str(path))
    (tmp_path / "neg.tflite").write_bytes(tiny_models.negative())
    return path


def test_two_devices_and_one_that_is_gone(devices: Path, tmp_path: Path, edgekit_cli: Cli) -> None:
    names = ("--device", "one", "--device", "gone", "--device", "two")
    done = edgekit_cli("benchmark", "neg.tflite", "--runs", 5, "-o", "r.json", "--json", *names)
    assert done.returncode == 5
    report = json.loads(done.stdout)
    assert [row["device"] for row in report["rows"]] == ["one", "two"]
    assert [failure["device"] for failure in report["failures"]] == ["gone"]
    assert "error: gone: " in done.stderr
    assert [one["device"] for one in json.loads((tmp_path / "r.json").read_text())["measurements"]] == ["one", "two"]
    assert not [*tmp_path.glob("one/runs/*"), *tmp_path.glob("two/runs/*")]


def test_the_table_of_one_device_is_that_of_this_machine(devices: Path, edgekit_cli: Cli) -> None:
    done = edgekit_cli("benchmark", "neg.tflite", "--runs", 40, "--device", "one")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("model ")
    assert "\none: " in done.stdout
    twice = edgekit_cli("benchmark", "neg.tflite", "--device", "one", "--device", "one")
    assert twice.returncode == 2
    assert "twice" in twice.stderr


def test_two_files_are_compared_on_a_device(devices: Path, edgekit_cli: Cli) -> None:
    done = edgekit_cli("compare", "neg.tflite", "neg.tflite", "--device", "two", "--processes", 6)
    assert done.returncode == 0, done.stderr
    assert "verdict:" in done.stdout


def test_devices_are_listed_and_checked(devices: Path, edgekit_cli: Cli) -> None:
    listed = edgekit_cli("devices", "list", "--json")
    assert set(json.loads(listed.stdout)) == {"one", "two", "gone"}
    checked = edgekit_cli("devices", "check", "one", "--json")
    found = json.loads(checked.stdout)["description"]
    assert found["machine"]["kernel"] == os.uname().release
    assert "runtimes" in edgekit_cli("devices", "check", "one").stdout
    gone = edgekit_cli("devices", "check", "gone")
    assert gone.returncode == 5
    assert "no host of this name" in gone.stderr


def test_ctrl_c_ends_the_runs_on_all_devices(devices: Path, tmp_path: Path) -> None:
    text = devices.read_text().replace(f'cache = "{tmp_path}/two"\n', f'cache = "{tmp_path}/two"\nwait = 0\n')
    devices.write_text(text)
    argv = [sys.executable, "-m", "edgekit", "benchmark", "neg.tflite", "--seconds", "60"]
    tool = subprocess.Popen(
        [*argv, "--device", "one", "--device", "local"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert wait_until(lambda: list(tmp_path.glob("one/runs/*/*")), 30)
    tool.send_signal(signal.SIGINT)
    _, said = tool.communicate(timeout=30)
    assert tool.returncode == 130, said
    assert wait_until(lambda: not list(tmp_path.glob("one/runs/*")))
