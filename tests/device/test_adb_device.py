"""A phone over adb: an `adb` on PATH whose phone is this machine, or that fails as adb does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.bench.fleet import on_all
from edgekit.bench.plan import plan_for
from edgekit.bench.result import Results
from edgekit.bench.run import measure
from edgekit.cli import devices
from edgekit.cli.benchmark import command
from edgekit.device import adb
from edgekit.device.adb import AdbDevice, AdbPhone
from edgekit.device.address import AdbAddress
from edgekit.device.find import find_device
from edgekit.device.remote import RemoteOptions
from edgekit.errors import DeviceError, MissingDependency

TOOL = """#!/bin/sh
echo "$@" > "$(dirname "$0")/asked"
echo "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate."
echo "INFO: count=5 first=106436 curr=105929 min=105929 max=106436 avg=106065 std=193 median=105948 p95=106436"
echo "INFO: count=50 first=106022 curr=105780 min=105416 max=106528 avg=105784 std=260 median=105718 p95=106281"
echo "Inference timings in us: Init: 87639, First inference: 106436, Warmup (avg): 106065, Inference (avg): 105784"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=14.4414 overall=14.8164"
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in the place of `adb`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def says(script: str) -> None:
        (folder / "adb").write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> {tmp_path}/log\n{script}\n")
        (folder / "adb").chmod(0o755)

    return says


@pytest.fixture
def here(program: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A phone that is this machine; gives its cache folder."""
    program('shift 2; case "$1" in push) exec cp "$2" "$3";; shell) shift 2; exec sh -c "$*";; esac')
    monkeypatch.setattr(adb, "CACHE", str(tmp_path / "phone"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "phone"


PHONE = AdbAddress("PHONE1")


def phone(tool: Path = Path("tool"), wait: float = 0.0) -> AdbPhone:
    return AdbPhone(PHONE, lambda _: tool, wait=wait)


def test_files_and_commands(here: Path, tmp_path: Path) -> None:
    (tmp_path / "it's $(a)").write_bytes(bytes(range(256)) * 999)
    with phone() as device:
        there = device.push(tmp_path / "it's $(a)")
        device.pull(there, tmp_path / "back")
        done = device.run(["sh", "-c", 'echo "$1"; echo e >&2; exit 7', "x", "a 'b' $(id)"])
        with pytest.raises(DeviceError, match="No such file"):
            device.pull("/none", tmp_path / "c")
        with pytest.raises(DeviceError, match="more than 10"):
            device.pull(there, tmp_path / "c", most_bytes=10)
        with pytest.raises(MissingDependency, match="needs Python"):
            _ = device.python
        assert device.run(["sh", "-c", "exec sleep 60"], timeout=0.3).returncode is None
        assert device.run(["sh", "-c", "kill -SEGV $$"]).returncode == -signal.SIGSEGV
    assert done == (7, "a 'b' $(id)\n", "e\n")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "it's $(a)").read_bytes()
    assert not list((here / "runs").iterdir())


def test_a_kept_file_is_sent_once_and_checked_each_time(here: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"m" * 1000)
    for _ in range(2):
        with phone() as device:
            kept = Path(device.push(tmp_path / "model", keep=True))
    assert (tmp_path / "log").read_text().count("\0push\0") == 1
    kept.write_bytes(b"n" * 1000)
    with phone() as device, pytest.raises(DeviceError, match="another hash"):
        device.push(tmp_path / "model", keep=True)
    assert not kept.exists()


def test_what_was_not_used_for_a_month_is_removed(here: Path, tmp_path: Path) -> None:
    for name in ("model", "other"):
        (tmp_path / name).write_text(name)
    with phone() as device:
        model, other = (Path(device.push(tmp_path / name, keep=True)) for name in ("model", "other"))
    month = time.time() - 32 * 86400
    os.utime(model, (month, month))
    with phone() as device:
        assert not model.exists()
        os.utime(other, (month, month))
        device.push(tmp_path / "other", keep=True)
    with phone():
        assert other.exists(), "it was used the last time"


def test_one_run_at_a_time(here: Path) -> None:
    with phone():
        with pytest.raises(DeviceError, match="another run has the device") as error, phone():
            pass
        assert "`wait = SECONDS`" in error.value.mend
    with phone():
        pass


def test_with_python_and_without_a_phone_has_one_lock(here: Path) -> None:
    agent = AdbDevice(PHONE, RemoteOptions(python=sys.executable, wait=0.0))
    with phone(), pytest.raises(DeviceError, match="another run has the device"), agent:
        pass
    with agent, pytest.raises(DeviceError, match="another run has the device"), phone():
        pass


def test_a_flock_that_takes_a_descriptor_only_is_enough(here: Path, tmp_path: Path) -> None:
    """As toybox has it, on Android."""
    strict = 'case $#$2 in 2[0-9]) ;; *) echo "flock: not a descriptor: $2" >&2; exit 1;; esac'
    (tmp_path / "bin/flock").write_text(f'#!/bin/sh\n{strict}\nexec {shutil.which("flock")} "$@"\n')
    (tmp_path / "bin/flock").chmod(0o755)
    test_one_run_at_a_time(here)


def test_a_tool_that_cannot_be_got_is_a_failure_of_its_phone_alone(here: Path, tmp_path: Path) -> None:
    def fails(_: object) -> Path:
        raise MissingDependency("https://host/tool cannot be downloaded", "see to the network")

    phones = [phone(), AdbPhone(PHONE, fails, name="other")]
    found = on_all(phones, lambda device: device.name)
    assert [(one.value, one.error and one.error.problem) for one in found] == [
        ("adb://PHONE1", None),
        (None, "https://host/tool cannot be downloaded"),
    ]


def test_a_wait_for_a_phone_can_be_cancelled(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = phone(wait=60.0)
    monkeypatch.setattr("edgekit.device.adb.time.sleep", lambda seconds: waiting.cancel())
    with phone(), pytest.raises(DeviceError, match="cancelled"), waiting:
        pass


def test_a_pulled_cable_is_told_and_the_folder_goes(here: Path) -> None:
    with phone() as device:
        assert device._holder is not None
        device._holder.kill()
        device._holder.wait()
        with pytest.raises(DeviceError, match="connection was lost"):
            device.run(["true"])


def test_two_phones_of_one_serial_are_told_apart_by_their_connection(
    here: Path, tmp_path: Path, program: Callable[[str], None]
) -> None:
    alike = 'case "$1 $2" in "-s PHONE1") echo "error: more than one device" >&2; exit 1;; esac; shift 4;'
    program(f'{alike} exec sh -c "$*"')
    for device in (phone(), AdbDevice(PHONE)):
        with pytest.raises(DeviceError, match="more than one device") as error, device:
            pass
        assert "adb://usb:1-4.2" in error.value.mend
        assert "adb://transport:3" in error.value.mend
    (tmp_path / "log").unlink()
    with AdbPhone(AdbAddress(transport=3), lambda _: Path("tool")) as device:
        assert device.run(["echo", "here"]).stdout == "here\n"
    assert (tmp_path / "log").read_text().startswith("-t\0003\0shell\0")


def test_what_was_measured_before_the_cable_was_pulled_is_kept(here: Path, tmp_path: Path) -> None:
    """The tool pulls it at the second model: it kills the process that holds the lock."""
    for operators, name in enumerate("ab", start=1):
        (tmp_path / f"{name}.tflite").write_bytes(tiny_models.negative(operators=operators))
    pull = f"[ -e {tmp_path}/once ] && kill -9 $(cat {tmp_path}/holder); touch {tmp_path}/once"
    (tmp_path / "tool").write_text(TOOL.replace("#!/bin/sh\n", f"#!/bin/sh\n{pull}\n"))
    note = f"echo $$ > {tmp_path}/holder"
    told = (tmp_path / "bin/adb").read_text().replace("shift 2;", f"case $* in *flock*) {note};; esac; shift 2;", 1)
    (tmp_path / "bin/adb").write_text(told)
    words = [str(tmp_path / "a.tflite"), str(tmp_path / "b.tflite"), "--device", "adb://PHONE1"]
    words += ["--benchmark-model", str(tmp_path / "tool"), "-o", str(tmp_path / "r.json")]
    shown = CliRunner().invoke(command, words)
    assert shown.exit_code == 5
    assert "error: adb://PHONE1: the connection was lost" in shown.output
    assert [one.model.name for one in Results.from_json((tmp_path / "r.json").read_bytes()).native] == words[:1]


def test_a_phone_with_python_is_measured_by_the_agent(here: Path) -> None:
    with AdbDevice(PHONE, RemoteOptions(python=sys.executable)) as device:
        found = measure(tiny_models.negative(), plan_for(runs=3), device)
        assert device.round_trips == 3
    assert found.device == "adb://PHONE1"
    assert not list((here / "runs").iterdir())


def test_a_phone_without_python_needs_the_tool(here: Path) -> None:
    with pytest.raises(MissingDependency, match="no Python") as error, AdbDevice(PHONE, RemoteOptions(python="nopy")):
        pass
    assert "--benchmark-model" in error.value.mend


def test_a_check_of_a_phone_without_python_says_what_works(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text('[p]\naddress = "adb://P"\npython = "nopy"\nbenchmark_model = "tool"\n')
    shown = CliRunner().invoke(devices.command, ["check", "p"])
    assert shown.exit_code == 0
    rows = {line[:14].strip(): line[14:] for line in shown.stdout.splitlines()}
    assert rows["device"] == "p"
    assert rows["kernel"] == os.uname().release
    assert rows["works"].startswith(f"edgekit benchmark: by TensorFlow Lite's own tool ({tmp_path}/tool)")
    assert "evaluate, compare and profile" in rows["does not"]
    assert "no Python on the phone" in rows["because"]
    bare = json.loads(CliRunner().invoke(devices.command, ["check", "p", "--json"]).stdout)
    assert (bare["description"], bare["bare"]["benchmark_model"]) == (None, str(tmp_path / "tool"))
    (tmp_path / "devices.toml").write_text('[p]\naddress = "adb://P"\npython = "nopy"\n')
    assert "benchmark, with --benchmark-model PATH" in CliRunner().invoke(devices.command, ["check", "p"]).stdout
    assert not list((here / "runs").iterdir())


def test_a_check_of_a_board_without_python_stays_an_error(
    program: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("exit 127")
    (tmp_path / "bin/adb").rename(tmp_path / "bin/ssh")
    shown = CliRunner().invoke(devices.command, ["check", "ssh://board"])
    assert isinstance(shown.exception, MissingDependency)


def test_the_tool_is_found_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text('[p]\naddress = "adb://P"\nbenchmark_model = "tool"\n')
    assert isinstance(find_device("adb://P"), AdbDevice)
    named = find_device("p")
    assert isinstance(named, AdbPhone)
    assert (named.name, named.tool) == ("p", tmp_path / "tool")
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit/benchmark_model").touch()
    assert find_device("adb://P").tool == tmp_path / "edgekit/benchmark_model"  # type: ignore[attr-defined]
    assert find_device("adb://P", benchmark_model=Path("x")).tool == Path("x")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("error: device 'PHONE1' not found", "adb devices"),
        ("error: more than one device/emulator", "adb://SERIAL"),
        ("error: no device with transport id '3'", "transport_id"),
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "see whether"),
        ("error: device unauthorized.", "unlock the phone"),
        ("error: device offline", "reconnect"),
        ("adb: no devices/emulators found", "USB debugging"),
        ("sh: flock: not found", "Android 9"),
        ("mkdir: '/data': Read-only file system", "writable"),
    ],
)
def test_what_adb_says_becomes_an_error_with_a_mend(
    program: Callable[[str], None], tmp_path: Path, said: str, mend: str
) -> None:
    (tmp_path / "said").write_text(said)
    program(f"cat {tmp_path}/said >&2; exit 1")
    for device in (phone(), AdbDevice(PHONE)):
        with pytest.raises(DeviceError) as error, device:
            pass
        assert mend in error.value.mend or "unauthorized" in said
        assert error.value.mend


def test_no_adb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DeviceError, match="cannot start adb"), phone():
        pass


def test_the_command_measures_with_the_tool(here: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    (tmp_path / "tool").write_text(TOOL)
    words = [str(tmp_path / "m.tflite"), "--device", "adb://PHONE1", "--benchmark-model", str(tmp_path / "tool")]
    shown = CliRunner().invoke(command, [*words, "--runs", "50", "-o", str(tmp_path / "r.json")])
    assert "106 ms" in shown.output
    assert "APPROXIMATE" in shown.output
    asked = (here / "files/asked").read_text()
    assert "--num_runs=50 --min_secs=0" in asked
    saved = Results.from_json((tmp_path / "r.json").read_bytes())
    assert not saved.measurements
    assert saved.native[0].printed.steady.runs == 50
    assert json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)["native"][0]["device"] == "adb://PHONE1"
    assert not list((here / "runs").iterdir())


def test_what_the_tool_cannot_do_is_done_by_the_python_of_the_phone(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    words = f'address = "adb://PHONE1"\nbenchmark_model = "tool"\npython = "{sys.executable}"\n'
    (tmp_path / "devices.toml").write_text(f"[p]\n{words}")
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    asked = [str(tmp_path / "m.tflite"), "--device", "p", "--runs", "3", "--retries", "1", "--json"]
    (row,) = json.loads(CliRunner().invoke(command, asked).stdout)["rows"]
    assert row["device"] == "p"
