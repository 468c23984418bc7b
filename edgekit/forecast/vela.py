"""What an Ethos-U takes of a file, said by Arm's own compiler, vela: it is run, and the file that it makes is read.

Times and cycles are estimates of vela for a system that it assumes; no device measured them.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from edgekit.errors import InputError, MissingDependency, RunError, did_you_mean
from edgekit.forecast.placement import Forecast, Placement
from edgekit.tflite.flatbuffer import read_bytes
from edgekit.tflite.graph import Graph, Operator, read_graph
from edgekit.tflite.metadata import with_files_of
from edgekit.versions import version

Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
NPU_OPERATOR = "ethos-u"
SOURCE = "vela, the compiler of Arm for Ethos-U: https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela"

_SECONDS = 120.0
_MEMORY_BYTES = 8 << 30
_MEMORIES = ("sram", "dram", "on_chip_flash", "off_chip_flash")
_COLUMNS = {"system_config", "memory_mode", "core_clock", "nn_macs", "cycles_total", "inference_time"} | {
    f"{memory}_memory_used" for memory in _MEMORIES
}
_REFUSAL = re.compile(r"^Warning \(.+?\) operator: .*?, ofm: '(.*)'\nReason: ((?:.+\n?)+)", re.MULTILINE)
_MEND = "quantize all of it to int8, or replace the layer: `vela --supported-ops-report` lists what the NPU has"


class Compiled(Struct, frozen=True):
    """What vela made of a file, for the system and the memory mode that it names; sizes in bytes.

    `estimated_cycles` and `estimated_seconds` are of one inference on the NPU alone: vela's own model, no measurement.
    """

    accelerator: Accelerator
    system_config: str
    memory_mode: str
    clock_hz: float
    sram_bytes: int
    dram_bytes: int
    on_chip_flash_bytes: int
    off_chip_flash_bytes: int
    macs: Annotated[int, Meta(description="Multiply-accumulates on the NPU.")]
    estimated_cycles: int
    estimated_seconds: float
    cpu_operators: tuple[str, ...]
    forecast: Forecast


def compile_for_ethos_u(
    source: bytes | bytearray | Path,
    accelerator: str = "ethos-u55-128",
    *,
    system_config: str | None = None,
    memory_mode: str | None = None,
    seconds: float = _SECONDS,
) -> tuple[Compiled, bytes]:
    """Compile a file with vela: what came out, and the compiled file, with the files that were packed behind the model.

    System and memory mode are those that vela takes by default unless they are named. Raises MissingDependency without
    vela, InputError for an unknown accelerator, ModelError for no TFLite file, RunError where vela fails or takes
    longer than `seconds`.
    """
    command = _command()
    if accelerator not in get_args(Accelerator):
        raise InputError(f"unknown accelerator {accelerator!r}", did_you_mean(accelerator, get_args(Accelerator)))
    graph, data = read_graph(source), bytes(read_bytes(source))
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        model, out = Path(folder) / "model.tflite", Path(folder) / "out"
        model.write_bytes(data)
        words = [*command, str(model), "--accelerator-config", accelerator, "--output-dir", str(out)]
        words += ["--system-config", system_config] if system_config else []
        words += ["--memory-mode", memory_mode] if memory_mode else []
        said = _run(words, seconds)
        row, compiled = _results(out, said)
    forecast = _forecast(graph, read_graph(compiled, "the file made by vela"), said)
    return _compiled(accelerator, row, forecast), with_files_of(compiled, data)


def _command() -> list[str]:
    """How vela is started: the package of this Python, or a command of that name."""
    if importlib.util.find_spec("ethosu") is not None:
        return [sys.executable, "-m", "ethosu.vela"]
    if found := shutil.which("vela"):
        return [found]
    raise MissingDependency("compiling for an Ethos-U needs vela", "pip install 'edgekit[firmware]'")


def _run(words: list[str], seconds: float) -> str:
    """What vela says. Raises RunError with its last words where it fails."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = _MEMORY_BYTES if allowed == resource.RLIM_INFINITY else min(allowed, _MEMORY_BYTES)
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=partial(_limit, memory),
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RunError(f"vela took longer than {seconds:g} s", "give it more time, or a smaller model") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = output.decode("utf-8", "replace")
    if process.returncode:
        raise _failed(said, process.returncode)
    return said


def _limit(memory: int) -> None:
    with suppress(ValueError):  # macOS holds no process to this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _failed(said: str, code: int) -> RunError:
    last = "; ".join(line.strip() for line in said.strip().splitlines()[-3:])
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    return RunError(
        f"vela does not compile this file ({how}): {last}", "see that the file is int8 and its shapes fixed"
    )


def _results(out: Path, said: str) -> tuple[dict[str, str], bytes]:
    """The row of the summary, and the file. Raises RunError where vela wrote none."""
    summary, model = next(out.glob("model_summary_*.csv"), None), out / "model_vela.tflite"
    if summary is None or not model.is_file():
        raise _failed(said, 0)
    with summary.open(newline="") as file:
        row = next(csv.DictReader(file), {})
    if missing := sorted(_COLUMNS - row.keys()):
        raise RunError(f"the summary of vela has no column {missing[0]}", "pip install 'ethos-u-vela>=5.0'")
    return row, model.read_bytes()


def _compiled(accelerator: str, row: dict[str, str], forecast: Forecast) -> Compiled:
    used = {
        f"{memory}_bytes": round(float(row[f"{memory}_memory_used"]) * 1024) for memory in _MEMORIES
    }  # in KiB there
    return Compiled(
        accelerator=accelerator,  # type: ignore[arg-type]  # it is one of them: compile_for_ethos_u looked
        system_config=row["system_config"],
        memory_mode=row["memory_mode"],
        clock_hz=float(row["core_clock"]),
        **used,
        macs=int(float(row["nn_macs"])),
        estimated_cycles=int(float(row["cycles_total"])),
        estimated_seconds=float(row["inference_time"]),
        cpu_operators=tuple(one.name for one in forecast.left),
        forecast=forecast,
    )


def _forecast(graph: Graph, made: Graph, said: str) -> Forecast:
    """An operator is left where the file that vela made still has it: the same name, reading or writing the same."""
    still = Counter(_signature(made, operator) for operator in made.operators)
    reasons = {name: _sentence(reason) for name, reason in _REFUSAL.findall(said)}
    placements = []
    for operator in graph.operators:
        mark = _signature(graph, operator)
        left = still[mark] > 0
        still[mark] -= left
        placements.append(_left(graph, operator, reasons) if left else _taken(operator))
    pieces = sum(operator.name == NPU_OPERATOR for operator in made.operators)
    return Forecast("ethos-u", tuple(placements), pieces, f"ethos-u-vela {version('ethos-u-vela') or ''}".strip())


def _sentence(reason: str) -> str:
    """A reason on one line, without the tensor that it names at the end of the first, so that equal ones are equal."""
    first, *more = reason.strip().splitlines()
    return ": ".join([re.sub(r" \(.*\)$", "", first), *more])


def _signature(graph: Graph, operator: Operator) -> tuple[str, tuple[str, ...]]:
    """Name, and the tensors that it writes; of one that writes none, those that it reads."""
    tensors = graph.written(operator) or graph.read(operator)
    return operator.name, tuple(tensor.name for tensor in tensors)


def _taken(operator: Operator) -> Placement:
    return Placement(operator.index, operator.name, True, source=SOURCE)


def _left(graph: Graph, operator: Operator, reasons: dict[str, str]) -> Placement:
    """Left on the CPU, with the reason that vela printed for the first tensor that it writes."""
    if operator.name == NPU_OPERATOR:
        return Placement(operator.index, operator.name, True, reason="compiled for the NPU already", source=SOURCE)
    written = graph.written(operator)
    reason = reasons.get(written[0].name, "") if written else ""
    reason = reason or "vela leaves it on the CPU and prints no reason"
    return Placement(operator.index, operator.name, False, "vela-cpu", reason, _MEND, SOURCE)
