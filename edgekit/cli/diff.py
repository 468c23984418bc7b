"""`edgekit diff`: what takes one version of a model to the next, to be sent instead of the whole."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option
from edgekit.units import format_bytes


class Report(Struct, frozen=True):
    """What the command prints; `saved_bytes` is against the deflated new file, below 0 where nothing is won."""

    file: Path
    old_sha256: str
    new_sha256: str
    old_bytes: int
    new_bytes: int
    deflated_bytes: int
    delta_bytes: int
    saved_bytes: int


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@json_option
def command(old: Path, new: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write the delta from OLD to NEW, two .tflite files or artifact folders (their models), or any two files.

    \b
    edgekit diff v1.tflite v2.tflite -o v1-v2.delta
    edgekit patch v1.tflite v1-v2.delta -o v2.tflite     # on the device; or:
    bspatch v1.tflite v2.tflite v1-v2.delta

    The delta has the format BSDIFF40 and knows the SHA-256 of both files.
    """
    from edgekit.new_file import new_file
    from edgekit.package.delta import make_delta
    from edgekit.package.source import open_source
    from edgekit.tflite.inspect import deflated_bytes

    before, after = open_source(old), open_source(new)
    with new_file(out, overwrite) as stream:
        delta = make_delta(before.model, after.model)
        stream.write(delta)
    deflated = deflated_bytes(after.model)
    sizes = (len(before.model), len(after.model), deflated, len(delta), deflated - len(delta))
    emit(Report(out, before.sha256, after.sha256, *sizes), as_json, render)


def render(report: Report) -> str:
    """How large the delta is, beside what would be sent without it."""
    share = report.delta_bytes / max(report.new_bytes, 1)
    lines = [
        f"{report.file}: {format_bytes(report.delta_bytes)}, {share:.1%} of the new file's "
        f"{format_bytes(report.new_bytes)}; deflated it is {format_bytes(report.deflated_bytes)}"
    ]
    if report.old_sha256 == report.new_sha256:
        lines.append("the two files are the same")
    if report.saved_bytes <= 0:
        lines.append("nothing is won: the new file, deflated, is no larger; send that")
    return "\n".join(lines)
