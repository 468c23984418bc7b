"""This machine as a device: commands end in every way they can, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tiny_models

from edgekit.device.find import find_device
from edgekit.device.local import LocalDevice
from edgekit.errors import DeviceError, InputError


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_a_command_gives_back_its_code_and_what_it_said() -> None:
    with LocalDevice() as device:
        done = device.run(
            [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"]
        )
    assert done == (7, "out\n", "err\n")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_signal_is_a_negative_code(number: signal.Signals) -> None:
    with LocalDevice() as device:
        done = device.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"])
    assert done.returncode == -number


def test_time_out_kills_the_command_and_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with LocalDevice() as device:
        started = time.monotonic()
        done = device.run(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"], timeout=0.5)
    assert done.returncode is None
    assert time.monotonic() - started < 10
    assert wait_until(lambda: not alive(int(note.read_text())))


def test_words_are_passed_as_they_are_and_no_shell_reads_them(tmp_path: Path) -> None:
    word = f"$(touch {tmp_path}/hacked); `id` 'a b'\n*"
    with LocalDevice() as device:
        done = device.run([sys.executable, "-c", "import sys; print(sys.argv[1], end='')", word])
    assert done.stdout == word
    assert not (tmp_path / "hacked").exists()


def test_the_scratch_folder_lives_as_long_as_the_block() -> None:
    device = LocalDevice()
    folder = Path("/")

    def fail() -> None:
        nonlocal folder
        with device:
            folder = Path(device.scratch)
            (folder / "kept").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not folder.exists()
    with pytest.raises(DeviceError, match="not open"):
        _ = device.scratch


def test_files_go_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    with LocalDevice() as device:
        device.pull(device.push(tmp_path / "a"), tmp_path / "b")
        with pytest.raises(DeviceError, match="No such file"):
            device.pull(f"{device.scratch}/none", tmp_path / "c")
        with pytest.raises(DeviceError, match="no such file"):
            device.push(tmp_path / "none")
    assert (tmp_path / "b").read_bytes() == b"bytes"


def test_a_program_that_is_not_there_is_named() -> None:
    with LocalDevice() as device, pytest.raises(DeviceError, match="no-such-program"):
        device.run(["no-such-program"])


def test_this_machine_is_the_device_called_local() -> None:
    assert find_device("local").name == "local"
    with pytest.raises(InputError, match="no address"):
        find_device("here")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_ctrl_c_ends_the_agent_and_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    argv = [sys.executable, "-c", "from edgekit.cli import main; main()", "benchmark", "m.tflite", "--seconds", "60"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    tool = subprocess.Popen(
        argv,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores Ctrl-C
    )
    children = Path(f"/proc/{tool.pid}/task/{tool.pid}/children")
    assert wait_until(lambda: children.read_text().split())
    agent = int(children.read_text().split()[0])
    time.sleep(0.3)
    tool.send_signal(signal.SIGINT)
    _, said = tool.communicate(timeout=20)
    assert tool.returncode == 130
    assert b"interrupted" in said
    assert wait_until(lambda: not alive(agent))
    assert not list(scratch.iterdir())


def test_every_user_may_wait_for_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0o077)
    try:
        with LocalDevice(wait=0.0):
            assert (tmp_path / "edgekit.local.lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
