"""docs/tutorials: each page is played from top to bottom: its files are written, its commands print what it shows."""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from android_api import api, bundle_of, compiled, java_of, needs_java
from shown import matches, session

from edgekit.package.build import package_model
from edgekit.tf import import_keras

FOLDER = Path(__file__).parent.parent / "docs" / "tutorials"
NEEDED = {"firmware": ("cmake", "make", "gcc")}
_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


def parts(page: str) -> Iterator[tuple[str, str, str]]:
    """The fenced blocks of a page: language, title, text."""
    yield from _BLOCK.findall((FOLDER / f"{page}.md").read_text())


@pytest.fixture(scope="module")
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder in which the program of the first page has run."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            import_keras().backend.clear_session()  # which counts names of layers from the start
            (code,) = (text for _, title, text in parts("model") if title)
            exec(code, {"__name__": "example"})

    return once("tutorial_model", make)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model, where `edgekit` is a program of the shell, and `pi4` is this machine."""
    folder = shutil.copytree(made, tmp_path / "here")
    program = tmp_path / "bin" / "edgekit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgekit "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("EDGEKIT_DEVICES", str(folder / "devices.toml"))
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of the make that runs the tests
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize("page", ["mobile-app", "raspberry-pi", "firmware"])
def test_the_page_goes_as_it_is_shown(page: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in NEEDED.get(page, ()):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if page == "firmware" and importlib.util.find_spec("tflite_micro") is None:
        pytest.skip("tflite_micro is not installed")
    for _, title, text in parts(page):
        if title:
            (here / Path(title).name).write_text(text.replace("ssh://pi@raspberrypi.local", "local"))
        elif text.startswith("$ "):
            said = (
                session(text, monkeypatch)
                .replace("\nlocal:", "\npi4:")
                .replace("device        local", "device        pi4")
            )
            assert matches(said, text), f"the page should have:\n{said}"


def test_the_apk_is_made_as_it_is_shown(tmp_path: Path) -> None:
    """With tools of Debian, up to the phone; models in it are stored as they are, at addresses that can be mapped."""
    tools = ("unzip", "aapt2", "zipalign", "keytool", "apksigner")
    if lacking := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(lacking)} not installed")
    if not Path("/usr/share/android-framework-res/framework-res.apk").is_file():
        pytest.skip("android-framework-res is not installed")
    (shown,) = (text for language, _, text in parts("mobile-app") if language == "sh" and "aapt2" in text)
    (tmp_path / "model.tflite").write_bytes(tiny_models.negative())
    package_model([tmp_path / "model.tflite"], tmp_path / "digits", kind="android", name="digits")
    commands, phone, _ = shown.partition("adb install")
    assert phone
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "digits.apk") as apk:
        (model,) = (info for info in apk.infolist() if info.filename.endswith(".tflite"))
        assert model.compress_type == zipfile.ZIP_STORED
    tree = ["aapt2", "dump", "xmltree", tmp_path / "digits.apk", "--file", "AndroidManifest.xml"]
    assert "application" in subprocess.run(tree, check=True, capture_output=True, text=True).stdout, "phones want one"
    subprocess.run(["zipalign", "-c", "-p", "4", tmp_path / "digits.apk"], check=True, capture_output=True)


@needs_java
def test_the_java_compiles_against_a_package(tmp_path: Path) -> None:
    (shown,) = (text for _, title, text in parts("mobile-app") if title == "Reader.java")
    sources = java_of(bundle_of(tiny_models.negative(), name="digits"))
    compiled(tmp_path, {**api(), **sources, "Reader.java": shown.encode()})


def test_every_extra_that_is_told_exists() -> None:
    setup = (FOLDER.parent.parent / "setup.cfg").read_text()
    told = set(re.findall(r"edgekit\[([\w,]+)\]", "".join(path.read_text() for path in FOLDER.glob("*.md"))))
    assert {extra for extras in told for extra in extras.split(",")} <= set(re.findall(r"^(\w+) =$", setup, re.M))
