"""`edgekit vectors`: golden vectors of a TFLite file, and a runtime or device held against them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.common import emit, json_option, refuse_place, results_only, say
from edgekit.cli.device_option import device_option, opened
from edgekit.cli.model_options import collect, data_options, trust_option
from edgekit.cli.plan_options import run_options
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.bench.plan import Plan
    from edgekit.package.golden import VectorCheck
    from edgekit.package.golden_file import GoldenHead, GoldenVectors


@click.command("vectors")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="File to write: .npz, .json, .zip, .tar or .tar.gz.")
@click.option("--check", "golden", type=click.Path(path_type=Path), help="Vectors (.npz, .json) to hold MODEL against.")
@click.option("--count", type=click.IntRange(1), default=3, show_default=True, help="Samples.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of random samples.")
@data_options()
@device_option()
@run_options()
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@trust_option
@json_option
def command(
    model: Path,
    out: Path | None,
    golden: Path | None,
    count: int,
    seed: int,
    data: str | None,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    device: str,
    plan: Plan,
    overwrite: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Write inputs and outputs of MODEL, a .tflite file, or check that a runtime computes the same.

    \b
    edgekit vectors m.tflite --data digits.npz -o vectors.npz
    edgekit vectors m.tflite --check vectors.npz --device pi4

    With -o the interpreter of this machine runs alone, without XNNPACK. A check ends with code 1 where an output is off
    by more than a quantum and what the kernels of XNNPACK differ by here.
    """
    from edgekit.tflite.flatbuffer import read_bytes

    if (out is None) == (golden is None):
        raise click.UsageError("give either -o FILE or --check FILE")
    content = bytes(read_bytes(model))
    if golden is not None:
        found = _checked(content, golden, plan, device)
        emit(found, as_json, render_check)
        if not found.passed:
            raise GateError(f"{model} does not compute the golden vectors of {golden}", "see which output is off")
    elif out is not None:
        refuse_place(out, overwrite)
        with results_only():
            made = _made(model, content, count, seed, data, collect(metric, task, pairs), trust)
        made.save(out)
        say(f"file: {out}")
        emit(made.head, as_json, render)


def _made(
    model: Path, content: bytes, count: int, seed: int, data: str | None, options: dict[str, object], trust: bool
) -> GoldenVectors:
    from edgekit.package.golden import golden_vectors
    from edgekit.real_inputs import real_inputs

    samples = None if data is None else real_inputs(model, data, options, count, trust)
    return golden_vectors(content, count, seed, samples)


def _checked(content: bytes, golden: Path, plan: Plan, device: str) -> VectorCheck:
    from edgekit.package.golden import check_vectors
    from edgekit.package.golden_file import load_vectors

    vectors = load_vectors(golden)
    with opened(device, plan.runtime) as place:
        return check_vectors(content, vectors, plan, place)


def render(head: GoldenHead) -> str:
    """What the vectors are of, in a few lines."""
    source = f"random, seed {head.seed}" if head.data is None else head.data
    tensors = [("in ", tensor) for tensor in head.inputs] + [("out", tensor) for tensor in head.outputs]
    count = f"{head.samples} sample{'s' * (head.samples > 1)}"
    lines = [f"{count}, {source}, run by {head.runtime} without XNNPACK"]
    for side, tensor in tensors:
        tolerance = f", others may differ by {tensor.tolerance:.3g}" if tensor.tolerance else ""
        lines.append(f"  {side}  {tensor.name}: {tensor.dtype}[{'x'.join(map(str, tensor.shape))}]{tolerance}")
    if not head.xnnpack_compared:
        lines.append("note: XNNPACK cannot run this file, so one quantum is allowed and nothing for its kernels")
    return "\n".join(lines)


def render_check(found: VectorCheck) -> str:
    """How far each output is off, and whether that passes."""
    pairs = zip(found.outputs, found.worst, strict=True)
    return "\n".join(
        [
            f"{'passed' if found.passed else 'failed'}: {found.samples} samples on {found.device}, {found.runtime}",
            *(f"  {name}: off by {worst:.3g} of what is allowed" for name, worst in pairs),
            *([] if found.same_file else ["note: the vectors were made of a file with other bytes"]),
        ]
    )
