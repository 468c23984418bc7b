"""The command line: commands, arguments, options with type and default, and exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from edgekit.cli import cli

Fact = tuple[str, str]


def facts() -> Iterator[Fact]:
    """A line for each exit code, command, argument, option, short name of an option, and word that an option takes."""
    codes = re.split(r",\s+|\.", (cli.help or "").split("Exit codes:")[1])
    for number, meaning in (one.strip().split(" ", 1) for one in codes if one.strip()):
        yield f"exit code {number}", meaning
    yield from _group(cli, click.Context(cli, info_name="edgekit"))


def _group(group: click.Group, above: click.Context) -> Iterator[Fact]:
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above)
        alone = not isinstance(command, click.Group) or command.invoke_without_command
        yield context.command_path, "command" if alone else "group of commands"
        for number, argument in enumerate(one for one in command.params if isinstance(one, click.Argument)):
            yield f"{context.command_path} {number + 1}.", f"{_must(argument)} argument {_value(argument)}"
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                yield from _option(context.command_path, option)
        if isinstance(command, click.Group):
            yield from _group(command, context)


def _option(path: str, option: click.Option) -> Iterator[Fact]:
    first, *others = sorted([*option.opts, *option.secondary_opts], key=len, reverse=True)
    yield f"{path} {first}", f"{_must(option)} {'flag' if option.is_flag else _value(option)}"
    for name in others:
        yield f"{path} {name}", f"is {first}"
    if isinstance(option.type, click.Choice):
        for word in option.type.choices:
            yield f"{path} {first}={word}", "may be given"


def _must(one: click.Parameter) -> str:
    return "required" if one.required else "optional"


def _value(one: click.Parameter) -> str:
    """Type, how often, and default; a range with its bounds."""
    kind = one.type.name
    if isinstance(one.type, (click.IntRange, click.FloatRange)):
        kind = f"{kind} {one.type._describe_range()}"
    many = (
        ", any number of times" if one.multiple or one.nargs == -1 else f", {one.nargs} values" if one.nargs > 1 else ""
    )
    given = one.to_info_dict()["default"]
    return kind + many + (f", default {given}" if given is not None and not one.required else "")
