"""What a page of docs/ shows: its examples, its commands and what they print, run again and compared."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from edgekit.cli import main

_PARTS = re.compile(
    r"(?P<lines>^\.\.\.\n)|(?P<rest>\.\.\.)|(?P<number>\d[\d.]* (?:[KM]?i?B|[num]?s)\b|\d{3,})"
    r"|(?P<rule>--+)|(?P<gap>  +)",
    re.M,
)
_MATCHES = {
    "lines": r"(?:.*\n)*?",
    "rest": ".*",
    "number": r"\d[\d.]*(?: (?:[KM]?i?B|[num]?s))?",
    "rule": "-+",
    "gap": " +",
}


def _pattern(shown: str) -> str:
    """What is shown as an expression: `...` is anything; sizes, times, large numbers may be others, columns wider."""
    parts, end = [], 0
    for found in _PARTS.finditer(shown):
        parts += [re.escape(shown[end : found.start()]), _MATCHES[str(found.lastgroup)]]
        end = found.end()
    return "".join([*parts, re.escape(shown[end:])])


class _Terminal(io.TextIOBase):
    """Standard error on a wide terminal, that shares its screen with standard output."""

    def __init__(self, screen: io.StringIO) -> None:
        self.screen = screen

    def write(self, text: str) -> int:
        return self.screen.write(text)

    def isatty(self) -> bool:
        return True


def edgekit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What a command leaves on the screen, and its exit code: progress was replaced by what came after it."""
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("TERM", "xterm")
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(_Terminal(said)), pytest.raises(SystemExit) as ended:
        main()
    return re.sub(r"[^\n\r]*\r\x1b\[K", "", said.getvalue()), int(ended.value.code or 0)


def _shell(command: str) -> tuple[str, int]:
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout, done.returncode


def session(shown: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same session as it goes here: commands and what they print."""
    lines, code = [], 0
    for command in re.findall(r"^\$ (.*)", shown, re.MULTILINE):
        words, _, file = command.partition(" > ")
        if words == "echo $?":
            said = f"{code}\n"
        elif words.startswith("edgekit "):
            said, code = edgekit(shlex.split(words), monkeypatch)
        else:
            said, code = _shell(words)
        if file:
            Path(file).write_text(said)
            said = ""
        lines.append(f"$ {command}\n{said}")
    return "".join(lines)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def titled(text: str) -> list[tuple[str, str]]:
    """(file name, text) of the fenced blocks that are files."""
    return re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


def sessions(text: str) -> list[str]:
    """The fenced blocks without a language that begin with a command."""
    return re.findall(r"^```\n(\$ .*?)^```", text, re.DOTALL | re.MULTILINE)


def matches(said: str, shown: str) -> bool:
    """Whether a session went as the page shows it."""
    return re.fullmatch(_pattern(shown), said) is not None
