"""The page of every command and option, from click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from marks import cell, code, prose, table

from edgekit.cli import cli


def page() -> str:
    """All commands, in the order of `edgekit --help`."""
    top = click.Context(cli, info_name="edgekit")
    return "\n\n".join(["# Commands", _help(cli), *_commands(cli, top, 2)]) + "\n"


def _commands(group: click.Group, above: click.Context, level: int) -> Iterator[str]:
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=above)
        yield f"{'#' * level} edgekit {context.command_path.removeprefix('edgekit ')}"
        yield from _parts(command, context)
        if isinstance(command, click.Group):
            yield from _commands(command, context, level + 1)


def _parts(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```"
    yield _help(command)
    records = [
        record for one in command.params if isinstance(one, click.Option) and (record := one.get_help_record(context))
    ]
    if records:
        yield table(("option", ""), ((code(names), cell(words)) for names, words in records))


def _help(command: click.Command) -> str:
    """The help in paragraphs; those that click leaves unwrapped are code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(_paragraph(one) for one in paragraphs)


def _paragraph(text: str) -> str:
    if not text.startswith("\b"):
        return prose(text)
    return f"```text\n{inspect.cleandoc(text.removeprefix(chr(8)))}\n```"
