"""How often `edgekit compare` is right beside a noisy neighbour: `python benchmarks/verdicts.py`.

A file is compared with itself, and with a file of 5 % more operators, many times, while another process keeps one
core busy. Exit code 1 if one of the two verdicts is right less often than in 95 of 100.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import flatbuffers
import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from msgspec import Struct

from edgekit.bench.describe import Description, describe
from edgekit.compare import Comparison
from edgekit.device.local import LocalDevice
from edgekit.report.table import render_table

RESULT = Path(__file__).resolve().parent / "results" / "verdicts.md"
NEGATE, VALUES, OPERATORS = 59, 20_000, 100
BOUND = 0.95
WORDS = {"no difference": "no difference", "B is slower": "slower", "B is faster": "faster"}


class Case(Struct, frozen=True):
    """One pair of files, the verdict that is right, and what each run of `edgekit compare` said."""

    name: str
    right: str
    verdicts: tuple[str, ...]
    ratios: tuple[float, ...]

    @property
    def hits(self) -> int:
        """How many verdicts were right."""
        return self.verdicts.count(self.right)

    @property
    def holds(self) -> bool:
        """True where the share of right verdicts reaches the bound."""
        return self.hits >= BOUND * len(self.verdicts)


def chain(operators: int) -> bytes:
    """A file that negates `[1, VALUES]` floats so many times, one operator after the other."""
    graph, model, code = schema.SubGraphT(), schema.ModelT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = NEGATE
    code.version = 1
    graph.tensors, graph.operators = [schema.TensorT() for _ in range(operators + 1)], []
    for index, tensor in enumerate(graph.tensors):
        tensor.name, tensor.shape = f"t{index}", [1, VALUES]
    for before, after in pairwise(range(operators + 1)):
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [before], [after]
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [operators]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that keeps the last core busy as long as this one lives."""
    process = subprocess.Popen([sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"])
    try:
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def command(a: str, b: str, processes: int) -> list[str]:
    """What a user would type, with as little beside the latency as the command allows."""
    return ["edgekit", "compare", a, b, "--samples", "1", "--processes", str(processes), "--json"]


def asked(a: Path, b: Path, processes: int) -> Comparison:
    """What one run of the command says."""
    program = str(Path(sys.executable).with_name("edgekit"))
    words = [program, *command(str(a), str(b), processes)[1:]]
    done = subprocess.run(words, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Comparison)


def verdict_of(found: Comparison) -> str:
    """The verdict in one or two words."""
    return next(short for start, short in WORDS.items() if found.speed.verdict.startswith(start))


def rounds(pairs: Sequence[tuple[Path, Path]], runs: int, processes: int, minutes: float) -> Iterator[list[Comparison]]:
    """One comparison of each pair in turns, `runs` times or until the minutes are over."""
    deadline = time.monotonic() + 60 * minutes
    for index in range(runs):
        if time.monotonic() > deadline:
            return
        found = [asked(*pair, processes) for pair in pairs]
        for one in found:
            print(f"{index + 1}/{runs} {Path(one.b.name).stem}: {one.speed.verdict}", file=sys.stderr, flush=True)
        yield found


def case_of(name: str, right: str, found: Sequence[Comparison]) -> Case:
    """What all comparisons of one pair said."""
    return Case(name, right, tuple(map(verdict_of, found)), tuple(one.speed.ratio.value for one in found))


def table(cases: Sequence[Case]) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    header = ["B is", "right verdict", "runs", "right", "others", "ratio: median (least to greatest)", "holds"]
    return header, [_row(case) for case in cases]


def _row(case: Case) -> list[str]:
    others = Counter(said for said in case.verdicts if said != case.right)
    low, middle, high = np.quantile(case.ratios, (0, 0.5, 1))
    return [
        case.name,
        case.right,
        str(len(case.verdicts)),
        str(case.hits),
        ", ".join(f"{count} {said}" for said, count in others.items()) or "none",
        f"{middle:.3f} ({low:.3f} to {high:.3f})",
        "yes" if case.holds else "NO",
    ]


def markdown(cases: Sequence[Case], processes: int, seen: Description) -> str:
    """The result file."""
    header, rows = table(cases)
    machine, runtime = seen.machine, seen.runtimes[0]
    return "\n".join(
        [
            "# Verdicts of `edgekit compare` beside a noisy neighbour",
            "",
            f"Each run: `{' '.join(command('A', 'B', processes))}`, while another process kept one core busy. "
            f"A is {OPERATORS} NEG operators on {VALUES} floats, one after the other. The bound is {BOUND:.0%} right "
            "verdicts in each row. Made by `python benchmarks/verdicts.py`.",
            "",
            f"{machine.architecture}, {machine.usable_cores} cores, {machine.system}, Python {machine.python}, "
            f"{runtime.name} {runtime.version}; load {seen.conditions.load_average or 0:.1f} at the start.",
            "",
            *("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)),
            "",
        ]
    )


def main() -> int:
    """Compare, print and write; 1 if a row does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100, help="comparisons of each pair [100]")
    options.add_argument("--processes", type=int, default=10, help="as of `edgekit compare` [10]")
    options.add_argument("--minutes", type=float, default=120, help="start no comparison later than this [120]")
    options.add_argument("--output", type=Path, default=RESULT, help="file to write [benchmarks/results/verdicts.md]")
    chosen = options.parse_args()
    with LocalDevice() as device:
        seen = describe(device)
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder, neighbour():
        a, b = Path(folder, "A.tflite"), Path(folder, "B.tflite")
        a.write_bytes(chain(OPERATORS))
        b.write_bytes(chain(OPERATORS * 105 // 100))
        found = list(rounds([(a, a), (a, b)], chosen.runs, chosen.processes, chosen.minutes))
    names = (("A itself", "no difference"), ("A with 5 % more operators", "slower"))
    cases = [case_of(*name, column) for name, column in zip(names, zip(*found, strict=True), strict=True)]
    print(render_table(*table(cases)))
    chosen.output.write_text(markdown(cases, chosen.processes, seen), encoding="utf-8")
    return int(not all(case.holds for case in cases))


if __name__ == "__main__":
    sys.exit(main())
