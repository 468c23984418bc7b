"""Which unit a board uses: the Edge TPU where one is and can be opened, else the CPU, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from linux_device import packaged, unpacked

from edgekit.errors import InputError
from edgekit.package.linux_runner import edgetpu, model
from edgekit.package.linux_runner.choice import with_best
from edgekit.package.linux_runner.contract import Package, Variant, load
from edgekit.package.linux_runner.model import Model
from edgekit.package.linux_runner.problem import INPUT, REFUSED, Problem
from edgekit.package.linux_runner.selftest import selftest

Plug = Callable[..., Path]


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    """A tree like that of the kernel, with a file for each name."""

    def plugged(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "root"

    return plugged


def usb(vendor: str, product: str, port: str = "2-1") -> dict[str, str]:
    place = f"sys/bus/usb/devices/{port}"
    return {f"{place}/idVendor": f"{vendor}\n", f"{place}/idProduct": f"{product}\n"}


def pci(vendor: str, device: str) -> dict[str, str]:
    place = "sys/bus/pci/devices/0000:01:00.0"
    return {f"{place}/vendor": f"{vendor}\n", f"{place}/device": f"{device}\n"}


@pytest.mark.parametrize(
    ("files", "usable", "words"),
    [
        ({}, False, "no Coral on USB or PCIe"),
        (usb("1a6e", "089a"), True, "a Coral on USB, 2-1"),
        (usb("18d1", "9302"), True, "a Coral on USB, 2-1"),
        (usb("18d1", "4ee7"), False, "no Coral on USB or PCIe"),
        (usb("1a6e", "9302"), False, "no Coral on USB or PCIe"),
        ({"sys/bus/usb/devices/usb1/idVendor": "1d6b\n"}, False, "no Coral on USB or PCIe"),
        ({**usb("1d6b", "0002", "1-1"), **usb("18d1", "9302", "1-2.4")}, True, "a Coral on USB, 1-2.4"),
        ({"dev/apex_0": "", **pci("0x1ac1", "0x089a")}, True, "a Coral on PCIe, /dev/apex_0"),
        (pci("0x1ac1", "0x089a"), False, "0000:01:00.0, has no driver: install gasket-dkms"),
        (pci("0x8086", "0x089a"), False, "no Coral on USB or PCIe"),
    ],
)
def test_a_coral_is_found_by_what_the_kernel_lists(
    plug: Plug, files: dict[str, str], usable: bool, words: str, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    found = edgetpu.find(plug(**files) if files else tmp_path / "root")
    assert (found.usable, found.words.endswith(words)) == (usable, True)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[[bytes], Package]:
    """A package of -x for the CPU and a file for the Edge TPU."""

    def made(compiled: bytes) -> Package:
        for name, data in (("cpu", tiny_models.negative()), ("edgetpu", compiled)):
            (tmp_path / f"{name}.tflite").write_bytes(data)
        words = [f"{unit}={tmp_path}/{unit}.tflite" for unit in ("cpu", "edgetpu")]
        return load(unpacked(packaged(tmp_path / "out", *words, name="pair"), tmp_path).program)

    return made


def chosen(package: Package, root: Path, unit: str = "auto") -> tuple[str, str, bool, list[str]]:
    """Unit, reason, whether its self-test passes, and warnings."""
    warnings: list[str] = []
    said, outcome = with_best(package, unit, lambda _, loaded: selftest(package, loaded), warnings.append, root=root)
    return said.variant.unit, said.why, outcome.passed, warnings


def test_without_a_coral_the_cpu_is_used_and_the_reason_told(pair: Callable[[bytes], Package], tmp_path: Path) -> None:
    package = pair(tiny_models.negative())
    assert [variant.unit for variant in package.variants] == ["edgetpu", "cpu"]
    assert chosen(package, tmp_path) == ("cpu", "no Coral on USB or PCIe", True, [])
    with pytest.raises(Problem, match=r"no Coral(.|\n)*--unit cpu") as raised:
        chosen(package, tmp_path, "edgetpu")
    assert raised.value.code == REFUSED


def test_a_coral_that_opens_is_used(
    pair: Callable[[bytes], Package], plug: Plug, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delegate of tests/bench, which computes NEG, stands for libedgetpu."""
    monkeypatch.setattr(model, "LIBRARY", library)
    package = pair(tiny_models.negative(operators=3))
    root = plug(**usb("18d1", "9302"))
    assert chosen(package, root) == ("edgetpu", "a Coral on USB, 2-1", True, [])
    assert chosen(package, root, "cpu") == ("cpu", "asked for", True, [])


def test_a_coral_that_computes_otherwise_fails_the_selftest(
    pair: Callable[[bytes], Package], plug: Plug, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "LIBRARY", library)
    root = plug(**usb("18d1", "9302"))
    assert chosen(pair(tiny_models.negative(operators=2)), root) == ("edgetpu", "a Coral on USB, 2-1", False, [])


@pytest.mark.parametrize("way", ["no library", "refused"])
def test_a_coral_that_does_not_work_is_warned_of_and_the_cpu_used(
    way: str, pair: Callable[[bytes], Package], plug: Plug, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "refused":
        monkeypatch.setattr(model, "LIBRARY", library)
    package = pair(tiny_models.custom("edgetpu-custom-op"))
    root = plug(**usb("1a6e", "089a"))
    unit, why, passed, warnings = chosen(package, root)
    reason = "unresolved custom op: edgetpu-custom-op" if way == "refused" else "libedgetpu.so.1 cannot be loaded: "
    assert reason in why
    assert (unit, passed) == ("cpu", True)
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: a Coral on USB, 2-1 is not used: ")
    assert reason in warnings[0]
    with pytest.raises(Problem, match=reason):
        chosen(package, root, "edgetpu")


def test_what_is_wrong_with_the_input_is_not_blamed_on_the_coral(
    pair: Callable[[bytes], Package], plug: Plug, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "LIBRARY", library)

    def job(variant: Variant, loaded: Model) -> Any:
        raise Problem("x.npy: no array", "give one", INPUT)

    with pytest.raises(Problem, match="no array"):
        with_best(pair(tiny_models.negative(operators=3)), "auto", job, pytest.fail, root=plug(**usb("18d1", "9302")))


def test_a_unit_that_is_not_in_the_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    board = unpacked(packaged(tmp_path / "out", tmp_path / "m.tflite", name="alone"), tmp_path)
    done = board.run("info", "--unit", "edgetpu")
    assert (done.returncode, "choose one of auto, cpu" in done.stderr) == (3, True)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.5_160_quant"])
def test_compiled_files_are_packaged_with_their_cpu_files(name: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "models/coral_pairs"
    files = [folder / f"{name}{suffix}.tflite" for suffix in ("", "_edgetpu")]
    board = unpacked(packaged(tmp_path / "out", *files, name="mobilenet"), tmp_path)
    found = board.said("selftest")
    assert (found["unit"], found["why"], found["passed"]) == ("cpu", "no Coral on USB or PCIe", True)
    np.save(tmp_path / "x.npy", np.full((128, 128, 3), 0.5) if "128" in name else np.full((160, 160, 3), 0.5))
    assert len(board.said("run", tmp_path / "x.npy")["results"][0]["outputs"].popitem()[1]) == 1001


def test_a_file_that_was_never_compiled_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    made = packaged(tmp_path / "out", f"edgetpu={tmp_path}/m.tflite", f"cpu={tmp_path}/m.tflite", name="pair")
    assert any("was not compiled for it" in note for note in made.notices)


def test_what_xnnpack_refuses_runs_without_it(shared_data: Path, tmp_path: Path) -> None:
    """The XNNPACK of ai-edge-litert cannot make a RESIZE_BILINEAR of this file ready."""
    file = shared_data / "models/coral_pairs/deeplabv3_mnv2_dm05_pascal_quant.tflite"
    board = unpacked(packaged(tmp_path / "out", file, name="deeplab"), tmp_path)
    done = board.run("selftest")
    assert done.returncode == 0, done.stderr
    assert "warning: XNNPACK is not used: the model cannot be made ready: " in done.stderr


def test_there_is_no_linux_package_for_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    with pytest.raises(InputError, match="no model for the gpu"):
        packaged(tmp_path / "out", f"gpu={tmp_path}/m.tflite")
