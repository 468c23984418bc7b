"""The main commands on terminals of 80 and 200 columns, piped, without colours, and in a locale without letters."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import msgspec
import pytest
import tiny_models

from edgekit.cli import cli, main

LONG = "a_network_with_a_name_that_is_much_longer_than_anyone_would_want_it_to_be_in_a_table"
COMMANDS = {
    "targets": "targets",
    "target": "targets show coral-usb",
    "recipes": "recipes",
    "inspect": "inspect small.tflite --operators",
    "memory": "memory small.tflite",
    "check": "check small.tflite -t coral-usb -t cortex-m4",
    "estimate": "estimate small.tflite -t raspberry-pi-4",
    "benchmark": f"benchmark small.tflite {LONG}.tflite --runs 5",
    "compare": f"compare small.tflite {LONG}.tflite --processes 2 --samples 2",
    "wrong file": "inspect missing.tflite",
    "wrong target": "check small.tflite -t raspbery-pi-4",
    "wrong recipe": "optimize small.tflite -r int9 -o out",
}
SLOW = {"benchmark", "compare"}


class Screen(io.StringIO):
    """Both outputs on one terminal, or on none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("small", LONG):
        Path(f"{name}.tflite").write_bytes(tiny_models.negative())


def shown(words: str, monkeypatch: pytest.MonkeyPatch, width: int, terminal: bool = True) -> str:
    """What a command leaves on the screen: progress was replaced by what came after it."""
    monkeypatch.setattr(sys, "argv", ["edgekit", *words.split()])
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Screen(terminal)
    with redirect_stdout(screen), redirect_stderr(screen), pytest.raises(SystemExit):
        main()
    return re.sub(r"[^\n\r]*\r\x1b\[K", "", screen.getvalue())


def breakable(line: str) -> bool:
    """Whether a line could be folded: between its words, of which a `command` is one."""
    return " " in re.sub(r"`[^`]*`", "", line.strip())


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(COMMANDS[name], monkeypatch, width)
    assert text.strip()
    assert [line for line in text.split("\n") if len(line) > width and breakable(line)] == []


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SLOW))
def test_folding_loses_no_sign(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = (
        sorted(sign for sign in shown(COMMANDS[name], monkeypatch, width) if not sign.isspace() and sign != "-")
        for width in (80, 1000)
    )
    assert narrow == wide


def test_what_is_piped_has_whole_rows_a_line_for_each_step_and_no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(COMMANDS["benchmark"], monkeypatch, 40, terminal=False)
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("measuring")] == [
        "measuring small.tflite",
        f"measuring {LONG}.tflite",
    ]
    assert len([line for line in lines if line.startswith((f"{LONG}.tflite  ", "small.tflite  "))]) == 2


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(name: str, value: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"estimate {shared_data}/models/coral_pairs/mobilenet_v1_0.5_160_quant.tflite -t android-arm64"
    monkeypatch.setenv("NO_COLOR", "")
    coloured = shown(words, monkeypatch, 80)
    monkeypatch.setenv(name, value)
    plain = shown(words, monkeypatch, 80)
    assert "\x1b[" in coloured
    assert plain == re.sub(r"\x1b\[[0-9;]*m", "", coloured)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_locale_without_letters_is_no_error(form: list[str]) -> None:
    Path("bär.tflite").write_bytes(tiny_models.negative())
    settings = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "edgekit", "inspect", "bär.tflite", *form]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **settings}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert not form or msgspec.json.decode(done.stdout)


def walk(command: click.Command, path: str) -> dict[str, click.Command]:
    """A command and all below it, by what one types."""
    found = {path: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= walk(command.get_command(context, name) or command, f"{path} {name}")
    return found


def test_every_help_fits_80_columns_and_says_what_each_option_does() -> None:
    for path, command in walk(cli, "edgekit").items():
        text = command.get_help(click.Context(command, info_name=path, terminal_width=80))
        assert [line for line in text.splitlines() if len(line) > 80] == [], path
        assert [one.opts for one in command.params if isinstance(one, click.Option) and not one.help] == [], path
