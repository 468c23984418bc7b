"""`python3 run.py run`, `measure` and `info`: results on stdout, talk on stderr."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contract import Plan, load
from .problem import FAILED, INPUT, Problem
from .runtime import enter_environment, numpy_version, open_runtime

HERE = Path(__file__).resolve().parent.parent
_INTERRUPTED = 130


def main(words: Sequence[str], folder: Path = HERE) -> int:
    """Do a command; 0 if all is well, 1 if a file is not what was planned, 3 to 5 for other Problems, 130 on Ctrl-C."""
    options = _parser().parse_args(words)
    enter_environment([str(folder / "run.py"), *words])
    try:
        numpy_version()
        plan = load(folder)
        return int(options.do(plan, options))
    except Problem as problem:
        print(f"run.py: {problem}", file=sys.stderr)
        return problem.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough; what is left would fail again at the end of this process
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="A TFLite model in segments, run as a pipeline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--units", default="", help="one a segment: cpu, cpu:CORE or edgetpu:NUMBER; default: all cpu")
    common.add_argument("--threads", type=_positive, default=1, help="threads of each segment on a CPU (default: 1)")
    common.add_argument("--depth", type=_positive, help="samples that may wait between two (default: 16 ms of them)")
    run = commands.add_parser("run", parents=[common], help="run samples")
    run.add_argument("inputs", nargs="+", type=Path, metavar="INPUT.npy", help="one an input, as the model stores them")
    run.add_argument("--save", type=Path, metavar="OUT.npz", help="write all outputs, as stored")
    run.set_defaults(do=_run)
    measure = commands.add_parser("measure", parents=[common], help="time it beside the whole model")
    measure.add_argument("inputs", nargs="+", type=Path, metavar="INPUT.npy", help="samples to time it with")
    measure.add_argument("--whole", type=Path, required=True, metavar="MODEL.tflite", help="the model that was split")
    measure.add_argument("--seconds", type=float, default=5.0, help="time in all (default: 5)")
    measure.add_argument("--json", action="store_true", help="print all samples as JSON")
    measure.set_defaults(do=_measure)
    info = commands.add_parser("info", help="what was planned, and whether the files are still that")
    info.set_defaults(do=_info)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _units(options: argparse.Namespace) -> list[Any]:
    from .worker import parse_unit

    return [parse_unit(word) for word in options.units.split(",") if word]


def _runtime(units: Sequence[Any]) -> Any:
    return open_runtime("edgetpu" if any(unit.edgetpu for unit in units) else "cpu")


def _run(plan: Plan, options: argparse.Namespace) -> int:
    from .pipeline import Pipeline
    from .samples import each, read_samples, write_outputs

    units, arrays = _units(options), read_samples(options.inputs, plan)
    with Pipeline(plan, _runtime(units), units, options.threads, options.depth) as pipeline:
        outputs = list(pipeline.stream(each(arrays)))
    if options.save:
        write_outputs(options.save, outputs, plan)
        print(f"{len(outputs)} samples: {options.save}")
        return 0
    for index, sample in enumerate(outputs):
        for port, values in zip(plan.outputs, sample):
            print(f"{index} {port.name}: {' '.join(map(str, values.ravel()[:10].tolist()))}")
    return 0


def _measure(plan: Plan, options: argparse.Namespace) -> int:
    from .measure import measure
    from .samples import read_samples
    from .worker import usable_cores

    if not options.whole.is_file():
        raise Problem(f"{options.whole}: no such file", "give the model that was split", INPUT)
    units, arrays, cores = _units(options), read_samples(options.inputs, plan), usable_cores()
    found = measure(
        plan,
        _runtime(units),
        options.whole,
        arrays,
        units,
        options.threads,
        options.depth,
        cores,
        options.seconds,
    )
    print(json.dumps(found) if options.json else _table(found))
    return 0


def _table(found: dict[str, Any]) -> str:
    lines = [f"{'':<20}{'samples/s':>10}{'one alone ms':>14}{'processor ms':>14}"]
    for row in found["rows"]:
        stream, single, worked = (statistics.median(row[kind]) for kind in ("stream", "single", "processor"))
        lines.append(f"{row['name']:<20}{1 / stream:>10.1f}{single * 1e3:>14.3f}{worked * 1e3:>14.3f}")
    return "\n".join([*lines, "", f"{found['runtime']}, {found['cores']} cores"])


def _info(plan: Plan, options: argparse.Namespace) -> int:
    for segment in plan.segments:
        plan.file(segment)
        sides = [" + ".join(f"{port.dtype} {list(port.shape)}" for port in side) for side in _sides(segment)]
        print(f"{segment.title}: {sides[0]} -> {sides[1]}")
    return 0


def _sides(segment: Any) -> tuple[Any, Any]:
    return segment.inputs, segment.outputs
