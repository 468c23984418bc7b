"""What the commands share: `--json`, talk on standard error, progress on a terminal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import click
import msgspec

from edgekit.device.printable import printable
from edgekit.talk import Line

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def emit(value: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    """Print a result on standard output, as JSON or as `render` makes it."""
    if as_json:
        click.echo(_as_json(value))
    else:
        click.echo(_safe(render(value)))


def _as_json(value: Any) -> str:
    """Indented JSON; a file name that is no UTF-8 has its bytes escaped, as Python reads it back."""
    try:
        return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2)


def say(text: str) -> None:
    """Talk to the person, not to the pipe."""
    click.echo(_safe(text), err=True)


def _safe(text: str) -> str:
    """The text with no sign that drives a terminal (names of files and tensors may have any) but colours."""
    return "".join(part if index % 2 else printable(part) for index, part in enumerate(_COLOUR.split(text)))


def progress(text: str) -> None:
    """Say a line worth keeping; or show one that the next replaces, on a terminal only.

    The latter is cut to the width, since a wrapped line would stay.
    """
    if isinstance(text, Line):
        click.echo(f"\r\033[K{text}" if sys.stderr.isatty() else text, err=True)
    elif sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r\033[K{printable(text)[:width]}", nl=False, err=True)


@contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for the result: what a function or model of the user's prints goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield
