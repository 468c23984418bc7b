"""docs/check.md: its models are made, its commands run, and they print what it shows."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shown import blocks, edgekit, matches, session, sessions

TEXT = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
MAKING, ASKING = blocks(TEXT, "python")
NEEDED = {"--record": "tflite_micro", "--for ethos": "ethosu"}


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder in which the commands that make the example have run."""

    import keras

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            keras.utils.clear_session()  # names of layers are counted from 1, as in a process of its own
            exec(MAKING, {"__name__": "example"})
            (commands,) = blocks(TEXT, "sh")
            optimizing, copying = map(shlex.split, commands.splitlines())
            assert edgekit(optimizing, patch)[1] == 0
            shutil.copy(*copying[1:])
            for target in blocks(TEXT, "toml"):
                Path(re.findall(r'^name = "(.*)"', target, re.MULTILINE)[0] + ".toml").write_text(target)

    return once("check_docs", make)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("shown", sessions(TEXT), ids=lambda shown: shown.splitlines()[0][2:])
def test_commands_print_what_is_shown(shown: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, package in NEEDED.items():
        if words in shown and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if "--for edgetpu" in shown and shutil.which("edgetpu_compiler"):
        pytest.skip("here the Edge TPU compiler is installed, and the page shows what is said where it is not")
    said = session(shown, monkeypatch)
    assert matches(said, shown), f"the page should have:\n{said}"


def test_the_python_prints_what_it_promises(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(ASKING, {"__name__": "example"})
    promised = re.findall(r"^# (.*)", ASKING, re.MULTILINE)
    assert promised
    assert set(promised) <= set(capsys.readouterr().out.splitlines())


def test_every_option_that_is_told_exists() -> None:
    from edgekit.cli import check, compile, memory

    known = {option for command in (check, compile, memory) for one in command.command.params for option in one.opts}
    told = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE))
    )
    assert told - known <= {"--device", "--rm", "--extends"}
