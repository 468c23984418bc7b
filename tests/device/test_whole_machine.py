"""A whole machine: memory that adds up, heat and other work that are seen, and the loss of its power or memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import tiny_models
from machine import CORES, MEMORY_BYTES, Machine, whole_machine
from test_local_device import wait_until

from edgekit.bench.disturbances import disturbances
from edgekit.bench.plan import plan_for
from edgekit.bench.result import Measurement, Results
from edgekit.bench.run import measure
from edgekit.device.ssh import SshDevice
from edgekit.errors import DeviceError, RunError
from edgekit.evaluate import evaluate_model

pytestmark = pytest.mark.emulated
FEW = plan_for(runs=5)
MIB = 2**20
WEIGHT = 20 * MIB
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with whole_machine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def there(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which commands know the machine as `board`."""
    (tmp_path / "devices.toml").write_text(f'[board]\naddress = "ssh://pi"\nssh_config = "{machine.config}"\n')
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    return tmp_path


def test_a_reset_in_mid_run(machine: Machine, there: Path, edgekit_cli: Cli) -> None:
    """Minutes after the first installation; what that put there has to be whole on the disk."""
    (there / "m.tflite").write_bytes(tiny_models.negative())
    words = ("benchmark", "m.tflite", "--device", "board")
    argv = [sys.executable, "-m", "edgekit", *words, "--seconds", "1000"]
    started = machine.boot()
    with subprocess.Popen(argv, cwd=there, stderr=subprocess.PIPE, text=True) as tool:
        assert wait_until(lambda: len(machine.processes()) >= 2, 300), "the far end and the agent"
        machine.reset()
        _, said = tool.communicate(timeout=120)
    assert tool.returncode == DeviceError.exit_code
    assert "the connection was lost" in said
    assert "rebooted" in said
    machine.await_start()
    assert machine.boot() != started
    again = edgekit_cli(*words, "--runs", 5, cwd=there)
    assert again.returncode == 0, again.stderr
    assert "installing" not in again.stderr
    assert machine.runs() == []


@contextmanager
def covered(machine: Machine, files: dict[str, str]) -> Iterator[None]:
    """Files that the kernel of this machine does not have; `//` ends the folder that is hidden by theirs."""
    places = dict.fromkeys(path.partition("//")[0] for path in files)
    for place in places:
        machine.root(f"busybox mount -t tmpfs none {place}")
    try:
        for path, text in files.items():
            machine.root(f"mkdir -p {Path(path).parent} && echo {text} > {path}")
        yield
    finally:
        for place in places:
            machine.root(f"busybox umount {place}")


def test_strict_refuses_a_hot_board(machine: Machine, there: Path, edgekit_cli: Cli) -> None:
    """As a Raspberry Pi under-voltage and throttled, with a governor that saves power."""
    (there / "m.tflite").write_bytes(tiny_models.negative())
    hot = {
        "/sys/class/thermal//thermal_zone0/temp": "81234",
        "/sys/devices/platform//soc/soc:firmware/get_throttled": "50005",
        "/sys/devices/system/cpu/cpu0//cpufreq/scaling_governor": "powersave",
        "/sys/devices/system/cpu/cpu0//cpufreq/scaling_cur_freq": "600000",
    }
    with covered(machine, hot):
        done = edgekit_cli("benchmark", "m.tflite", "--runs", 5, "--device", "board", "--strict", "-o", "found.json")
    assert done.returncode == 1
    for words in ("under-voltage", "throttled", "'powersave'"):
        assert words in done.stderr
    found = Results.from_json((there / "found.json").read_bytes()).measurements[0]
    assert found.before.temperature_celsius == found.timeline[0].temperature_celsius == 81.234
    assert found.before.throttled == 0x50005
    assert found.before.frequency_hz == found.timeline[0].frequency_hz == 600_000_000


@pytest.fixture(scope="module")
def device(machine: Machine) -> Iterator[SshDevice]:
    """One session for the tests below; commands would wait for its end."""
    with machine.device() as device:
        yield device


@pytest.fixture(scope="module")
def heavy(device: SshDevice) -> Measurement:
    """20 MiB of constants and 20 MiB of arena."""
    return measure(tiny_models.heavy(WEIGHT // 4), FEW, device)


def test_memory_adds_up(heavy: Measurement) -> None:
    for point in msgspec.structs.astuple(heavy.memory):
        parts = point.anonymous_bytes, point.file_bytes, point.shared_bytes
        assert point.resident_bytes == sum(parts)
        assert point.peak_bytes >= point.resident_bytes
        assert point.swap_bytes == 0
        assert point.private_bytes <= point.resident_bytes


def test_constants_are_pages_of_a_file_and_the_arena_is_anonymous(heavy: Measurement) -> None:
    before, after = heavy.memory.imported, heavy.memory.first
    assert WEIGHT - MIB < after.file_bytes - before.file_bytes < WEIGHT + 6 * MIB
    assert WEIGHT - MIB < after.anonymous_bytes - before.anonymous_bytes < WEIGHT + 4 * MIB


def test_the_machine_is_the_one_that_was_switched_on(heavy: Measurement, machine: Machine) -> None:
    assert (heavy.machine.architecture, heavy.machine.cores) == ("aarch64", CORES)
    assert (
        heavy.machine.memory_bytes
        == int(machine.root("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) * 1024
    )
    assert 0.9 * MEMORY_BYTES < heavy.machine.memory_bytes < MEMORY_BYTES
    assert heavy.machine.kernel == machine.root("uname -r").strip()


def test_what_a_machine_does_not_tell_is_null(heavy: Measurement) -> None:
    seen = heavy.before
    assert (seen.governor, seen.frequency_hz, seen.temperature_celsius, seen.throttled) == (None,) * 4
    assert seen.cpu_pressure is not None
    assert heavy.timeline == ()
    assert heavy.processor is not None
    assert heavy.processor.own_seconds > 0
    # not compared with each other: `busy` counts ticks, and a busy host keeps some of them from the emulator
    assert 0 < heavy.processor.busy_seconds <= CORES * heavy.processor.seconds + 0.1


def test_a_quiet_machine_is_not_accused(heavy: Measurement) -> None:
    assert not [words for words in disturbances(heavy) if "other work" in words]


def test_other_work_is_seen(machine: Machine, device: SshDevice) -> None:
    machine.root(f"for one in $(seq {2 * CORES}); do nohup yes > /dev/null 2>&1 & done")
    try:
        found = measure(tiny_models.negative(), plan_for(seconds=0.5), device)
    finally:
        machine.root("pkill yes")
    assert [words for words in disturbances(found) if words.startswith("other work used")]


def test_a_model_is_as_accurate_there_as_here(
    device: SshDevice, int8_file: bytes, digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(int8_file)
    found = evaluate_model(tmp_path / "m.tflite", digits / "digits.npz", device=device, samples=40)
    assert found.scores[0].value > 0.9
    assert found.agreement is not None
    assert found.agreement.outputs[0].quanta <= 2


@pytest.mark.parametrize(
    ("arena_bytes", "reason"),
    [
        pytest.param(600 * MIB, f"out of memory: the largest of its tensors takes {600 * MIB} bytes", id="refused"),
        pytest.param(472 * MIB, "was killed .SIGKILL., most often because memory ran out", id="killed"),
    ],
)
def test_a_model_too_large_for_the_machine(machine: Machine, device: SshDevice, arena_bytes: int, reason: str) -> None:
    started = machine.boot()
    with pytest.raises(RunError, match=reason):
        measure(tiny_models.wide([1, arena_bytes // 4]), FEW, device)
    assert machine.boot() == started
    assert machine.runs() == [Path(device.scratch).name]
    assert len(machine.processes()) == 1, "the far end of this session"
    assert len(measure(tiny_models.negative(), FEW, device).steady_ns) == 5
