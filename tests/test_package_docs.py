"""docs/package.md: its models are made, its commands run, and they print what it shows."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shown import blocks, edgekit, matches, session, sessions

TEXT = (Path(__file__).parent.parent / "docs" / "package.md").read_text()
NEEDED = {"--for firmware": "tflite_micro", "keygen": "minisign", "diff": "bsdiff4"}


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path], digits: Path) -> Path:
    """Folder with the artifacts that the page packages."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name in ("digits.keras", "digits.npz"):
                shutil.copy(digits / name, folder)
            assert edgekit(shlex.split(blocks(TEXT, "sh")[1]), patch)[1] == 0

    return once("package_docs", make)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, with what the page makes before."""
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("shown", sessions(TEXT), ids=lambda shown: shown.split(" -o ")[0][2:])
def test_commands_print_what_is_shown(shown: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, package in NEEDED.items():
        if words in shown and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if "--sign" in shown:  # the page has packaged the folder before it signs it
        edgekit(shlex.split(re.sub(r" --sign \S+", "", _command(shown, "--sign"))), monkeypatch)
    said = session(shown, monkeypatch)
    assert matches(said, shown), f"the page should have:\n{said}"


def _command(shown: str, words: str) -> str:
    return next(line[2:] for line in shown.splitlines() if line.startswith("$ ") and words in line)


def test_every_option_that_is_told_exists() -> None:
    from edgekit.cli import diff, firmware, package, patch, vectors, verify

    commands = [one.command for one in (diff, package, patch, vectors, verify)] + [firmware.size]
    known = {option for command in commands for one in command.params for option in one.opts}
    told = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE))
    )
    assert told <= known
