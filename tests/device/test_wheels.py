"""Runtimes for a device: what it needs, what it has, and wheels from a real pip and an index made here."""

from __future__ import annotations

import re
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgekit.device.remote import RemoteOptions
from edgekit.device.wheels import Needs, resolve_wheels
from edgekit.errors import MissingDependency, OutputError

PI = Needs((3, 11), "aarch64", 64, "2.36", {})
LITERT, TFLITE = "ai-edge-litert", "tflite-runtime"


@pytest.mark.parametrize(
    ("machine", "bits", "python", "runtimes"),
    [
        ("aarch64", 64, (3, 11), [LITERT, TFLITE]),
        ("aarch64", 64, (3, 13), [LITERT]),
        ("aarch64", 64, (3, 9), [TFLITE]),
        ("aarch64", 32, (3, 11), [TFLITE]),
        ("armv7l", 32, (3, 11), [TFLITE]),
        ("armv7l", 32, (3, 13), []),
        ("armv6l", 32, (3, 11), []),
        ("x86_64", 64, (3, 12), [LITERT]),
        ("riscv64", 64, (3, 11), []),
    ],
)
def test_which_runtimes_a_device_can_take(
    machine: str, bits: int, python: tuple[int, int], runtimes: list[str]
) -> None:
    needs = replace(PI, machine=machine, bits=bits, python=python)
    assert needs.candidates() == runtimes
    assert replace(needs, runtime=TFLITE).candidates() == [name for name in runtimes if name == TFLITE]


@pytest.mark.parametrize(
    ("packages", "wanted", "met"),
    [
        ({}, "auto", False),
        ({LITERT: "2.3.0"}, "auto", False),
        ({LITERT: "2.3.0", "numpy": "2.4"}, "auto", True),
        ({LITERT: "2.3.0", "numpy": "2.4"}, TFLITE, False),
        ({TFLITE: "2.14.0", "numpy": "2.4"}, "auto", False),
        ({TFLITE: "2.14.0", "numpy": "1.26.4"}, "auto", True),
        ({TFLITE: "2.14.0", "numpy": "unknown"}, "auto", False),
    ],
)
def test_what_a_device_has_is_enough_or_not(packages: dict[str, str], wanted: str, met: bool) -> None:
    assert replace(PI, packages=packages, runtime=wanted).met() == met


def test_a_folder_unpacked_before_is_used_if_it_fits_the_python() -> None:
    folders = ["../x", "ai-edge-litert-2.3.0-cp313-aarch64", "tflite-runtime-2.14.0-cp311-aarch64"]
    assert PI.met_by(folders) == folders[2]
    assert PI.met_by([*folders, "ai-edge-litert-2.3.0-cp311-aarch64"]) == "ai-edge-litert-2.3.0-cp311-aarch64"
    assert PI.met_by(["ai-edge-litert-/../../x-cp311-aarch64"]) is None


def wheel(folder: Path, name: str, version: str, tag: str, requires: str = "") -> None:
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-{version}-{tag}.whl", "w") as file:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
        file.writestr(f"{stem}/__init__.py", "")
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_wheels_are_those_of_the_device_and_are_downloaded_once(index: Path) -> None:
    for tag in ("cp311-cp311-manylinux_2_27_aarch64", "cp311-cp311-manylinux_2_27_x86_64"):
        wheel(index, LITERT, "2.3.0", tag, "Requires-Dist: numpy\n")
    wheel(index, "numpy", "2.4.6", "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64")
    found = resolve_wheels(PI, "pi")
    assert found.name == "ai-edge-litert-2.3.0-cp311-aarch64"
    assert [file.name.partition("-")[0] for file in found.files] == ["ai_edge_litert", "numpy"]
    assert all("aarch64" in file.name for file in found.files)
    for file in index.iterdir():
        file.unlink()
    assert resolve_wheels(PI, "pi") == found


def test_a_32_bit_board_gets_tflite_runtime_beside_its_own_numpy(index: Path) -> None:
    needs = replace(PI, machine="armv7l", bits=32, packages={"numpy": "1.24.2"})
    wheel(index, TFLITE, "2.14.0", "cp311-cp311-manylinux_2_34_armv7l", "Requires-Dist: numpy\n")
    found = resolve_wheels(needs, "pi")
    assert [file.name for file in found.files] == ["tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"]
    with pytest.raises(MissingDependency, match="no wheels") as error:
        resolve_wheels(replace(needs, packages={}, glibc="2.35"), "pi")
    assert "apt install python3-numpy" in error.value.mend


def test_a_glibc_that_is_too_old_is_told(index: Path) -> None:
    wheel(index, TFLITE, "2.14.0", "cp39-cp39-manylinux_2_34_aarch64")
    with pytest.raises(MissingDependency, match=r"Python 3\.9 on aarch64 with glibc 2\.31") as error:
        resolve_wheels(replace(PI, python=(3, 9), glibc="2.31"), "old pi")
    assert "old pi" in error.value.problem
    assert not list(index.parent.glob("cache/edgekit/wheels/*"))


def test_a_system_older_than_every_wheel_is_to_be_upgraded(index: Path) -> None:
    with pytest.raises(MissingDependency) as error:
        resolve_wheels(replace(PI, glibc="2.19"), "old pi")
    assert "glibc 2.19 is older than 2.27" in error.value.mend


def test_devices_that_no_wheel_is_for() -> None:
    with pytest.raises(MissingDependency, match=r"Python 3\.13 on armv7l") as error:
        resolve_wheels(replace(PI, machine="armv7l", bits=32, python=(3, 13)), "pi")
    assert error.value.mend.startswith("use the 64-bit system")
    with pytest.raises(MissingDependency, match=r"Python 3\.13 on aarch64") as error:
        resolve_wheels(replace(PI, python=(3, 13), runtime="tflite-runtime"), "pi")
    assert error.value.mend.startswith("leave tflite-runtime out")
    with pytest.raises(MissingDependency, match="riscv64") as error:
        resolve_wheels(replace(PI, machine="riscv64"), "pi")
    assert "aarch64" in error.value.mend
    with pytest.raises(MissingDependency, match="C library"):
        resolve_wheels(replace(PI, glibc=None), "router")


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"file/edgekit/wheels cannot be written: Not a directory") as error:
        resolve_wheels(PI, "pi")
    assert "XDG_CACHE_HOME" in error.value.mend


def test_a_python_without_pip_is_told_so(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    monkeypatch.setattr("edgekit.device.wheels.sys.executable", str(tmp_path / "bare/bin/python3"))
    with pytest.raises(MissingDependency, match="has no pip to fetch one") as error:
        resolve_wheels(PI, "pi")
    assert "ensurepip" in error.value.mend


def test_what_is_to_be_done_on_a_board_goes_beside_the_packages_of_its_system(index: Path) -> None:
    with pytest.raises(MissingDependency, match="no wheels") as error:
        resolve_wheels(PI, "pi")
    assert "~/edgekit-rt/bin/pip install ai-edge-litert numpy" in error.value.mend
    (python,) = re.findall(r'python = "(.*?)"', error.value.mend)
    assert msgspec.convert({"python": python}, RemoteOptions).python == python
