"""Builds that package their model: edgekit and the compiler are called where something changed, and then no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from edgekit.package import c_text
from edgekit.package.build import package_model
from edgekit.package.folder import MANIFEST
from edgekit.package.golden import golden_vectors

Run = Callable[..., subprocess.CompletedProcess[str]]
CMAKE = Path(__file__).parent.parent.parent / "edgekit" / "package" / "cmake"
MAIN = '#include "curve.h"\nint main(void) { return (int)curve_data[0] * 0; }\n'
CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.20)
project(firmware C)
find_package(edgekit 0.1 REQUIRED)
add_edgekit_model(TARGET curve MODEL curve.tflite FOR board.toml)
add_executable(app main.c)
target_link_libraries(app PRIVATE edgekit::curve)
"""
MAKEFILE = """
OBJECTS := main.o $(CURVE_SRCS:.c=.o)
app: $(OBJECTS)
	$(CC) -o $@ $^
%.o: %.c
	$(CC) $(CURVE_CPPFLAGS) -MMD -c -o $@ $<
-include $(OBJECTS:.o=.d)
"""
BOARD = 'extends = "cortex-m7"\nname = "board"\ntitle = "{}"\n'


def write_model(path: Path, scale: float) -> None:
    """A LOGISTIC of 32 int8 values."""
    graph = tiny_models.Graph()
    x, y = (graph.tensor(*facts) for facts in (("x", (1, 32), 9, scale, 3), ("y", (1, 32), 9, 1 / 256, -128)))
    graph.operator(14, [x], [y])
    path.write_bytes(graph.bytes([x], [y]))


class Project:
    """A firmware project in a folder, whose edgekit and compiler write down that they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_model(folder / "curve.tflite", 0.05)
        (folder / "board.toml").write_text(BOARD.format("Board"))
        (folder / "main.c").write_text(MAIN)
        (folder / "bin").mkdir()
        self.install("9.1")
        self._script("edgekit", f'PYTHONPATH="{folder}/site" exec "{sys.executable}" -m edgekit')
        self._script("cc", shutil.which("gcc") or pytest.skip("gcc is not installed"))
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "CC": str(folder / "bin/cc"),
        }

    def _script(self, name: str, command: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} >> "{self.folder}/calls"\n{command} "$@"\n')
        path.chmod(0o755)

    def install(self, version: str) -> None:
        """What pip does: the facts of a package lie in a folder that has its version in the name."""
        for old in self.folder.glob("site/*"):
            shutil.rmtree(old)
        facts = self.folder / "site" / f"edgekit-{version}.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: edgekit\nVersion: {version}\n")
        (facts / "RECORD").write_text(f"edgekit-{version}.dist-info/METADATA,,\n")

    def run(self, *words: object) -> None:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def build(self) -> tuple[int, int]:
        """Calls of edgekit and of the compiler, which links as well."""
        (self.folder / "calls").write_text("")
        self.run(*self.command)
        calls = (self.folder / "calls").read_text().split()
        return calls.count("edgekit"), calls.count("cc")

    command: tuple[str, ...] = ("make", "app")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture(params=["Ninja", pytest.param("Unix Makefiles", marks=pytest.mark.slow), "Make"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    tools = {"Ninja": ("cmake", "ninja"), "Unix Makefiles": ("cmake", "make"), "Make": ("make",)}[request.param]
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    made = Project(tmp_path)
    if request.param == "Make":
        (tmp_path / "Makefile").write_text(_of_the_readme(tmp_path) + MAKEFILE)
        return made
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS)
    made.run("cmake", "-G", request.param, "-S", ".", "-B", "build", f"-Dedgekit_DIR={CMAKE}")
    made.command = ("cmake", "--build", "build", "--target", "app")
    return made


def _of_the_readme(folder: Path) -> str:
    """The second snippet for Make that a package brings along, with the path of its target."""
    told = {"kind": "firmware", "name": "curve", "target": folder / "board.toml"}
    made = package_model([folder / "curve.tflite"], folder / "other", **told).folder
    snippet = (made / "README.md").read_text().split("```make\n")[2].split("```")[0]
    shutil.rmtree(made)
    assert "OPTIONS := --target board\n" in snippet
    return "all: app\n" + snippet.replace("--target board", "--target board.toml")


def test_it_is_called_where_something_changed_and_then_no_more(project: Project) -> None:
    assert project.build() == (1, 4)
    assert project.build() == (0, 0)

    os.utime(project.folder / "curve.tflite")
    assert project.build() == (1, 0)
    assert [project.build(), project.build()] == [(0, 0), (0, 0)]

    write_model(project.folder / "curve.tflite", 0.04)
    assert project.build() == (1, 4)
    assert project.build() == (0, 0)

    (project.folder / "board.toml").write_text(BOARD.format("Another board"))
    assert project.build() == (1, 0)
    assert project.build() == (0, 0)

    project.install("9.2")
    assert project.build() == (1, 0)
    assert project.build() == (0, 0)
    (manifest,) = project.folder.rglob(MANIFEST)
    assert '"edgekit": "9.2"' in manifest.read_text()

    name = "Makefile" if (project.folder / "Makefile").exists() else "CMakeLists.txt"
    project.replace(name, "board.toml", "cortex-m4")
    assert project.build() == (1, 0)
    assert project.build() == (0, 0)


@pytest.mark.slow
def test_a_model_that_is_refused_stays_a_reason_to_build(project: Project) -> None:
    project.build()
    (project.folder / "curve.tflite").write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(AssertionError, match="TFL3"):
            project.build()
    write_model(project.folder / "curve.tflite", 0.05)
    assert project.build() == (1, 0)
    assert project.build() == (0, 0)


def test_the_version_for_cmake_is_the_version() -> None:
    told = re.search(r'PACKAGE_VERSION "(.*)"', (CMAKE / "edgekitConfigVersion.cmake").read_text())
    setup = re.search(r"^version = (.*)$", (CMAKE.parents[2] / "setup.cfg").read_text(), re.MULTILINE)
    assert told is not None
    assert setup is not None
    assert told[1] == setup[1]


def test_cmake_says_what_it_lacks(tmp_path: Path) -> None:
    """A model that nothing makes yet, and a program that is not on the PATH."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    made = Project(tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS.replace("curve.tflite", "misspelt.tflite"))
    words = ["cmake", "-S", ".", "-B", "build", f"-Dedgekit_DIR={CMAKE}"]
    done = subprocess.run(words, cwd=tmp_path, env=made.environment, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/misspelt.tflite is not there yet" in done.stdout
    script = tmp_path / "lacking.cmake"
    nowhere = "".join(f"set(CMAKE_FIND_USE_{each}_PATH 0)\n" for each in ("SYSTEM_ENVIRONMENT", "CMAKE_SYSTEM"))
    script.write_text(f'{nowhere}include({CMAKE}/edgekitConfig.cmake)\nmessage("${{edgekit_NOT_FOUND_MESSAGE}}")\n')
    lacking = subprocess.run(["cmake", "-P", script], capture_output=True, text=True, check=True)
    assert "give -DEDGEKIT_EXECUTABLE=" in lacking.stderr


def test_cmake_refuses_the_name_of_a_header_of_c(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    source = (CMAKE / "edgekitConfig.cmake").read_text()
    assert set(source.partition("set(headers ")[2].partition(")")[0].split()) == c_text._HEADERS
    script = tmp_path / "named.cmake"
    script.write_text(f"include({CMAKE}/edgekitConfig.cmake)\nadd_edgekit_model(TARGET Signal MODEL m.tflite)\n")
    words = ["cmake", "-DEDGEKIT_EXECUTABLE=edgekit", "-P", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Signal.h is a header of C: call it Signal_model" in " ".join(done.stderr.split())


def test_cmake_says_that_it_needs_c(package: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    used = [f"include({CMAKE}/edgekitConfig.cmake)\nadd_edgekit_model(TARGET curve MODEL m.tflite)"]
    used.append(f"add_subdirectory({package} curve)")
    for place, words in enumerate(used):
        source = tmp_path / str(place)
        source.mkdir()
        lists = f"cmake_minimum_required(VERSION 3.20)\nproject(firmware NONE)\n{words}\n"
        (source / "CMakeLists.txt").write_text(lists)
        command = ["cmake", "-DEDGEKIT_EXECUTABLE=edgekit", "-S", source, "-B", source / "build"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode
        assert "curve.c is C: write project(NAME C CXX)" in " ".join(done.stderr.split())


def test_cmake_takes_what_goes_with_the_model(tmp_path: Path) -> None:
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    made = Project(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(f"word {place}" for place in range(32)))
    vectors = golden_vectors((tmp_path / "curve.tflite").read_bytes(), 2)
    (tmp_path / "golden.npz").write_bytes(vectors.to_npz())
    told = "FOR board.toml LABELS names.txt VECTORS golden.npz CONSTANTS threshold=0.5 hop=128"
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS.replace("FOR board.toml", told))
    made.run("cmake", "-G", "Ninja", "-S", ".", "-B", "build", f"-Dedgekit_DIR={CMAKE}")
    made.command = ("cmake", "--build", "build", "--target", "app")
    assert made.build() == (1, 4)
    header = tmp_path / "build/edgekit/curve/curve.h"
    assert {"#define CURVE_CONSTANT_HOP (128.0f)", "#define CURVE_LABELS 32u"} <= set(header.read_text().splitlines())
    assert "SELFTEST_VECTORS 2u" in header.with_name("curve_selftest.h").read_text()

    (tmp_path / "names.txt").write_text("\n".join(f"name {place}" for place in range(32)))
    assert made.build()[0] == 1
    assert '"name 31"' in header.with_name("curve.c").read_text()
    made.replace("CMakeLists.txt", "threshold=0.5", "threshold=0.25")
    assert made.build()[0] == 1
    assert "#define CURVE_CONSTANT_THRESHOLD (0.25f)" in header.read_text()
    assert made.build() == (0, 0)
