"""What the commands share: `--json`, talk on standard error, progress on a terminal."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from edgekit.device.printable import printable
from edgekit.errors import OutputError
from edgekit.talk import Line
from edgekit.terminal import columns, fold, rewritable

_COUNT = re.compile(r"(?<![\w-])\d[\d.,e+-]*")
_step = ""
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def list_alone(context: click.Context, listed: click.Command, as_json: bool) -> None:
    """Run the list of a group that was called without a subcommand; `--json` is of that, and stands behind others."""
    if context.invoked_subcommand is None:
        context.invoke(listed, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"write --json behind {context.invoked_subcommand}", context)


def emit(value: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    """Print a result on standard output, as JSON or as `render` makes it, folded to the width of a terminal."""
    if as_json:
        click.echo(_as_json(value))
    else:
        click.echo(fold(_safe(render(value)), columns(sys.stdout)))


def _as_json(value: Any) -> str:
    """Indented JSON; what is no UTF-8, and all but ASCII where the output is no UTF-8, is escaped, as JSON reads it."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
        return escaped(text)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2)


def escaped(text: str) -> str:
    """A JSON text as standard output can carry it: in ASCII, unless that is UTF-8, which JSON is."""
    if codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8":
        return text
    return re.sub("[^\0-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)


def say(text: str) -> None:
    """Talk to the person, not to the pipe."""
    click.echo(fold(_safe(text), columns(sys.stderr)), err=True)


def _safe(text: str) -> str:
    """The text with no sign that drives a terminal (names of files and tensors may have any) but colours."""
    return "".join(part if index % 2 else printable(part) for index, part in enumerate(_COLOUR.split(text)))


def progress(text: str) -> None:
    """Say a line worth keeping; or show one that the next replaces, or without a terminal one for each new step.

    What is replaced is cut to the width, since a wrapped line would stay.
    """
    if not rewritable(sys.stderr):
        if isinstance(text, Line) or (_is_new(text) and text):
            say(text.replace("\n", " "))
    elif isinstance(text, Line):
        _rewrite(f"{fold(_safe(text), columns(sys.stderr))}\n")
    else:
        _rewrite(printable(text)[: (columns(sys.stderr) or 80) - 1])


def _rewrite(text: str) -> None:
    """Put a text in the place of the last line; not by click, which takes more than colours out where they are off."""
    sys.stderr.write(f"\r\033[K{text}")
    sys.stderr.flush()


def _is_new(text: str) -> bool:
    """Whether the text names another step than the one before: a count that goes on is the same step, nothing none."""
    global _step
    before, _step = _step, _COUNT.sub("#", text)
    return _step != before


def refuse_place(out: Path | None, overwrite: bool = True) -> None:
    """Raise OutputError, before any work is done for it, where a file cannot be written or must not be replaced."""
    if out is None or out.is_char_device() or out.is_fifo():  # which are written to as they are
        return
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already", "give another name, or --overwrite")
    if out.is_dir():
        raise OutputError(f"{out} is a folder, and no place for a file", "choose a file in it")
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent}: no such folder", "make it first, or choose another place")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{out.parent}: you may not write there", "correct its rights, or choose another place")


def refuse_ending(out: Path | None, *endings: str) -> None:
    """Raise OutputError where the name of a file ends otherwise."""
    if out is not None and out.suffix not in endings:
        other = out.parent / f"{out.stem.strip('.') or 'NAME'}{endings[0]}"
        raise OutputError(f"{out}: not the name of a {' or '.join(endings)} file", f"write {other}")


def file_names(models: Iterable[str]) -> dict[str, str]:
    """{model: its name in a table}: that of its file where it tells the models apart, on one line."""
    paths = list(dict.fromkeys(models))
    short = [Path(path).name for path in paths]
    names = short if len(set(short)) == len(short) else paths
    return {path: " ".join(name.splitlines()) for path, name in zip(paths, names, strict=True)}


def print_schema(schema: Any) -> None:
    """Print a JSON schema, one key a line; its patterns end as others than Python write them."""
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    click.echo(text.replace(r'\\Z"', '$"'))


@contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for the result: what a function or model of the user's prints goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield
