"""What `pip install edgekit` gets: each file of the library, of the targets and of the agent, and no other."""

from __future__ import annotations

import configparser
import email
import email.message
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pytest
from built import ROOT, tracked

HOMES = {"edgekit": "edgekit", "targets": "edgekit/targets", "benchmarks/agent": "edgekit/agent"}
BESIDE = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"}


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    assert path.name == f"edgekit-{version('edgekit')}-py3-none-any.whl"
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def shipped() -> dict[str, str]:
    """Where each file of the repository that is shipped lies in the wheel."""
    found = {}
    for name in tracked():
        for folder, home in HOMES.items():
            if PurePosixPath(folder) in PurePosixPath(name).parents:
                found[name] = f"{home}/{PurePosixPath(name).relative_to(folder)}"
    return found


def test_the_wheel_has_each_file_of_the_library_and_no_other(wheel: zipfile.ZipFile) -> None:
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert there == set(shipped().values())


def test_what_is_read_at_run_time_is_among_them(wheel: zipfile.ZipFile) -> None:
    there = set(wheel.namelist())
    assert {"edgekit/py.typed", "edgekit/targets/host.toml", "edgekit/agent/agent.py"} <= there
    assert {"edgekit/report/report.html", "edgekit/package/cmake/edgekitConfig.cmake"} <= there


def test_the_source_archive_has_what_the_wheel_is_built_of(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [PurePosixPath(one.name) for one in archive.getmembers() if one.isfile()]
    names = {str(PurePosixPath(*one.parts[1:])) for one in files if "edgekit.egg-info" not in one.parts}
    assert names == set(shipped()) | BESIDE | {"PKG-INFO", *(names & {"setup.py"})}


def test_the_metadata_is_that_of_setup_cfg(metadata: email.message.Message, wheel: zipfile.ZipFile) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert metadata["Name"] == "edgekit"
    assert metadata["Version"] == config["metadata"]["version"] == version("edgekit")
    assert metadata["Requires-Python"] == config["options"]["python_requires"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(config["options.extras_require"])
    assert metadata["License"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_the_command_is_the_entry_point(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    entry = configparser.ConfigParser()
    entry.read_string(wheel.read(name).decode())
    assert dict(entry["console_scripts"]) == {"edgekit": "edgekit.cli:main"}


def test_the_light_install_needs_nothing_heavy(metadata: email.message.Message) -> None:
    """A package more here is a package more on every build machine and board."""
    needed = {one.split(">")[0] for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one}
    assert needed == {"click", "jinja2", "msgspec", "numpy", "tflite", "tomli", "tomli-w"}


def test_no_file_says_where_it_was_built(wheel: zipfile.ZipFile) -> None:
    home = str(ROOT).encode()
    assert [name for name in wheel.namelist() if home in wheel.read(name)] == []
