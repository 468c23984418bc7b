"""Ask Coral's own compiler where there is one, and hold its answer against the forecast.

`edgetpu_compiler` is a closed program for x86-64 Debian (https://coral.ai/docs/edgetpu/compiler/). Some of its crashes
vanish when it is asked again (https://github.com/google-coral/edgetpu/issues/211), so those are retried; what it
refuses with a reason is not.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from edgekit.errors import MissingDependency, ModelError, OutputError, RunError
from edgekit.forecast.edgetpu import COMPILED, log_name
from edgekit.forecast.placement import Forecast
from edgekit.new_file import write_new
from edgekit.tflite.graph import read_graph
from edgekit.tflite.metadata import with_files_of
from edgekit.units import format_seconds

COMMAND = ("edgetpu_compiler",)

_MOST_TEXT = 2**20
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)\s+(\d+)\s+(\S.*?)\s*$")
_NOT_STARTED = (125, 126, 127)  # of a shell and of docker: no such image or program, or no right to it
_MENDS = (
    ("not quantized", "quantize it to int8, inputs and outputs too: `edgekit optimize --recipe int8:io=uint8`"),
    ("dynamic-sized", "give --fix-sizes; or convert it with a fixed batch and fixed sizes, as `edgekit optimize` does"),
    ("large activation", "use a smaller input: the tensors between operators do not fit the chip"),
    ("Didn't find op", "it is newer than the compiler: replace the operator, or convert with an older TensorFlow"),
)


class LogRow(Struct, frozen=True):
    """A row of the compiler's log: how many operators of a type have a status."""

    operator: str
    count: int
    status: str


class Compilation(Struct, frozen=True):
    """What the compiler made of a file.

    `left` counts by name what the compiled file has outside of `edgetpu-custom-op`, and `partitions` counts those.
    Bytes are as the compiler prints them, rounded to its two decimals; None where it says nothing. `attempts` is above
    1 where it crashed before.
    """

    path: Path
    version: str
    left: dict[str, int]
    partitions: int
    rows: tuple[LogRow, ...]
    on_chip_bytes: int | None = None
    remaining_bytes: int | None = None
    streamed_bytes: int | None = None
    attempts: int = 1


class Difference(Struct, frozen=True):
    """Operators of one name of which forecast and compiler leave different numbers on the CPU.

    `indices` are those that the forecast leaves; `statuses` is what the compiler's log says about the name.
    """

    operator: str
    forecast: int
    compiler: int
    indices: tuple[int, ...]
    statuses: tuple[str, ...]


def compile_edgetpu(
    model: Path,
    out: Path,
    command: Sequence[str] = COMMAND,
    *,
    min_runtime_version: int | None = None,
    several_subgraphs: bool = False,
    timeout_seconds: float = 600,
    attempts: int = 3,
    overwrite: bool = False,
    scratch: Path | None = None,
) -> Compilation:
    """Compile a `.tflite` file into the folder `out`, as `<name>_edgetpu.tflite`; files packed behind it stay there.

    `command` is the compiler or what brings it, in words; `{folder}` in it becomes the temporary folder that holds the
    model and takes the result, for a container: `docker run --rm -v {folder}:{folder} IMAGE edgetpu_compiler`. It is
    made in `scratch` (default: that of the system). What time runs out for is killed with its children; a container
    lives on unless it ends with its client.

    Raises MissingDependency where the command is not there, ModelError for a file that the compiler refuses, RunError
    if it crashes each time or is not done in time, OutputError if the result is there and `overwrite` is False.
    """
    result = out / f"{model.stem}_edgetpu.tflite"
    program = _checked(model, result, command, overwrite)
    flags = ["-s", *(["-a"] if several_subgraphs else [])]
    flags += [] if min_runtime_version is None else ["-m", str(min_runtime_version)]
    with tempfile.TemporaryDirectory(prefix="edgekit-edgetpu-", dir=scratch) as name:
        folder = Path(name)
        shutil.copyfile(model, folder / model.name)
        words = [program, *(word.replace("{folder}", name) for word in command[1:])]
        words += [*flags, "-o", name, str(folder / model.name)]
        text, number = _tried(words, folder, folder / result.name, timeout_seconds, attempts)
        log = folder / f"{model.stem}_edgetpu.log"
        rows = parse_log(_read(log) if log.is_file() else text)
        found = _compilation(folder / result.name, text, rows, number)
        made = with_files_of((folder / result.name).read_bytes(), model.read_bytes())
        write_compiled(result, made, overwrite)
    return structs.replace(found, path=result)


def refuse_unwritable(folder: Path) -> None:
    """Raise OutputError for a folder that could not be made or written to: before minutes are spent on its file."""
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{place}: no folder that you may write to", "give a folder that can be written")


def write_compiled(result: Path, data: bytes, overwrite: bool) -> None:
    """Write a compiled file whole or not at all, in a folder that is made for it. Raises OutputError."""
    try:
        result.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutputError(f"{result.parent}: {cause.strerror}", "give a folder that can be written") from None
    write_new(result, data, overwrite)


def compare(forecast: Forecast, compilation: Compilation) -> tuple[Difference, ...]:
    """Where a forecast and the compiler part, by name of the operator; empty where they agree."""
    said = Counter(placement.name for placement in forecast.left)
    return tuple(
        Difference(
            operator=name,
            forecast=said[name],
            compiler=compilation.left.get(name, 0),
            indices=tuple(placement.index for placement in forecast.left if placement.name == name),
            statuses=tuple(row.status for row in compilation.rows if row.operator == log_name(name)),
        )
        for name in sorted(said.keys() | compilation.left.keys())
        if said[name] != compilation.left.get(name, 0)
    )


def parse_log(text: str) -> tuple[LogRow, ...]:
    """The rows below `Operator Count Status` in a log or in what the compiler prints with `--show_operations`."""
    _, header, table = text.partition("Operator ")
    matches = (_ROW.match(line) for line in table.splitlines()) if header else ()
    return tuple(LogRow(match[1], int(match[2]), match[3]) for match in matches if match)


def _checked(model: Path, result: Path, command: Sequence[str], overwrite: bool) -> str:
    """The program to start, by its absolute path."""
    if not model.is_file():
        raise ModelError(f"{model}: no such file", "give a .tflite file")
    if result.exists() and not overwrite:
        raise OutputError(f"{result} exists already", "give another folder, or overwrite=True")
    refuse_unwritable(result.parent)
    program = shutil.which(command[0]) if command else None
    if program is None:
        raise MissingDependency(
            f"{command[0] if command else 'the Edge TPU compiler'} is not on the PATH",
            "install it (coral.ai/docs/edgetpu/compiler, x86-64 Debian), or give a command that brings it",
        )
    return str(Path(program).absolute())


class _Ended(NamedTuple):
    """How one run ended: code None when time ran out, negative for a signal."""

    code: int | None
    text: str


def _tried(words: Sequence[str], folder: Path, result: Path, timeout: float, attempts: int) -> tuple[str, int]:
    """What the compiler said when it succeeded, and at which attempt."""
    ended = _Ended(None, "")
    for number in range(1, attempts + 1):
        result.unlink(missing_ok=True)
        ended = _run(words, folder, timeout)
        if ended.code is None:
            raise RunError(
                f"the Edge TPU compiler was not done after {format_seconds(timeout)}",
                "give it more time, or a smaller input: it takes minutes for large tensors",
            )
        if ended.code == 0 and result.is_file():
            return ended.text, number
        if ended.code in _NOT_STARTED:
            mend = "run the same command by hand; the folder {folder} has to be mounted in a container"
            said = f"{words[0]} does not start the compiler (exit code {ended.code}): {_last_words(ended, 3)}"
            raise RunError(said, mend)
        if not _crashed(ended):
            raise _refusal(result.name, ended)
    mend = "a scale that is infinite and tensors that are too large are known causes: see the forecast of the file"
    raise RunError(f"the Edge TPU compiler crashed {attempts} times: {_last_words(ended)}", mend)


def _run(words: Sequence[str], folder: Path, timeout: float) -> _Ended:
    said = folder / "said.txt"
    with said.open("wb") as stream:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as cause:
            raise MissingDependency(f"cannot start {words[0]}: {cause.strerror}", "give another command") from None
    code = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout)
    finally:
        _kill(process)
    return _Ended(code, _read(said))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: the compiler works in a child that would live on."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _crashed(ended: _Ended) -> bool:
    """Killed by a signal (a container adds 128), or one of the two endings without a reason."""
    code = ended.code or 0
    silent = "Compilation failed!" in ended.text and not _reason(ended.text)
    return code < 0 or code in range(129, 160) or "Internal compiler error" in ended.text or silent


def _reason(text: str) -> str:
    """Why the compiler refuses a file, in its own words; empty where it gives none."""
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(
        line for line in lines if line.startswith(("ERROR:", "Compilation failed:", "Model not", "Invalid"))
    )


def _refusal(name: str, ended: _Ended) -> ModelError:
    reason = _reason(ended.text) or f"{_last_words(ended)} (exit code {ended.code})"
    mend = next((mend for words, mend in _MENDS if words.lower() in reason.lower()), "see what it says about the file")
    return ModelError(f"the Edge TPU compiler makes no {name}: {reason}", mend)


def _last_words(ended: _Ended, count: int = 1) -> str:
    lines = [line.strip() for line in ended.text.splitlines() if line.strip()]
    return "; ".join(lines[-count:]) if lines else "it said nothing"


def _compilation(path: Path, text: str, rows: tuple[LogRow, ...], attempts: int) -> Compilation:
    names = Counter(operator.name for operator in read_graph(path).operators)
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    return Compilation(
        path=path,
        version=version[1] if version else "",
        partitions=names.pop(COMPILED, 0),
        left=dict(names),
        rows=rows,
        on_chip_bytes=_size(text, "On-chip memory used for caching model parameters"),
        remaining_bytes=_size(text, "On-chip memory remaining for caching model parameters"),
        streamed_bytes=_size(text, "Off-chip memory used for streaming uncached model parameters"),
        attempts=attempts,
    )


def _size(text: str, label: str) -> int | None:
    """Bytes behind a label, such as `6.89MiB`."""
    found = re.search(rf"{label}: (\d+(?:\.\d+)?)([KMG]i)?B\b", text)
    return round(float(found[1]) * _UNITS[f"{found[2] or ''}B"]) if found else None


def _read(path: Path) -> str:
    """The beginning of a text: more than the compiler ever says."""
    with path.open("rb") as stream:
        return stream.read(_MOST_TEXT).decode("utf-8", "replace")
