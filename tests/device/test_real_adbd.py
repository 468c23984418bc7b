"""A phone stand-in: Debian's real adbd in a network namespace of its own, as Android runs it.

Its files are a Debian, and `benchmark_model` is a script that prints what the tool prints: it proves behaviour only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from emulated import SUITE, install, memory_folder
from test_adb_device import TOOL
from test_local_device import wait_until

from edgekit.bench.describe import describe
from edgekit.device.find import find_device
from edgekit.errors import DeviceError

pytestmark = pytest.mark.emulated
SERIAL = "127.0.0.1:5555"
ADDRESS = f"adb://{SERIAL}"
Cli = Callable[..., subprocess.CompletedProcess[str]]

_PACKAGES = (
    "adbd,python3-minimal,python3-distutils,dash,base-passwd,bash,coreutils,procps,sed,grep,util-linux,"
    "libstdc++6,libc-bin,zlib1g"
)
_START = """set -e
mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; mount -t devpts devpts "$1/dev/pts"
exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TMPDIR=/data/local/tmp /usr/sbin/adbd"""


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its root folder; `adb` on PATH reaches it, and only it."""
    if os.getuid() != 0:
        pytest.skip("a phone stand-in needs root (chroot, ip netns)")
    for tool in ("adb", "ip", "mmdebstrap", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"a phone stand-in needs {tool}: apt install adb iproute2 mmdebstrap util-linux")
    folder, space = tmp_path_factory.mktemp("phone"), f"edgekit{os.getpid()}"
    (folder / "pin").write_text(f"Package: adbd android-lib*\nPin: release n={SUITE}-backports\nPin-Priority: 900\n")
    pin = f'--aptopt=Dir::Etc::Preferences "{folder}/pin"'
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip()
    with memory_folder(folder / "root") as root:
        install(architecture, root, _PACKAGES, (SUITE, f"{SUITE}-backports"), pin)
        (root / "data/local/tmp").mkdir(parents=True)
        (root / "system/bin").mkdir(parents=True)
        (root / "system/bin/sh").symlink_to("/bin/sh")
        with pytest.MonkeyPatch.context() as patch:
            yield from _running(root, folder, space, patch)


def _running(root: Path, folder: Path, space: str, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    inside = ["ip", "netns", "exec", space]
    if subprocess.run(["ip", "netns", "add", space], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    real = shutil.which("adb")
    (folder / "bin").mkdir()
    (folder / "bin/adb").write_text(f'#!/bin/sh\nexec {" ".join(inside)} {real} -P 5038 "$@"\n')
    (folder / "bin/adb").chmod(0o755)
    patch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    words = [*inside, "unshare", "-m", "--propagation", "private", "sh", "-c", _START, "sh", str(root)]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        assert wait_until(lambda: b"adbd started" in (folder / "log").read_bytes(), 20), "adbd does not start"
        subprocess.run(["adb", "connect", SERIAL], check=True, capture_output=True, timeout=60)
        assert wait_until(lambda: subprocess.run(["adb", "-s", SERIAL, "shell", "true"]).returncode == 0, 20)
        yield root
    finally:
        subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=60)
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
        subprocess.run(["ip", "netns", "delete", space], check=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    (tmp_path / "tool").write_text(TOOL)
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 1000\n")
    return tmp_path


def test_the_native_tool_measures(phone: Path, files: Path, edgekit_cli: Cli) -> None:
    for _ in range(2):
        done = edgekit_cli("benchmark", "m.tflite", "--device", ADDRESS, "--benchmark-model", "tool")
        assert done.returncode == 0, done.stderr
        assert "106 ms" in done.stdout
    cache = phone / "data/local/tmp/edgekit"
    assert wait_until(lambda: not list((cache / "runs").iterdir()))
    assert len(list((cache / "files").iterdir())) == 3, "tool, model, and what the tool was asked"


def test_a_tool_that_never_ends_is_ended_on_the_phone(phone: Path, files: Path, edgekit_cli: Cli) -> None:
    words = ("benchmark", "m.tflite", "--device", ADDRESS, "--benchmark-model", "slow", "--timeout", 2)
    done = edgekit_cli(*words)
    assert done.returncode == 5
    assert "no answer" in done.stderr
    assert wait_until(lambda: not sleepers(phone))


def test_a_killed_edgekit_leaves_nothing_on_it(phone: Path, files: Path) -> None:
    argv = [sys.executable, "-m", "edgekit", "benchmark", "m.tflite", "--device", ADDRESS, "--benchmark-model", "slow"]
    tool = subprocess.Popen(argv, cwd=files)
    assert wait_until(lambda: sleepers(phone), 30)
    tool.kill()
    tool.wait()
    assert wait_until(lambda: not sleepers(phone))
    assert wait_until(lambda: not list((phone / "data/local/tmp/edgekit/runs").iterdir()))


@pytest.mark.parametrize(
    ("tool", "mark"),
    [(("--benchmark-model", "slow"), b"sleep\x001000\0"), (("--seconds", "100"), b"sys.argv.pop(0)")],
    ids=["native", "agent"],
)
def test_a_phone_unplugged_in_mid_run_is_told_and_nothing_stays_on_it(
    phone: Path, files: Path, tool: tuple[str, str], mark: bytes
) -> None:
    runs = phone / "data/local/tmp/edgekit/runs"
    argv = [sys.executable, "-m", "edgekit", "benchmark", "m.tflite", "--device", ADDRESS, *tool]
    running = subprocess.Popen(argv, cwd=files, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: sleepers(phone, mark), 30)
    subprocess.run(["adb", "disconnect", SERIAL], check=True, capture_output=True, timeout=60)
    try:
        said = running.communicate(timeout=20)[1]
        assert running.returncode == 5
        assert "the connection was lost" in said
        assert "check the cable" in said
        assert wait_until(lambda: not sleepers(phone, mark))
        assert wait_until(lambda: not list(runs.iterdir()))
    finally:
        subprocess.run(["adb", "connect", SERIAL], check=True, capture_output=True, timeout=60)
        assert wait_until(lambda: subprocess.run(["adb", "-s", SERIAL, "shell", "true"]).returncode == 0, 20)


def sleepers(root: Path, mark: bytes = b"sleep\x001000\0") -> list[int]:
    """Processes inside of the phone whose words have the mark, by default the tool that never ends."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if mark in words and Path(f"/proc/{pid}/root").resolve() == root:
                found.append(int(pid))
        except OSError:
            continue
    return found


def test_with_python_the_agent_measures(phone: Path, edgekit_cli: Cli, files: Path) -> None:
    with find_device(ADDRESS) as device:
        seen = describe(device)
    assert [runtime.name for runtime in seen.runtimes] == ["ai-edge-litert"]
    done = edgekit_cli("benchmark", "m.tflite", "--runs", 30, "--device", ADDRESS)
    assert done.returncode == 0, done.stderr
    assert "p50" in done.stdout


def test_a_phone_that_is_not_connected(phone: Path) -> None:
    with pytest.raises(DeviceError, match="not found"), find_device("adb://NOBODY"):
        pass
