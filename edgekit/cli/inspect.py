"""`edgekit inspect`: what is inside a TFLite file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.common import emit, json_option

if TYPE_CHECKING:
    from edgekit.tflite.inspect import ModelContents, TensorInfo


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--operators", is_flag=True, help="List every operator, not only how many of each type.")
@click.option("--deflated", is_flag=True, help="Also the size after DEFLATE, what an app store transports; slower.")
@json_option
def command(model: Path, operators: bool, deflated: bool, as_json: bool) -> None:
    """Show what is inside MODEL, a .tflite file: contract, operators, parameters, MACs. Runs nothing."""
    from edgekit.tflite.inspect import inspect_model, read_contents

    found = inspect_model(model) if deflated else read_contents(model)
    emit(found, as_json, lambda contents: render(contents, model.name, operators))


def render(summary: ModelContents, name: str, every_operator: bool) -> str:
    """The contents as a person reads them, with the deflated size where it is known."""
    from edgekit.tflite.inspect import ModelSummary, looped
    from edgekit.units import format_bytes, format_count

    deflated = f"{format_bytes(summary.deflated_bytes)} deflated, " if isinstance(summary, ModelSummary) else ""
    facts = [
        f"{name}: {_scheme(summary)}, {format_bytes(summary.file_bytes)}, {deflated}"
        f"{format_count(summary.parameters)} parameters, {format_count(summary.macs)} MACs",
        *(f"  in   {_tensor(tensor)}" for tensor in summary.inputs),
        *(f"  out  {_tensor(tensor)}" for tensor in summary.outputs),
    ]
    if summary.subgraphs > 1:
        once = "; MACs: the body of WHILE counted once" if looped(summary) else ""
        facts.append(f"  {summary.subgraphs} subgraphs{once}")
    if len(signatures := summary.signatures) > 1:
        facts += [f"  signature {one.key}: {', '.join(one.inputs)} -> {', '.join(one.outputs)}" for one in signatures]
    if summary.metadata:
        facts.append(f"  metadata: {', '.join(summary.metadata)}")
    return "\n".join([*facts, "", _each(summary) if every_operator else _by_type(summary)])


def _scheme(summary: ModelContents) -> str:
    """The number format; a file of the older scheme of 8 bits, which is judged as int8, by its own name."""
    older = summary.numeric == "int8" and not any(operator.dtype == "int8" for operator in summary.operators)
    return "uint8" if older else summary.numeric


def _tensor(tensor: TensorInfo) -> str:
    shape = "x".join("?" if size < 0 else str(size) for size in tensor.shape) or "scalar"
    scale = f", real = {_stored(tensor.zero_point or 0)} * {tensor.scale:.6g}" if tensor.scale is not None else ""
    return f"{tensor.name}  {tensor.dtype}[{shape}]{scale}"


def _stored(zero_point: int) -> str:
    return f"(stored {'-' if zero_point > 0 else '+'} {abs(zero_point)})" if zero_point else "stored"


def _by_type(summary: ModelContents) -> str:
    from edgekit.report.table import render_table
    from edgekit.units import format_bytes, format_count

    groups: dict[tuple[str, str], list[int]] = {}
    for operator in summary.operators:
        row = groups.setdefault((operator.name, operator.dtype), [0, 0, 0])
        row[0], row[1], row[2] = row[0] + 1, row[1] + operator.macs, row[2] + operator.weight_bytes
    ordered = sorted(groups.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
    rows = [[name, dtype, str(n), format_count(macs), format_bytes(size)] for (name, dtype), (n, macs, size) in ordered]
    return render_table(["operator", "type", "count", "MACs", "weights"], rows)


def _each(summary: ModelContents) -> str:
    from edgekit.report.table import render_table
    from edgekit.units import format_bytes, format_count

    rows = [
        [
            f"{operator.subgraph}:{operator.index}",
            operator.name,
            operator.dtype,
            "x".join(map(str, operator.output_shape)) or "scalar",
            format_count(operator.macs),
            format_bytes(operator.weight_bytes),
            operator.output_name[:60],
        ]
        for operator in summary.operators
    ]
    return render_table(["#", "operator", "type", "output", "MACs", "weights", "writes"], rows)
