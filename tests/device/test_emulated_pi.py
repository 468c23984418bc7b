"""A Raspberry Pi stand-in, 64 and 32 bits: nothing is installed on it by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from emulated import Board, emulated
from test_local_device import wait_until

from edgekit.bench.describe import describe
from edgekit.bench.plan import plan_for
from edgekit.bench.run import infer, measure
from edgekit.errors import MissingDependency, RunError
from edgekit.evaluate import evaluate_model

pytestmark = pytest.mark.emulated
FEW = plan_for(runs=5)


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with emulated("arm64", tmp_path_factory.mktemp("arm64")) as board:
        yield board


@pytest.fixture(scope="module")
def old_pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """32 bits, with the system's numpy, as Raspberry Pi OS has it."""
    libraries = "/usr/lib/arm-linux-gnueabihf"
    setting = f"SetEnv LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack\n"
    with emulated("armhf", tmp_path_factory.mktemp("armhf"), ",python3-numpy", setting) as board:
        yield board


def test_a_bare_64_bit_board_gets_a_runtime_once_and_measures(pi: Board) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    said: list[str] = []
    with pi.device() as first:
        assert first.hello.packages == {}
        np.testing.assert_array_equal(infer(tiny_models.negative(), [x], device=first).outputs[0], -x)
    second = pi.device(say=said.append)
    with second:
        found = measure(tiny_models.negative(), FEW, second)
        assert second.round_trips == 3
    assert not [words for words in said if "install" in words]
    assert found.machine.architecture == "aarch64"
    assert found.runtime.name == "ai-edge-litert"
    assert not list((pi.cache / "runs").iterdir())
    assert wait_until(lambda: not pi.processes())


def test_a_model_is_as_accurate_there_as_here(pi: Board, int8_file: bytes, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(int8_file)
    with pi.device() as device:
        found = evaluate_model(tmp_path / "m.tflite", digits / "digits.npz", device=device, samples=60)
    assert found.scores[0].value > 0.9
    assert found.agreement is not None
    assert found.agreement.decisions is not None
    assert found.agreement.decisions > 0.95
    assert found.agreement.outputs[0].quanta <= 2


@pytest.mark.parametrize("name", ["FlexErf", "Unheard"])
def test_an_operator_that_its_runtime_lacks_is_named(pi: Board, name: str) -> None:
    with pi.device() as device, pytest.raises(RunError, match=f"on ssh://pi has no .* operator '{name}'"):
        measure(tiny_models.custom(name), FEW, device)


def test_it_is_described(pi: Board) -> None:
    with pi.device() as device:
        seen = describe(device)
    assert seen.machine.architecture == "aarch64"
    assert [runtime.name for runtime in seen.runtimes] == ["ai-edge-litert"]


@pytest.fixture(scope="module")
def light(pi: Board, dist: Path) -> Callable[[str], str]:
    """What a command prints on the board, of the wheel and its runtime as pip installs them for 64-bit Arm."""
    (wheel,) = dist.glob("*.whl")
    platforms = (f"--platform=manylinux_2_{glibc}_aarch64" for glibc in range(17, 37))
    fitting = ("--python-version", "3.11", "--implementation", "cp", "--only-binary", ":all:")
    argv = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        *platforms,
        *fitting,
        "--target",
        pi.root / "home/pi/light",
    ]
    subprocess.run([*argv, f"{wheel}[runtime]"], check=True)
    (pi.root / "home/pi/m.tflite").write_bytes(tiny_models.negative())

    def run(words: str) -> str:
        command = f"PYTHONPATH=light python3 -m edgekit {words}"
        done = subprocess.run(["ssh", "-F", pi.config, "pi", command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_light_install_works_on_64_bit_arm(light: Callable[[str], str]) -> None:
    assert light("--version").endswith(f"edgekit, version {version('edgekit')}\n")
    (checked,) = json.loads(light("check m.tflite -t raspberry-pi-4 --json"))["results"]
    assert checked["target"] == "raspberry-pi-4"
    assert checked["numeric"] == "float32"


def test_the_light_install_measures_the_board_that_it_is_on(light: Callable[[str], str]) -> None:
    (row,) = json.loads(light("benchmark m.tflite --runs 5 --json"))["rows"]
    assert row["machine"]["architecture"] == "aarch64"
    assert row["runtime"]["name"] == "ai-edge-litert"


def test_a_killed_edgekit_leaves_nothing_on_it(pi: Board, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    (tmp_path / "devices.toml").write_text(f'[pi]\naddress = "ssh://pi"\nssh_config = "{pi.config}"\n')
    argv = [sys.executable, "-m", "edgekit", "benchmark", "m.tflite", "--seconds", "100", "--device", "pi"]
    tool = subprocess.Popen(argv, cwd=tmp_path, env={**os.environ, "EDGEKIT_DEVICES": str(tmp_path / "devices.toml")})
    assert wait_until(lambda: len(pi.processes()) >= 2, 60), "the far end and the agent"
    time.sleep(2)
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    assert wait_until(lambda: not pi.processes(), 30)
    assert wait_until(lambda: not list((pi.cache / "runs").iterdir()), 30)


def test_a_reboot_in_mid_run_is_told_and_the_next_run_works(pi: Board, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    (tmp_path / "devices.toml").write_text(f'[pi]\naddress = "ssh://pi"\nssh_config = "{pi.config}"\n')
    env = {**os.environ, "EDGEKIT_DEVICES": str(tmp_path / "devices.toml")}
    words = [sys.executable, "-m", "edgekit", "benchmark", "m.tflite", "--device", "pi", "--seconds"]
    tool = subprocess.Popen([*words, "100"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: len(pi.processes()) >= 2, 60), "the far end and the agent"
    pi.power_off()
    try:
        said = tool.communicate(timeout=60)[1]
        assert tool.returncode == 5
        assert "the connection was lost" in said
        assert "rebooted" in said
        assert list((pi.cache / "runs").iterdir()), "nobody could remove it"
        dead = subprocess.run([*words, "1"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (dead.returncode, "takes no ssh connection" in dead.stderr) == (5, True)
    finally:
        pi.boot()
    done = subprocess.run([*words, "1"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, "p50" in done.stdout) == (0, True), done.stderr
    assert wait_until(lambda: not list((pi.cache / "runs").iterdir()))


def test_a_32_bit_board_gets_tflite_runtime_beside_its_own_numpy(old_pi: Board) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    with old_pi.device() as device:
        assert device.hello.bits == 32
        result = infer(tiny_models.negative(), [x], device=device)
        found = measure(tiny_models.negative(), FEW, device)
    np.testing.assert_array_equal(result.outputs[0], -x)
    assert found.runtime.name == "tflite-runtime"
    assert found.machine.numpy.startswith("1.")


def test_a_runtime_that_a_board_cannot_have_is_told(old_pi: Board) -> None:
    with pytest.raises(MissingDependency, match="armv7l"), old_pi.device(runtime="ai-edge-litert"):
        pass
