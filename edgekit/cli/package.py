"""`edgekit package`: a model and all that a build needs around it, made anew only where something changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, say
from edgekit.package.firmware import package_firmware, write_depfile
from edgekit.units import format_bytes


class Report(Struct, frozen=True):
    """What the command prints: the folder, the name in its files, what was written, and the arena."""

    folder: Path
    name: str
    written: tuple[str, ...]
    arena: dict[str, Any]
    forced: tuple[str, ...]


def _cmake_folder(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(Path(__file__).parent.parent / "package" / "cmake")
        context.exit()


@click.command("package")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--for", "kind", type=click.Choice(["firmware"]), required=True, help="What the package goes into.")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the package.")
@click.option("--name", help="Begins the names of files and symbols. Default: the name of the model.")
@click.option(
    "--target", "-t", shell_complete=complete.targets, help="Refuse what breaks the rules or the budget of this target."
)
@click.option("--depfile", type=click.Path(path_type=Path), help="Write what was read, for Make or Ninja.")
@click.option("--force", is_flag=True, help="Package it although --target refuses it.")
@click.option(
    *("--cmake-dir", "asked"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_cmake_folder,
    help="Print the folder for find_package(edgekit), and stop.",
)
@json_option
def command(
    model: Path,
    kind: str,
    out: Path,
    name: str | None,
    target: str | None,
    depfile: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Package MODEL, a .tflite file or an artifact folder, with C sources, a self-test and build files.

    A second call writes nothing where nothing changed, so builds may call it each time.

    \b
    edgekit package model.tflite --for firmware -o firmware/model --target cortex-m7
    cmake -Dedgekit_DIR="$(edgekit package --cmake-dir)" ...
    """
    made = package_firmware(model, out, name=name, target=target, force=force)
    if depfile is not None:
        write_depfile(depfile, made)
    if made.name != made.asked:
        say(f"note: {made.asked!r} is no beginning of names in C: it became {made.name}")
    errors = (one for one in made.manifest["findings"] if one["level"] == "error")
    forced = tuple(f"{one['subject']}: {one['problem']}" for one in errors)
    for problem in forced:
        say(f"warning: forced: {problem}")
    emit(Report(made.folder, made.name, made.written, made.manifest["arena"], forced), as_json, _render)


def _render(report: Report) -> str:
    arena = f"arena {format_bytes(report.arena['bytes_32'])} with 32-bit pointers, {report.arena['how']}"
    done = f"{len(report.written)} files written" if report.written else "nothing to do"
    return f"{report.folder}: {report.name}: {done}; {arena}"
