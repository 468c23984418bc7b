"""A package for Linux on a Raspberry Pi stand-in: installed by its dpkg, run by its Python, removed without a trace."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from artifacts import artifact
from emulated import Board, emulated

from edgekit.device.wheels import Needs, resolve_wheels
from edgekit.package.build import Packaged, package_model

pytestmark = pytest.mark.emulated

LIBRARIES = {"arm64": "/usr/lib/aarch64-linux-gnu", "armhf": "/usr/lib/arm-linux-gnueabihf"}
NEEDS = {
    "arm64": Needs((3, 11), "aarch64", 64, "2.36", {}),
    "armhf": Needs((3, 11), "armv7l", 32, "2.36", {"numpy": "1.24.2"}),
}
RUNTIME = {"arm64": "ai-edge-litert", "armhf": "tflite-runtime==2.14.0 'numpy<2'"}
PACKAGES = ",dpkg,diffutils,python3,python3-numpy"
DIST = "usr/lib/python3/dist-packages/digits"
DPKG = "PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg"
Order = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=["arm64", "armhf"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pi(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """With the system's numpy and dpkg, whose database has what mmdebstrap unpacked as not configured."""
    libraries = LIBRARIES[architecture]
    setting = f"SetEnv LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack\nPermitRootLogin yes\n"
    with emulated(architecture, tmp_path_factory.mktemp(architecture), PACKAGES, setting) as board:
        (board.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(board.root / "home/pi/.ssh/authorized_keys", board.root / "root/.ssh")
        yield board


@pytest.fixture(scope="module")
def made(int8_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("package")
    classes = tuple(f"digit {place}" for place in range(10))
    return package_model([artifact(folder / "a", int8_file, classes)], folder / "out", kind="linux", name="digits")


@pytest.fixture
def order(pi: Board) -> Order:
    """A command over ssh."""

    def done(words: str, user: str = "pi") -> subprocess.CompletedProcess[str]:
        command = ["ssh", "-F", str(pi.config), "-l", user, "pi", words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    return done


@pytest.fixture(scope="module")
def installed(pi: Board, made: Packaged) -> Board:
    """The package, by dpkg; `--force-depends` because nothing on this board is configured."""
    (pi.root / "root/digits.deb").write_bytes(made.output.read_bytes())
    command = ["ssh", "-F", str(pi.config), "-l", "root", "pi", f"{DPKG} --force-depends --install /root/digits.deb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return pi


@pytest.fixture(scope="module")
def with_runtime(installed: Board, architecture: str) -> Board:
    """The runtime's wheels where pip would put them, but for numpy: the system's serves."""
    for wheel in resolve_wheels(NEEDS[architecture], "the stand-in").files:
        if not wheel.name.startswith("numpy-"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(installed.root / "usr/local/lib/python3.11/dist-packages")
    return installed


def test_without_a_runtime_it_names_the_commands(installed: Board, order: Order, architecture: str) -> None:
    done = order("python3 -m digits selftest")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    assert "sudo python3 -m venv --system-site-packages /opt/digits && " in done.stderr
    assert f"sudo /opt/digits/bin/python3 -m pip install {RUNTIME[architecture]}\n" in done.stderr


def test_the_selftest_passes_there(with_runtime: Board, order: Order, architecture: str) -> None:
    done = order("python3 -m digits selftest")
    assert done.returncode == 0, done.stderr
    assert NEEDS[architecture].machine in done.stdout
    assert "pass: 4 golden vectors" in done.stdout.splitlines()[-1]


def test_it_names_the_digit(with_runtime: Board, order: Order, digits: Path) -> None:
    with np.load(digits / "digits.npz") as data:
        x, y = data["x_test"][:20], data["y_test"][:20]
    np.save(with_runtime.root / "home/pi/x.npy", x)
    done = order("python3 -m digits run x.npy --top 1")
    assert done.returncode == 0, done.stderr
    named = [line.split()[2] for line in done.stdout.splitlines()]
    assert np.mean([int(name) == label for name, label in zip(named, y, strict=True)]) > 0.9


def test_a_changed_model_is_told(with_runtime: Board, order: Order) -> None:
    path = with_runtime.root / DIST / "digits.tflite"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        done = order("python3 -m digits selftest")
        assert (done.returncode, "digits.tflite was changed: SHA-256" in done.stderr) == (1, True)
        assert "digits.tflite" in order("dpkg --verify digits", "root").stdout
    finally:
        path.write_bytes(data)


def test_it_is_removed_without_a_trace(with_runtime: Board, order: Order) -> None:
    assert order("python3 -m digits info", "root").returncode == 0, "root leaves compiled files behind"
    assert list((with_runtime.root / DIST).glob("__pycache__/*.pyc"))
    done = order(f"{DPKG} --purge digits", "root")
    assert done.returncode == 0, done.stderr
    left = [path for path in (with_runtime.root / "usr").rglob("*digits*") if "numpy" not in str(path)]
    assert left == []
