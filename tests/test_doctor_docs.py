"""docs/doctor.md: its model is made, its commands run and print what it shows, and no cause is left out."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shown import blocks, edgekit, matches, session, sessions

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "doctor.md").read_text()


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path], digits: Path) -> Path:
    """Folder with the model of the page and the file that misses its gate."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name in ("digits.keras", "digits.npz"):
                shutil.copy(digits / name, folder)
            exec(blocks(TEXT, "python")[0], {})
            said, code = edgekit(shlex.split(blocks(TEXT, "sh")[1]), patch)
            assert code == 1
            assert "scale-disparity" in said

    return once("doctor_docs", make)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("shown", sessions(TEXT), ids=["explain", "repair", "agree"])
def test_commands_print_what_is_shown(shown: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = session(shown, monkeypatch)
    assert matches(said, shown), f"the page should have:\n{said}"
    if "--html" in shown:
        assert "scale-disparity" in (here / "why.html").read_text()


def test_every_cause_and_every_lint_is_told_and_no_other() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "edgekit" / "doctor").glob("*.py"))
    lints = set(re.findall(r'"(calibration-[a-z-]+)"', code)) - {"calibration-tails", "calibration-unchecked"}
    planted = set(re.findall(r'Planted\("([a-z-]+)"', (ROOT / "tests" / "doctor" / "planted.py").read_text()))
    assert set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE)) == planted
    assert set(re.findall(r"`(calibration-[a-z-]+)`", TEXT)) == lints


def test_every_option_that_is_told_exists() -> None:
    from edgekit.cli import agree, doctor, evaluate, optimize

    known = {option for one in (agree, doctor, evaluate, optimize) for p in one.command.params for option in p.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known
