"""`edgekit firmware`: what becomes of a package in the firmware that is built with it."""

from __future__ import annotations

import re
from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option, say
from edgekit.package.firmware_size import ARENA, KINDS, FirmwareSize, Kind, Part, Region, Use
from edgekit.units import format_bytes

_GREATEST = 10


class Report(Struct, frozen=True):
    """What `size` prints: memories, parts, and the input sections that take most."""

    regions: tuple[Region, ...]
    parts: tuple[Part, ...]
    greatest: tuple[Use, ...]
    budgets: dict[str, int]
    format_version: int = 1


@click.group("firmware")
def command() -> None:
    """Look at firmware that was built: how much flash and RAM it takes, and what of it is the model."""


@command.command("size")
@click.option("--map", "path", type=click.Path(path_type=Path), required=True, help="Map file of GNU ld or LLVM lld.")
@click.option(
    *("--package", "packages"),
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder of `edgekit package`, whose model is looked for. Repeatable.",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="WHAT=SIZE",
    help="What may be taken at most: flash=256K,ram=64K, or a region by its name. Repeatable.",
)
@click.option("--arena", "arenas", multiple=True, metavar="NAME", help="Variable that is an arena. Default: `*arena*`.")
@click.option(
    "--region", "kinds", multiple=True, metavar="NAME=KIND", help="A region is flash or ram, whatever it looks like."
)
@json_option
def size(
    path: Path,
    packages: tuple[Path, ...],
    budgets: tuple[str, ...],
    arenas: tuple[str, ...],
    kinds: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show flash and RAM by memory region, and how much is the model, its arena, TensorFlow Lite Micro, and the rest.

    \b
    edgekit firmware size --map app.map --package firmware/keyword \\
        --budget flash=256K,ram=64K

    Flash has the first values of initialized data as well. Regions are those of the linker script's MEMORY, or else
    flash and ram by the kinds of sections. Ends with code 1 over a budget.
    """
    from edgekit.cli.budget_option import parse_budgets
    from edgekit.package.firmware_size import firmware_size, refuse_over
    from edgekit.package.link_map import read_link_map

    found = firmware_size(read_link_map(path), packages, arenas, dict(map(_kind, kinds)))
    limits = parse_budgets(budgets, found.words, "flash=256K or ram=64K")
    greatest = sorted(found.uses, key=lambda use: -use.bytes)[:_GREATEST]
    emit(Report(found.regions, found.parts, tuple(greatest), limits), as_json, render)
    _note_lacks(found)
    refuse_over(found, limits)


def _kind(text: str) -> tuple[str, Kind]:
    name, _, word = text.partition("=")
    for kind in KINDS:
        if word == kind:
            return name, kind
    raise click.BadParameter(f"{text!r}: write NAME=flash or NAME=ram", param_hint="--region")


def _note_lacks(found: FirmwareSize) -> None:
    """What was looked for and is not there: the linker may have left it out, or its name is not in the map."""
    seen = {part.name for part in found.parts}
    if found.outside:
        say(f"note: not counted, since in no region of the map: {', '.join(found.outside)}")
    for name in found.packages:
        if f"{name}: model" not in seen:
            say(f"note: nothing of {name} is in this firmware: is it linked, and used?")
    if found.packages and ARENA not in seen:
        say("note: no arena was seen: compile with -fdata-sections, and name the variable with --arena")


def render(report: Report) -> str:
    """Memories against what they have and may have, then parts, then the greatest sections."""
    from edgekit.report.table import render_table

    rows = [
        (one.name, one.kind, format_bytes(one.used_bytes), format_bytes(one.length_bytes), _share(one))
        for one in report.regions
    ]
    parts = [(one.name, format_bytes(one.flash_bytes), format_bytes(one.ram_bytes)) for one in report.parts]
    sums = [format_bytes(sum(one.used_bytes for one in report.regions if one.kind == kind)) for kind in KINDS]
    greatest = [
        (format_bytes(one.bytes), one.region, one.part, f"{_short(one.object)} {one.section}")
        for one in report.greatest
    ]
    limits = [f"budget: {word} {format_bytes(most)}" for word, most in report.budgets.items()]
    return "\n".join(
        [
            render_table(("memory", "kind", "used", "of", ""), rows),
            *limits,
            "",
            render_table(("part", "flash", "RAM"), [*parts, ("all", *sums)]),
            "",
            render_table(("greatest", "memory", "part", "object and section"), greatest),
        ]
    )


def _short(name: str) -> str:
    """An object file without its folders, which may be long: `libc.a(lib_a-exit.o)`."""
    return re.split(r"[/\\]", name)[-1]


def _share(region: Region) -> str:
    return f"{region.used_bytes / region.length_bytes:.1%}" if region.length_bytes else ""
