"""`edgekit rewrite`: a .tflite file in operators that the target runs faster."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option
from edgekit.surgery.rewrite import Applied


class Report(Struct, frozen=True):
    """What the command prints: the file written, what was done, and the pieces that XNNPACK makes of it."""

    file: Path
    applied: tuple[Applied, ...]
    pieces_before: int
    pieces: int


@click.command("rewrite")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "-t", default="host", show_default=True, help="Target: its runtime decides the rules.")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@json_option
def command(model: Path, target: str, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write MODEL, a finished .tflite, in operators that the target's runtime runs faster.

    \b
    edgekit rewrite model_int8.tflite -o faster.tflite

    `edgekit optimize` does this to every file it makes. Inputs and outputs stay; values may change by the rounding of
    the operators that were replaced.
    """
    from edgekit.errors import TargetError
    from edgekit.new_file import new_file
    from edgekit.surgery.rewrite import partitions, rewrite, rules_for
    from edgekit.target import load_target
    from edgekit.tflite.flatbuffer import read_bytes

    rules = rules_for(load_target(target))
    if not rules:
        raise TargetError(
            f"there is nothing to rewrite for target {target!r}: its first choice is not XNNPACK in LiteRT",
            "give the file as it is, or name a target with a CPU of its own, such as raspberry-pi-4",
        )
    before = bytes(read_bytes(model))
    done = rewrite(before, rules)
    with new_file(out, overwrite) as stream:
        stream.write(done.file)
    emit(Report(out, done.applied, partitions(before), partitions(done.file)), as_json, _render)


def _render(report: Report) -> str:
    done = [f"{one}: {one.reason}" for one in report.applied] or ["nothing to rewrite"]
    return "\n".join([*done, f"{report.file}: pieces of XNNPACK {report.pieces_before} -> {report.pieces}"])
