"""The folder of a split: segments, `plan.json`, and a runner that needs Python, numpy and a TFLite runtime only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
from msgspec import Struct

from edgekit.errors import OutputError
from edgekit.split.make import Split
from edgekit.workspace import refuse_loss

WHOLE = "whole.tflite"
_OF_LINUX = ("problem.py", "runtime.py")  # the same files, in the place of the modules that name them
_RUN = '''"""Run the segments beside this file: `python3 run.py --help`."""

import sys

if sys.version_info < (3, 9):
    sys.exit("run.py needs Python 3.9 or newer, this is %s" % sys.version.split()[0])

from runner.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''


def runner_files() -> dict[str, bytes]:
    """The runner: {path in the folder: bytes}."""
    own, linux = resources.files("edgekit.split.runner"), resources.files("edgekit.package.linux_runner")
    names = sorted(entry.name for entry in own.iterdir() if entry.name.endswith(".py"))
    found = {f"runner/{name}": ((linux if name in _OF_LINUX else own) / name).read_bytes() for name in names}
    return {"run.py": _RUN.encode(), **found}


def split_files(split: Split, whole: bytes | None = None) -> dict[str, bytes]:
    """Everything in the folder, with the model itself if it is given; the same split gives the same bytes."""
    plan = msgspec.json.format(msgspec.json.encode(split.plan), indent=1) + b"\n"
    segments = {one.file: data for one, data in zip(split.plan.segments, split.files, strict=True)}
    model = {} if whole is None else {WHOLE: whole}
    return {"plan.json": plan, **segments, **model, **runner_files()}


def refuse_place(out: Path, overwrite: bool) -> None:
    """Raises OutputError where the folder of a split cannot be made.

    Only that of another one is ever replaced, and only where nobody put a file of their own into it.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already", "give another folder, or --overwrite")
    if out.exists():
        refuse_loss(out, "split", _ours(out))
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out.parent}: no such folder", "make it first, or give another place")


class _Segment(Struct, frozen=True):
    file: str


class _Plan(Struct, frozen=True):
    """What a plan of any version says of the files beside it."""

    segments: tuple[_Segment, ...]


def _ours(out: Path) -> Callable[[Path], bool]:
    """Whether a file in the folder is of its split, or compiled from a segment. Raises OutputError for no split."""
    try:
        plan = msgspec.json.decode((out / "plan.json").read_bytes(), type=_Plan)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        raise OutputError(f"{out} is not the folder of a split", "give another folder") from None
    compiled = {f"{Path(one.file).stem}_edgetpu.tflite" for one in plan.segments}
    names = {"plan.json", "run.py", "runner", "__pycache__", WHOLE, *(one.file for one in plan.segments), *compiled}
    return lambda path: path.relative_to(out).parts[0] in names


def write_split(split: Split, out: Path, overwrite: bool = False, whole: bytes | None = None) -> None:
    """Write the folder, whole or not at all. Raises OutputError if it exists (without `overwrite`) or cannot be."""
    refuse_place(out, overwrite)
    out = out.absolute()  # `.` has no name
    partial, old = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    try:
        (partial / "runner").mkdir(parents=True)
        for name, data in split_files(split, whole).items():
            (partial / name).write_bytes(data)
        if out.exists():
            out.rename(old)
        partial.rename(out)
    except OSError as cause:
        raise OutputError(f"{out}: {cause.strerror}", "give a place that can be written") from cause
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
