"""`edgekit targets`: list, show, validate and write targets, and their schema for editors."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
from msgspec import Struct

from edgekit import target_files
from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, list_alone, print_schema, say
from edgekit.cli.validation import validate
from edgekit.errors import OutputError, TargetError
from edgekit.new_file import write_new
from edgekit.report.table import render_table
from edgekit.target import Target, file_schema, load_target
from edgekit.target_files import TargetFile
from edgekit.units import format_bytes, format_count


class Listed(Struct, frozen=True):
    """One known target and its file; `target` is null where it cannot be used: `problem` and `mend` say why."""

    name: str
    file: str
    shipped: bool
    target: Target | None = None
    problem: str = ""
    mend: str = ""


@click.group("targets", invoke_without_command=True, short_help="List, show, validate and write targets.")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """What boards edgekit knows, each fact with its source. Without a subcommand: the list."""
    list_alone(context, list_command, as_json)


@command.command("list", short_help="All known targets in a table.")
@json_option
def list_command(as_json: bool = False) -> None:
    """All known targets, one a line: yours, then those that come with edgekit.

    Yours are the .toml files in the folders of EDGEKIT_TARGETS and in ~/.config/edgekit/targets.
    """
    emit([_listed(file) for file in target_files.known()], as_json, _render_list)


@command.command("show", short_help="Everything about one target, with sources.")
@click.argument("name", shell_complete=complete.targets)
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Everything known about the target NAME, or about the TOML file of that path."""
    emit(load_target(name), as_json, _render_target)


@command.command("validate", short_help="Check target files of your own.")
@click.argument("files", metavar="[FILE|FOLDER|NAME]...", nargs=-1)
@json_option
def validate_command(files: tuple[str, ...], as_json: bool) -> None:
    """Check target files (TOML), all of a folder, or targets by name; without any, all known ones.

    Exit code 1 if one cannot be used.
    """
    validate([each for word in files for each in _files_of(word)] or target_files.known(), load_target, as_json)


@command.command("new", short_help="Write a target file to fill in.")
@click.argument("name")
@click.option(
    "--extends", metavar="TARGET", shell_complete=complete.targets, help="Write only what differs from this target."
)
@click.option("-o", "out", metavar="FILE", type=click.Path(path_type=Path), help="Default: NAME.toml here.")
@click.option("--force", "--overwrite", "force", is_flag=True, help="Replace the file if it exists.")
def new_command(name: str, extends: str | None, out: Path | None, force: bool) -> None:
    """Write a commented target file for the board NAME, to be filled in: every key, its meaning, what it may be.

    \b
    edgekit targets new my-board
    edgekit targets new my-pi --extends raspberry-pi-4 \\
        -o ~/.config/edgekit/targets/my-pi.toml
    """
    from edgekit.target_template import template, variation

    path = out or Path(f"{name}.toml")
    if path.suffix != ".toml":
        raise OutputError(f"{path}: a target is a .toml file", "give -o a name that ends in .toml")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already", "give another -o, or --force to replace it")
    like = _from(extends, path) if extends else None
    text = variation(name, like, TargetFile(path)) if like else template(name, TargetFile(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_new(path, text.encode(), overwrite=True)
    click.echo(path)
    say(f"fill it in, then: edgekit targets validate {path}")


@command.command("schema", short_help="JSON schema of a target file, for editors.")
def schema_command() -> None:
    """JSON schema of a target file; editors complete and check with it."""
    print_schema(file_schema())


def _files_of(word: str) -> Sequence[str | TargetFile]:
    """What a word of the command line means: the files of a folder, or itself, a file or a name."""
    folder = Path(word)
    if not folder.is_dir():
        return [word]
    if files := target_files.targets_in(folder):
        return files
    raise TargetError(f"{folder}: no .toml file in this folder", "give a file, or the folder that has them")


def _from(extends: str, path: Path) -> str:
    """The target to extend as the file at `path` has to write it."""
    if not extends.endswith(".toml"):
        return extends
    return Path(os.path.relpath(Path(extends).expanduser().resolve(), path.parent.resolve())).as_posix()


def _listed(file: TargetFile) -> Listed:
    try:
        return Listed(file.name, str(file.path), file.shipped, load_target(file))
    except TargetError as fault:
        return Listed(file.name, str(file.path), file.shipped, problem=fault.problem, mend=fault.mend)


def _render_list(listed: list[Listed]) -> str:
    header = ("target", "board", "processor", "memory", "flash", "recipe", "from")
    usable = [(one.target, "edgekit" if one.shipped else one.file) for one in listed if one.target]
    table = render_table(header, [(*_row(target), place) for target, place in usable])
    broken = [f"broken: {one.name}: {one.problem}" for one in listed if one.target is None]
    doubled = [f"{name} is in more than one file: give its path" for name, times in _counted(listed) if times > 1]
    return "\n".join([table, *broken, *doubled])


def _counted(listed: list[Listed]) -> list[tuple[str, int]]:
    return list(Counter(one.name for one in listed).items())


def _row(target: Target) -> tuple[str, ...]:
    accelerators = [name for name in target.runtime.delegates if name != "xnnpack"]
    return (
        target.name,
        target.title,
        " + ".join([_processor(target), *accelerators]),
        format_bytes(target.memory.ram_bytes),
        format_bytes(target.memory.flash_bytes),
        target.numerics.recommended,
    )


def _processor(target: Target) -> str:
    part = target.processor
    if part.cores is None:
        return part.architecture
    clock = f" {_clock(part.clock_hz)}" if part.clock_hz else ""
    return f"{part.cores}x {part.core}{clock}"


def _clock(hertz: int) -> str:
    return f"{format_count(hertz)}Hz"


def _render_target(target: Target) -> str:
    sources = list(dict.fromkeys(target.source_of(claim) for claim, _ in target.claims()))
    rows = [
        (claim, _value(claim, value), f"[{sources.index(target.source_of(claim)) + 1}]")
        for claim, value in target.claims()
    ]
    like = f", extends {target.extends}" if target.extends else ""
    parts = [
        f"{target.name}: {target.title} ({target.family}{like})",
        render_table(("fact", "value", "source"), rows),
        "\n".join(f"[{number}] {source}" for number, source in enumerate(sources, start=1)),
        "\n".join(f"- {note}" for note in target.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _value(claim: str, value: object) -> str:
    """A value as a person reads it: bytes and hertz with their unit, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and claim.endswith("_bytes"):
        return format_bytes(value)
    if isinstance(value, int) and claim.endswith("_hz"):
        return _clock(value)
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
