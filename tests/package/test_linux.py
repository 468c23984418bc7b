"""Packages for Linux boards: what is in them, what Debian's own tools say of them, and which names they may have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from artifacts import artifact
from linux_device import curve, packaged
from packaging.requirements import Requirement

from edgekit.errors import InputError
from edgekit.package.build import Packaged
from edgekit.package.linux import LinuxOptions
from edgekit.package.linux_names import module_name, package_name
from edgekit.package.linux_runner.runtime import requirements

PLACE = "usr/lib/python3/dist-packages/my_curve"
DOCUMENTS = "usr/share/doc/my-curve"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def said(*words: object, **told: Any) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **told)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("linux")
    return packaged(folder / "out", artifact(folder / "a", curve()), name="My Curve", licence="MIT", version="2.1")


@pytest.fixture(scope="module")
def coral(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("coral")
    for unit in ("cpu", "edgetpu"):
        (folder / f"{unit}.tflite").write_bytes(tiny_models.negative())
    words = [f"{unit}={folder}/{unit}.tflite" for unit in ("cpu", "edgetpu")]
    return packaged(folder / "out", *words, name="coral model")


@pytest.fixture(scope="module")
def root(made: Packaged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb, unpacked."""
    folder = tmp_path_factory.mktemp("root")
    said(tool("dpkg-deb"), "--raw-extract", made.output, folder / "root")
    return folder / "root"


def test_the_folder_has_what_was_asked_for(made: Packaged, tmp_path: Path) -> None:
    always = {"README.md", "manifest.json", "sbom.cdx.json"}
    assert {path.name for path in made.folder.iterdir()} == always | {"my-curve_2.1_all.deb", "my-curve-2.1.tar"}
    assert made.notices == ("'My Curve' became my_curve in Python, my-curve in Debian",)
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    for form, name in (("deb", "m-model_1.0.0_all.deb"), ("tar", "m-model-1.0.0.tar")):
        only = packaged(tmp_path / "out", tmp_path / "m.tflite", name="m_model", options=LinuxOptions(form=form))
        assert {path.name for path in only.folder.iterdir()} == always | {name}
        assert (only.output.name, only.notices) == (name, ())
        assert f"`{'tar' if form == 'deb' else 'deb'}`" not in (only.folder / "README.md").read_text()
    again = packaged(tmp_path / "out", tmp_path / "m.tflite", name="m_model", options=LinuxOptions(form="tar"))
    assert again.written == ()


def test_both_archives_have_the_same_program(made: Packaged, root: Path) -> None:
    with tarfile.open(made.folder / "my-curve-2.1.tar") as archive:
        names = {name for name in archive.getnames() if name.startswith("my-curve-2.1/my_curve/")}
        inside = {Path(name).name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert inside == {path.name: path.read_bytes() for path in (root / PLACE).iterdir()}
    assert {"__main__.py", "contract.json", "golden.npz", "My_Curve.tflite", "requirements.txt"} <= inside.keys()


def test_debian_reads_every_field(made: Packaged) -> None:
    wanted = "${Package} ${Version} ${Architecture}|${Depends}|${Recommends}|${Suggests}|${Maintainer}"
    assert said(tool("dpkg-deb"), "--show", f"--showformat={wanted}", made.output) == (
        "my-curve 2.1 all|python3 (>= 3.9), python3-numpy|python3-pil, python3-venv||"
        "the maker of this model <nobody@maintainer.invalid>"
    )


def test_only_a_package_for_an_edge_tpu_suggests_its_library(coral: Packaged) -> None:
    fields = said(tool("dpkg-deb"), "--field", coral.output)
    assert "\nSuggests: libedgetpu1-std | libedgetpu1-max\n" in fields


def test_lintian_finds_no_error(coral: Packaged) -> None:
    done = subprocess.run([tool("lintian"), "--allow-root", coral.output], capture_output=True, text=True, check=False)
    assert not [line for line in done.stdout.splitlines() if line.startswith("E:")]


def test_the_licence_and_where_it_is_not_told_are_in_the_copyright_file(root: Path, coral: Packaged) -> None:
    text = (root / DOCUMENTS / "copyright").read_text()
    assert "Files: *\nCopyright: those who made the model\nLicense: MIT\n" in text
    assert f"Files: {PLACE}/*.py\nCopyright: the authors of edgekit\nLicense: Apache-2.0\n" in text
    untold = said(tool("dpkg-deb"), "--fsys-tarfile", coral.output, errors="replace")
    assert "License: not-told\n No licence was named" in untold


def test_the_change_log_names_the_model(made: Packaged, root: Path) -> None:
    text = said("gzip", "--decompress", "--stdout", root / DOCUMENTS / "changelog.gz")
    assert text.startswith("my-curve (2.1) unstable; urgency=medium\n")
    assert made.manifest["variants"][0]["sha256"] in text
    assert re.search(r" -- the maker .*>  Sun, 01 Jan 1984 00:00:00 \+0000\n$", text)


def test_systemd_takes_the_units(root: Path, coral: Packaged, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    with tarfile.open(coral.folder / "coral-model-1.0.0.tar") as archive:
        units = {"coral-model": archive.extractfile("coral-model-1.0.0/coral-model.service").read().decode()}  # type: ignore[union-attr]
    units["my-curve"] = (root / "usr/lib/systemd/system/my-curve.service").read_text()
    assert "ExecStart=/usr/bin/python3 -m my_curve selftest\n" in units["my-curve"]
    assert "ExecStart=/opt/coral_model/bin/python3 -m coral_model selftest\n" in units["coral-model"]
    assert ("DynamicUser=yes" in units["my-curve"], "DeviceAllow=char-usb_device rw" in units["coral-model"]) == (
        True,
        True,
    )
    for name, text in units.items():
        text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", text)  # an environment is not made here
        (tmp_path / f"{name}.service").write_text(re.sub(r"Documentation=.*\n", "", text))
        assert said(analyze, "verify", "--man=no", tmp_path / f"{name}.service") == ""


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_the_scripts_are_those_of_a_plain_shell(root: Path, script: str) -> None:
    said(tool("dash"), "-n", root / "DEBIAN" / script)


@pytest.fixture
def dpkg(tmp_path: Path) -> list[str]:
    """The command for an empty system in `tmp_path`."""
    if os.getuid() != 0:
        pytest.skip("dpkg gives the files to root")
    for name in ("info", "updates"):
        (tmp_path / "var/lib/dpkg" / name).mkdir(parents=True)
    for name in ("status", "available"):
        (tmp_path / "var/lib/dpkg" / name).touch()
    return [tool("dpkg"), f"--root={tmp_path}", f"--log={tmp_path}/log", "--force-script-chrootless", "--force-depends"]


def selftest(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-m", "my_curve", "selftest"]
    return subprocess.run(command, cwd=root / Path(PLACE).parent, capture_output=True, text=True, check=False)


def test_it_is_installed_run_and_removed_without_a_trace(made: Packaged, dpkg: list[str], tmp_path: Path) -> None:
    said(*dpkg, "--install", made.output)
    assert said(*dpkg, "--verify", "my-curve") == ""
    done = selftest(tmp_path)
    assert (done.returncode, f"of ai-edge-litert {version('ai-edge-litert')}" in done.stdout) == (0, True), done.stderr
    (tmp_path / PLACE / "My_Curve.tflite").write_bytes(b"changed")
    assert "My_Curve.tflite" in subprocess.run([*dpkg, "--verify", "my-curve"], capture_output=True, text=True).stdout
    said(*dpkg, "--purge", "my-curve")
    assert [path for path in tmp_path.rglob("*") if "curve" in path.name] == []


def test_a_full_disk_stops_dpkg_and_with_room_it_goes_well(made: Packaged, dpkg: list[str], tmp_path: Path) -> None:
    (tmp_path / PLACE).mkdir(parents=True)
    small = [tool("mount"), "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path / PLACE]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        full = subprocess.run([*dpkg, "--install", made.output], capture_output=True, text=True, check=False)
    finally:
        said(tool("umount"), tmp_path / PLACE)
    assert (full.returncode, "No space left on device" in full.stderr) == (1, True)
    said(*dpkg, "--install", made.output)
    assert selftest(tmp_path).returncode == 0


@pytest.mark.parametrize("machine", ["aarch64", "x86_64", "armv7l"])
@pytest.mark.parametrize("minor", range(9, 15))
@pytest.mark.parametrize("unit", ["cpu", "edgetpu"])
def test_requirements_txt_says_what_the_program_says(
    machine: str, minor: int, unit: str, root: Path, coral: Packaged
) -> None:
    if unit == "cpu":
        text = (root / PLACE / "requirements.txt").read_text()
    else:
        with tarfile.open(coral.folder / "coral-model-1.0.0.tar") as archive:
            text = archive.extractfile("coral-model-1.0.0/coral_model/requirements.txt").read().decode()  # type: ignore[union-attr]
    lines = [Requirement(line) for line in text.splitlines() if not line.startswith("#")]
    around = {"python_version": f"3.{minor}", "platform_machine": machine}
    asked = {str(one).partition(";")[0].strip() for one in lines if one.marker is None or one.marker.evaluate(around)}
    assert asked - {"numpy"} == {*requirements(unit, (3, minor), machine == "armv7l")}


def test_the_readme_promises_classes_only_where_the_output_is_one_number_for_each(tmp_path: Path) -> None:
    for shape, word in (((1, 3), "classes and scores"), ((1, 2, 2, 3), "outputs")):
        source = artifact(tmp_path / word, curve(shape), ("one", "two", "three"))
        assert (
            f": {word}; --json" in (packaged(tmp_path / "out", source, name="masks").folder / "README.md").read_text()
        )


def test_the_readme_of_a_tar_says_what_its_unit_needs(made: Packaged) -> None:
    at_boot = (made.folder / "README.md").read_text().partition("## At each boot")[2]
    assert "From the .tar, first copy `my_curve` into the environment" in at_boot
    assert "`my-curve.service` to `/etc/systemd/system/`" in at_boot


def test_the_readme_has_the_commands_of_this_very_package(made: Packaged) -> None:
    text = (made.folder / "README.md").read_text()
    commands = re.findall(r"^(?:sudo|tar|cd|python3) .*", text, re.MULTILINE)
    assert "sudo apt install ./my-curve_2.1_all.deb" in commands
    assert "sudo python3 -m venv --system-site-packages /opt/my_curve" in commands
    assert "sudo systemctl enable --now my-curve.service" in commands
    assert {line.split()[3] for line in commands if line.startswith("python3 -m my_curve")} == {
        "selftest",
        "run",
        "info",
    }
    assert "| Debian 12, Raspberry Pi OS bookworm, 64 bits | 3.11 | `ai-edge-litert` |" in text
    assert "| Raspberry Pi OS bookworm, 32 bits | 3.11 | `tflite-runtime==2.14.0` `'numpy<2'` |" in text


@pytest.mark.parametrize(
    ("words", "module", "package"),
    [
        ("digits", "digits", "digits"),
        ("Keyword Spotting v2", "keyword_spotting_v2", "keyword-spotting-v2"),
        ("mobilenet_v1_0.25_128_quant", "mobilenet_v1_0_25_128_quant", "mobilenet-v1-0-25-128-quant"),
        ("8-bit", "model_8_bit", "model-8-bit"),
        ("__größe__", "gr_e", "gr-e"),
        ("a/../../b", "a_b", "a-b"),
    ],
)
def test_names_become_those_of_python_and_debian(words: str, module: str, package: str) -> None:
    assert (module_name(words), package_name(module)) == (module, package)


@pytest.mark.parametrize(
    "words",
    ["json", "NumPy", "class", "match", "tflite_runtime", "ai-edge-litert", "imp", "tomllib", "PIL", "Tests"],
)
def test_names_that_would_hide_a_module_are_refused(words: str) -> None:
    with pytest.raises(InputError, match="taken in Python"):
        module_name(words)


@pytest.mark.parametrize("words", ["数字", "", "x", "-_-", "é"])
def test_names_of_which_nothing_is_left_are_refused(words: str) -> None:
    with pytest.raises(InputError, match="too few letters"):
        module_name(words)


@pytest.mark.parametrize("name", ["bash", "base_files", "python3", "dpkg"])
def test_names_of_the_system_s_packages_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="a package of the system"):
        package_name(module_name(name))


@pytest.mark.parametrize(
    "told",
    [
        {"options": LinuxOptions(maintainer="nobody")},
        {"options": LinuxOptions(maintainer="Ann <ann@example.org>\nEssential: yes")},
        {"licence": "MIT\nEssential: yes"},
        {"licence": " "},
    ],
)
def test_words_that_would_be_fields_of_their_own_are_refused(told: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    with pytest.raises(InputError):
        packaged(tmp_path / "out", tmp_path / "m.tflite", name="m_model", **told)
    assert not (tmp_path / "out/README.md").exists()
