"""What `compression.py` found, read back and made into tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from edgekit.intervals import mean_t
from edgekit.stages.training import Training
from edgekit.units import format_bytes, format_count

Floats = np.ndarray[Any, np.dtype[np.float64]]

BOUNDS = {
    "50 % sparse": 0.2,
    "80 % sparse": 0.5,
    "90 % sparse": 1.5,
    "half the MACs, channels": 0.7,
    "a quarter of the MACs, channels": 1.5,
    "16 clusters": 0.5,
}
"""Points of accuracy below the float model, at most."""

QAT = ", QAT"
UNEQUAL = "unequal channels, per tensor"
QAT_BOUNDS = {
    f"float{QAT}": 0.3,
    f"50 % sparse{QAT}": 0.5,
    f"80 % sparse{QAT}": 1.0,
    f"16 clusters{QAT}": 0.8,
    f"a quarter of the MACs, 50 % sparse{QAT}": 1.0,
    f"{UNEQUAL}{QAT}": 0.7,
}
"""The same for the int8 file, after quantization-aware training."""


class Result(Struct, frozen=True):
    """One model on the test part; `right` has a bit for each of its samples."""

    task: str
    network: str
    seed: int
    row: str
    samples: int
    right: bytes
    right_int8: bytes
    macs: int
    parameters: int
    float_deflated_bytes: int
    int8_deflated_bytes: int
    seconds: float

    def hits(self, int8: bool = False) -> Floats:
        """1 where the model is right, else 0, `[samples]`."""
        bits = np.frombuffer(self.right_int8 if int8 else self.right, np.uint8)
        return np.unpackbits(bits)[: self.samples].astype(np.float64)

    @property
    def accuracy(self) -> float:
        """Share of the test part that the float model has right."""
        return float(self.hits().mean())

    @property
    def int8(self) -> float:
        """Share of the test part that the int8 file has right."""
        return float(self.hits(int8=True).mean())


def read(notes: Path) -> list[Result]:
    """The results so far; a line that a kill has cut short is left out."""
    if not notes.exists():
        return []
    lines = notes.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Result) for line in lines if line.endswith(b"\n")]


class Row(Struct, frozen=True):
    """Results of one row over the seeds, each beside the float model of its seed."""

    name: str
    results: tuple[Result, ...]
    floats: tuple[Result, ...]

    def accuracies(self, int8: bool) -> Floats:
        """Accuracy in percent, `[seeds]`."""
        return 100 * np.array([result.int8 if int8 else result.accuracy for result in self.results])

    def drops(self, int8: bool) -> Floats:
        """Points below the float model of the same seed, `[seeds]`; below that model in float for int8, too."""
        return 100 * np.array([before.accuracy for before in self.floats]) - self.accuracies(int8)

    def verdict(self, int8: bool) -> str:
        """The bound, and by how much the mean misses it; empty where there is none."""
        bound = (QAT_BOUNDS | BOUNDS if int8 else BOUNDS).get(self.name)
        if bound is None:
            return ""
        beyond = float(self.drops(int8).mean()) - bound
        return f"{bound:g}: met" if beyond <= 1e-9 else f"{bound:g}: missed by {beyond:.2f}"


HEADER = (
    *("row", "seeds", "MACs", "parameters", "float32 deflated", "int8 deflated"),
    *("float %", "drop", "bound", "int8 %", "drop from float", "bound"),
)


def cells(row: Row) -> list[str]:
    """One line of the table of a network; sizes are those of the first seed."""
    first = row.results[0]
    found = [row.name, str(len(row.results)), format_count(first.macs), format_count(first.parameters)]
    found += [format_bytes(first.float_deflated_bytes), format_bytes(first.int8_deflated_bytes)]
    for int8 in (False, True):
        found += [spread(row.accuracies(int8)), spread(row.drops(int8), sign=True), row.verdict(int8)]
    return found


def spread(values: Floats, sign: bool = False) -> str:
    """Mean and standard deviation over the seeds."""
    mean = f"{values.mean():+.2f}" if sign else f"{values.mean():.2f}"
    return f"{mean} ± {values.std(ddof=1):.2f}" if len(values) > 1 else mean


def taught(results: Sequence[Result]) -> str:
    """The distilled student against the one alone: points gained, with an interval over the test samples.

    For each sample the gains of the seeds are averaged, so that the interval is of these students on other samples.
    """
    pairs = paired(results, "student distilled", "student alone")
    if not pairs:
        return ""
    said = []
    for int8 in (False, True):
        gains = 100 * np.mean([one.hits(int8) - other.hits(int8) for one, other in pairs], axis=0)
        low, high = mean_t(gains)
        verdict = "met" if low > 0 else "missed: 0 is inside" if high >= 0 else "missed: it is worse"
        said.append(f"{'int8' if int8 else 'float'} {gains.mean():+.2f} [{low:+.2f}, {high:+.2f}] points, {verdict}")
    seeds = f"{len(pairs)} seed{'s' * (len(pairs) > 1)}"
    return f"Distilled student against the same student alone ({seeds}): {'; '.join(said)}."


def paired(results: Sequence[Result], first: str, second: str) -> list[tuple[Result, Result]]:
    """Results of two rows, for each seed that has both."""
    found = {(result.row, result.seed): result for result in results}
    seeds = sorted({result.seed for result in results})
    return [(found[first, s], found[second, s]) for s in seeds if (first, s) in found and (second, s) in found]


@dataclass(frozen=True)
class Trainings:
    """How the float model trains, how a technique trains afterwards, a new student, and the integers."""

    first: Training
    later: Training
    student: Training
    integers: Training


def section(results: Sequence[Result], rows: Sequence[str], plan: Trainings) -> list[str]:
    """The table of one network on one data set, and what was done for it."""
    made = [(name, paired(results, name, "float")) for name in rows]
    found = [Row(name, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)) for name, pairs in made if pairs]
    return [
        f"## {results[0].network}, {results[0].task}",
        "",
        f"{results[0].samples} test samples. Float model: {_words(plan.first)}; each technique: {_words(plan.later)} "
        f"more; a new student: {_words(plan.student)}; QAT: {_words(plan.integers)} more.",
        "",
        *("| " + " | ".join(line) + " |" for line in (HEADER, ["---"] * len(HEADER), *map(cells, found))),
        "",
        *(line for line in (taught(results), "") if taught(results)),
    ]


def _words(training: Training) -> str:
    return f"{training.epochs} epochs at {training.learning_rate:g}"


def markdown(results: Sequence[Result], rows: Sequence[str], trainings: Callable[[str, str], Trainings]) -> str:
    """The tables of all that was found."""
    lines = [
        "# What compression costs in accuracy",
        "",
        "Made by `python benchmarks/compression.py --work FOLDER`; what the rows mean is in "
        "[the method](../README.md#accuracy-after-compression). Mean ± standard deviation over the seeds, in percent "
        "of the test part; a positive drop is a loss. The bound is on the mean drop.",
        "",
    ]
    for case in sorted({(result.task, result.network) for result in results}):
        own = [result for result in results if (result.task, result.network) == case]
        lines += section(own, rows, trainings(*case))
    return "\n".join(lines)
