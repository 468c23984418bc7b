"""`edgekit compile`: ask the compiler of an accelerator where there is one, and hold it against the forecast."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import get_args

import click
from msgspec import Struct

from edgekit.cli.common import emit, json_option, say
from edgekit.errors import OutputError
from edgekit.finding import grouped, named
from edgekit.forecast.edgetpu import forecast_edgetpu
from edgekit.forecast.edgetpu_compiler import (
    COMMAND,
    Compilation,
    Difference,
    compare,
    compile_edgetpu,
    refuse_unwritable,
    write_compiled,
)
from edgekit.forecast.edgetpu_mends import fixed_sizes
from edgekit.forecast.vela import Accelerator, Compiled, compile_for_ethos_u
from edgekit.report.table import render_table
from edgekit.tflite.artifact_folder import tflite_path
from edgekit.tflite.flatbuffer import read_bytes
from edgekit.tflite.graph import read_graph
from edgekit.units import format_bytes, format_count, format_seconds

_EDGETPU = "edgetpu"


class EdgeTpuReport(Struct, frozen=True):
    """What `edgetpu_compiler` made of a file, and where the forecast was wrong."""

    compilation: Compilation
    differences: tuple[Difference, ...]


class EthosReport(Struct, frozen=True):
    """What vela made of a file, and where it was written."""

    file: Path
    compiled: Compiled


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--for",
    "unit",
    type=click.Choice([_EDGETPU, *get_args(Accelerator)]),
    metavar="ACCELERATOR",
    required=True,
    help="edgetpu (by edgetpu_compiler), or a configuration of an Ethos-U (by vela): ethos-u55-32 to -256, "
    "ethos-u65-256 and -512, ethos-u85-128 to -2048.",
)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the compiled file.")
@click.option(
    "--compiler",
    metavar="WORDS",
    default=COMMAND[0],
    show_default=True,
    help="How edgetpu_compiler is called, for example in a container that mounts {folder}.",
)
@click.option("--fix-sizes", is_flag=True, help="Make sizes that follow from batch 1 constants first; exact.")
@click.option("--several", is_flag=True, help="Let the Edge TPU have more than one piece of the graph.")
@click.option("--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds.")
@click.option("--overwrite", is_flag=True, help="Replace a compiled file that is there.")
@json_option
def command(
    model: Path,
    unit: str,
    out: Path,
    compiler: str,
    fix_sizes: bool,
    several: bool,
    timeout: float,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compile MODEL, an int8 .tflite file, with the maker's own compiler, where that is installed.

    \b
    edgekit compile model.tflite --for edgetpu -o build
    edgekit compile model.tflite --for edgetpu -o build \\
        --compiler 'docker run --rm -v {folder}:{folder} IMAGE edgetpu_compiler'
    edgekit compile model.tflite --for ethos-u55-128 -o build
    """
    model = tflite_path(model)
    data = bytes(read_bytes(model))
    read_graph(data, str(model))
    file = out / f"{model.stem}_{_EDGETPU if unit == _EDGETPU else 'vela'}.tflite"
    if file.exists() and not overwrite:
        raise OutputError(f"{file} exists already", "give --overwrite, or another folder")
    refuse_unwritable(out)
    if unit == _EDGETPU:
        _tell_of_preprocessing(model, out)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        source = Path(folder, model.name)
        source.write_bytes(fixed_sizes(data) if fix_sizes else data)
        if unit == _EDGETPU:
            found = compile_edgetpu(
                source,
                out,
                shlex.split(compiler),
                several_subgraphs=several,
                timeout_seconds=timeout,
                overwrite=overwrite,
            )
            forecast = forecast_edgetpu(read_graph(source), several_subgraphs=several)
            emit(EdgeTpuReport(found, compare(forecast, found)), as_json, _edgetpu)
        else:
            compiled, made = compile_for_ethos_u(source, unit, seconds=timeout)
            write_compiled(file, made, overwrite)
            emit(EthosReport(file, compiled), as_json, _ethos)


def _tell_of_preprocessing(model: Path, out: Path) -> None:
    """What an artifact records goes with a compiled file only in its folder."""
    from edgekit.data.spec import Preprocessing
    from edgekit.evaluate import recorded

    data, folder = getattr(recorded(model), "data", None), model.parent
    if data and data.preprocessing != Preprocessing() and out.resolve() != folder.resolve():
        say(f"note: {folder} records preprocessing, which `evaluate` gives a compiled file only there: -o {folder}")


def _edgetpu(report: EdgeTpuReport) -> str:
    found = report.compilation
    rows = [(str(row.count), row.operator, row.status) for row in found.rows]
    pieces = f"{found.partitions} piece{'s' if found.partitions != 1 else ''} on the Edge TPU"
    again = f", at attempt {found.attempts}" if found.attempts > 1 else ""
    parameters = f"{format_bytes(found.on_chip_bytes)} on the chip, {format_bytes(found.streamed_bytes)} streamed"
    parted = [
        f"the forecast left {one.forecast} {one.operator} on the CPU, the compiler {one.compiler}"
        for one in report.differences
    ]
    return "\n".join(
        [
            f"{found.path}: {pieces}{again}",
            f"  {found.version or 'a compiler that does not say its version'}; parameters {parameters}",
            *(["", render_table(("count", "operator", "status"), rows)] if rows else []),
            "",
            *(parted or ["the forecast was the same"]),
        ]
    )


def _ethos(report: EthosReport) -> str:
    made = report.compiled
    left = grouped(made.forecast.left, lambda one: one.reason)
    lines = [
        f"{report.file}: {len(made.forecast.placements) - len(made.forecast.left)} of "
        f"{len(made.forecast.placements)} operators on the {made.accelerator}",
        f"  for {made.system_config}, {made.memory_mode}, {format_count(made.clock_hz)}Hz",
        f"  SRAM {format_bytes(made.sram_bytes)}, DRAM {format_bytes(made.dram_bytes)}, "
        f"flash {format_bytes(made.on_chip_flash_bytes + made.off_chip_flash_bytes)}",
        f"  {format_count(made.macs)} MACs; vela's estimate, no measurement: {format_count(made.estimated_cycles)} "
        f"cycles, {format_seconds(made.estimated_seconds)}",
        *(f"  on the CPU: {named(ones)}: {reason}" for reason, ones in left.items()),
    ]
    return "\n".join(lines)
