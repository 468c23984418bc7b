"""`edgekit patch`: the new version of a model, from the old one and a delta."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option
from edgekit.units import format_bytes


class Report(Struct, frozen=True):
    """What the command prints of the file that it wrote."""

    file: Path
    sha256: str
    bytes: int


@click.command("patch")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("delta", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write; may be OLD.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@json_option
def command(old: Path, delta: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    """Make the new file from OLD, a file or an artifact folder (its model), and a DELTA of `edgekit diff`.

    \b
    edgekit patch v1.tflite v1-v2.delta -o v2.tflite

    OLD and the result are checked by their SHA-256; the result is there whole and right, or not at all.
    """
    from edgekit.new_file import new_file
    from edgekit.package.delta import apply_delta
    from edgekit.package.source import open_source

    before, change = open_source(old).model, open_source(delta).model
    with new_file(out, overwrite) as stream:
        head = apply_delta(before, change, stream, str(old))
    found = Report(out, head.new_sha256, head.new_bytes)
    emit(found, as_json, lambda made: f"{made.file}: {format_bytes(made.bytes)}, SHA-256 {made.sha256}")
