"""`python3 -m NAME selftest`, `run INPUT...` and `info`: results on stdout, talk on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contract import Package, load
from .problem import FAILED, INPUT, Problem
from .runtime import enter_environment, numpy_version

NAME = __package__ or ""


def main(words: Sequence[str]) -> int:
    """Do a command; 0 if all is well, 1 if the model or its answers are not what was packaged, 3 to 5 for a Problem."""
    options = _parser().parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of classes, and any locale
    enter_environment(["-m", NAME, *words])
    try:
        numpy_version()
        package = load()
        return int(options.do(package, options))
    except Problem as problem:
        print(f"{NAME}: {problem}", file=sys.stderr)
        return problem.code
    except BrokenPipeError:  # `| head` has read enough; what is left would fail again at the end of this process
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python3 -m {NAME}", description="A packaged TFLite model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--unit", choices=("auto", "edgetpu", "cpu"), default="auto", help="what it runs on")
    common.add_argument("--threads", type=_positive, help="threads of the CPU (default: the runtime's)")
    common.add_argument("--json", action="store_true", help="print JSON")
    selftest = commands.add_parser("selftest", parents=[common], help="compare with the golden vectors; 1 if unlike")
    selftest.set_defaults(do=_selftest)
    run = commands.add_parser("run", parents=[common], help="run samples")
    run.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help=".npy, .npz or an image")
    run.add_argument("--raw", action="store_true", help="the values are as the model takes them: no preprocessing")
    run.add_argument("--top", type=_positive, default=5, metavar="K", help="classes to print (default: 5)")
    run.add_argument("--save", type=Path, metavar="OUT.npz", help="write all outputs, in real numbers")
    run.set_defaults(do=_run)
    info = commands.add_parser("info", parents=[common], help="what is packaged, and what runs here")
    info.set_defaults(do=_info)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _warn(words: str) -> None:
    print(words, file=sys.stderr)


def _selftest(package: Package, options: argparse.Namespace) -> int:
    from . import report
    from .choice import with_best
    from .selftest import selftest

    def job(variant: Any, model: Any) -> Any:
        return selftest(package, model)

    chosen, outcome = with_best(package, options.unit, job, _warn, options.threads)
    _print(report.selftest(package, chosen, outcome), options.json)
    return 0 if outcome.passed else FAILED


def _run(package: Package, options: argparse.Namespace) -> int:
    from . import report, samples
    from .choice import with_best

    def job(variant: Any, model: Any) -> Any:
        read = [samples.read(path, variant, options.raw, _warn) for path in options.inputs]
        return read, [model.run(arrays) for arrays in read]

    chosen, (given, stored) = with_best(package, options.unit, job, _warn, options.threads)
    outputs = [[samples.real(*each) for each in zip(one, chosen.variant.outputs)] for one in stored]
    errors = [samples.errors(*each, chosen.variant) for each in zip(given, outputs)]
    if options.save:
        _save(options.save, chosen.variant, outputs)
    _warn(f"{chosen.variant.unit}: {chosen.variant.file} ({chosen.why})")
    _print(report.run(package, chosen, options.inputs, outputs, errors, options.top), options.json)
    return 0


def _info(package: Package, options: argparse.Namespace) -> int:
    from . import report
    from .choice import with_best

    chosen, _ = with_best(package, options.unit, lambda variant, model: None, _warn, options.threads)
    _print(report.info(package, chosen), options.json)
    return 0


def _save(path: Path, variant: Any, outputs: Sequence[Sequence[Any]]) -> None:
    """All samples of all inputs in one array an output; whole or not at all."""
    import numpy as np

    partial = path.with_name(f".{path.name}.partial")
    whole = {
        tensor.name: np.concatenate([one[place] for one in outputs]) for place, tensor in enumerate(variant.outputs)
    }
    try:
        with partial.open("wb") as file:
            np.savez(file, **whole)  # type: ignore[arg-type]
        os.replace(partial, path)
    except OSError as cause:
        partial.unlink(missing_ok=True)
        raise Problem(f"{path}: {cause.strerror}", "free some space, or give another place", INPUT) from None


def _print(report: Any, as_json: bool) -> None:
    print(json.dumps(report.facts, indent=1) if as_json else report.text, flush=True)
