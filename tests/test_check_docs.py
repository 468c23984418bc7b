"""docs/check.md: its models are made, its commands run, and they print what it shows."""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from edgekit.cli import main

TEXT = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
SESSIONS = re.findall(r"^```\n(\$ .*?)^```", TEXT, re.DOTALL | re.MULTILINE)
MAKING, ASKING = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
NEEDED = {"--record": "tflite_micro", "--for ethos": "ethosu"}

_PARTS = re.compile(
    r"(?P<lines>^\.\.\.\n)|(?P<rest>\.\.\.)|(?P<number>\d[\d.]* [KM]?i?B\b|\d{3,})|(?P<rule>--+)|(?P<gap>  +)", re.M
)
_MATCHES = {"lines": r"(?:.*\n)*?", "rest": ".*", "number": r"\d[\d.]*(?: [KM]?i?B)?", "rule": "-+", "gap": " +"}


def pattern(shown: str) -> str:
    """What is shown as an expression: `...` is anything; sizes and large numbers may be others, and columns wider."""
    parts, end = [], 0
    for found in _PARTS.finditer(shown):
        parts += [re.escape(shown[end : found.start()]), _MATCHES[str(found.lastgroup)]]
        end = found.end()
    return "".join([*parts, re.escape(shown[end:])])


def edgekit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What a command prints on both outputs, and its exit code."""
    monkeypatch.setattr(sys, "argv", words)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main()
    return said.getvalue(), int(ended.value.code or 0)


def session(shown: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same session as it goes here: commands and what they print."""
    lines, code = [], 0
    for command in re.findall(r"^\$ (.*)", shown, re.MULTILINE):
        words, _, file = command.partition(" > ")
        if words == "echo $?":
            said = f"{code}\n"
        else:
            said, code = edgekit(shlex.split(words), monkeypatch)
        if file:
            Path(file).write_text(said)
            said = ""
        lines.append(f"$ {command}\n{said}")
    return "".join(lines)


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder in which the commands that make the example have run."""

    import keras

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            keras.utils.clear_session()  # names of layers are counted from 1, as in a process of its own
            exec(MAKING, {"__name__": "example"})
            (commands,) = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
            optimizing, copying = map(shlex.split, commands.splitlines())
            assert edgekit(optimizing, patch)[1] == 0
            shutil.copy(*copying[1:])
            for target in re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
                Path(re.findall(r'^name = "(.*)"', target, re.MULTILINE)[0] + ".toml").write_text(target)

    return once("check_docs", make)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("shown", SESSIONS, ids=lambda shown: shown.splitlines()[0][2:])
def test_commands_print_what_is_shown(shown: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, package in NEEDED.items():
        if words in shown and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if "--for edgetpu" in shown and shutil.which("edgetpu_compiler"):
        pytest.skip("here the Edge TPU compiler is installed, and the page shows what is said where it is not")
    said = session(shown, monkeypatch)
    assert re.fullmatch(pattern(shown), said), f"the page should have:\n{said}"


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


def test_a_pattern_is_no_wildcard() -> None:
    assert re.fullmatch(pattern("file 1.20 KiB, 11 of 12\n"), "file 31.0 MiB, 11 of 12\n")
    assert not re.fullmatch(pattern("file 1.20 KiB, 11 of 12\n"), "file 1.20 KiB, 12 of 12\n")
    assert re.fullmatch(pattern("{\n...\n  a...\n"), "{\n{\n[\n  abc\n")
    assert not re.fullmatch(pattern("{\n...\n  a...\n"), "{\n{\n[\n  bc\n")
