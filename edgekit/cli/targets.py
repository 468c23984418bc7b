"""`edgekit targets`: list, show and validate targets, and their schema for editors."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit import strict_toml
from edgekit.cli import complete
from edgekit.cli.common import emit, json_option
from edgekit.cli.validation import validate
from edgekit.report.table import render_table
from edgekit.target import Target, load_target, target_names
from edgekit.units import format_bytes, format_count


@click.group("targets", invoke_without_command=True, short_help="List, show and validate targets.")
@click.pass_context
def command(context: click.Context) -> None:
    """What boards edgekit knows, each fact with its source. Without a subcommand: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command("list", short_help="All shipped targets in a table.")
@json_option
def list_command(as_json: bool = False) -> None:
    """All shipped targets, one a line."""
    emit([load_target(name) for name in target_names()], as_json, _render_list)


@command.command("show", short_help="Everything about one target, with sources.")
@click.argument("name", shell_complete=complete.targets)
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Everything known about the target NAME, or about the TOML file of that path."""
    emit(load_target(name), as_json, _render_target)


@command.command("validate", short_help="Check target files of your own.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
def validate_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILES (TOML); without any, the shipped targets. Exit code 1 if one cannot be used."""
    validate(files or target_names(), load_target, as_json)


@command.command("schema", short_help="JSON schema of a target file, for editors.")
def schema_command() -> None:
    """JSON schema of a target file; editors complete and check with it."""
    click.echo(msgspec.json.format(msgspec.json.encode(strict_toml.json_schema(Target)), indent=2).decode())


def _render_list(targets: list[Target]) -> str:
    header = ("target", "board", "processor", "memory", "flash", "recipe")
    return render_table(header, [_row(target) for target in targets])


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
    parts = [
        f"{target.name}: {target.title} ({target.family})",
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
