"""The tables of benchmarks/doctor.py, and the bounds that its numbers are held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from edgekit.metrics import higher_is_better

SOUND = "sound"
KINDS, NEAR, LOST, BACK = 10, 0.005, 0.2, 0.01
HEADER = (
    "fault",
    "float",
    "int8 as planted",
    "right cause first",
    "also said",
    "rungs kept",
    "repaired",
    "within 0.5 points",
    "s",
    "KiB",
)


class Result(Struct, frozen=True):
    """One planted fault. Scores are those of the test part; of data that are to be mended first, of the judging part.

    `planted` is None where the file cannot be run, `repaired` where a repair was `refused`.
    """

    task: str
    network: str
    seed: int
    fault: str
    code: str
    metric: str
    causes: tuple[str, ...]
    float_score: float
    planted: float | None
    given_bytes: int
    rungs: tuple[str, ...] = ()
    repaired: float | None = None
    bytes: int = 0
    per_tensor: bool = False
    refused: str = ""
    seconds: float = 0.0

    @property
    def named(self) -> bool:
        """Whether the right cause was named first, or of a sound file nothing was said."""
        return self.causes[:1] == ((self.code,) if self.code else ())

    @property
    def near(self) -> bool:
        """Whether the repaired file is within half a point of float (of other metrics, one per cent)."""
        return self.repaired is not None and self._is_near(self.repaired)

    @property
    def harmless(self) -> bool:
        """Whether what was planted costs less than that in this network. Wrong data make float and int8 alike bad."""
        return self.planted is not None and not self.refused and self._is_near(self.planted)

    def _is_near(self, score: float) -> bool:
        if higher_is_better(self.metric):
            return score >= self.float_score - NEAR
        return score <= self.float_score * 1.01


class Claim(Struct, frozen=True):
    """A bound, what was found, and whether it holds."""

    what: str
    found: str
    holds: bool


def read(notes: Path) -> list[Result]:
    """The results in a file of one JSON object a line; none where there is no file."""
    lines = notes.read_bytes().splitlines() if notes.exists() else []
    return [msgspec.json.decode(line, type=Result) for line in lines]


def claims(found: Sequence[Result]) -> Iterator[Claim]:
    """What must hold of all that was found."""
    sick, well = [one for one in found if one.code], [one for one in found if not one.code]
    harmful = [one for one in sick if not one.harmless]
    named = [one for one in harmful if one.named]
    told = f"{len(named)} of {len(harmful)}, and {sum(one.named for one in sick)} of all {len(sick)}"
    what = "the right cause is named first in all that cost more than 0.5 points"
    yield Claim(what, told, len(named) == len(harmful))
    quiet = [one for one in well if one.named]
    yield Claim("nothing is said of a sound file", f"{len(quiet)} of {len(well)}", bool(well) and quiet == well)
    kinds = dict.fromkeys(one.fault for one in sick)
    mended = [kind for kind in kinds if all(one.near for one in sick if one.fault == kind)]
    what = f"at least {KINDS} kinds are repaired to within 0.5 points without training, in each network and seed"
    yield Claim(what, f"{len(mended)} of {len(kinds)}", len(mended) >= KINDS)
    lost = [one for one in sick if one.code == "scale-disparity" and _lost(one, one.planted) > LOST]
    back = [one for one in lost if one.per_tensor and _lost(one, one.repaired) <= BACK]
    what = "a disparity that cost over 20 points is repaired to within 1, with weights still per-tensor"
    yield Claim(what, f"{len(back)} of {len(lost)}", bool(lost) and back == lost)


def _lost(one: Result, score: float | None) -> float:
    return 1.0 if score is None else one.float_score - score


def markdown(found: Sequence[Result]) -> str:
    """The claims, and a table for each network on each data set."""
    lines = [
        "# The doctor on planted faults",
        "",
        "`python benchmarks/doctor.py --work FOLDER`, at niceness 5 on 2 shared cores; what is planted, and what the",
        "columns mean: [the method](../README.md#the-doctor-on-planted-faults).",
        "",
        *_table(("claim", "found", "holds"), [[c.what, c.found, "yes" if c.holds else "NO"] for c in claims(found)]),
    ]
    for network, task in dict.fromkeys((one.network, one.task) for one in found):
        here = [one for one in found if (one.network, one.task) == (network, task)]
        seeds = sorted({one.seed for one in here})
        lines += ["", f"## {network}, {task}", "", f"Seeds of the training: {seeds}. Score: {here[0].metric}.", ""]
        kinds = dict.fromkeys(one.fault for one in here)
        lines += _table(HEADER, [_row([one for one in here if one.fault == kind]) for kind in kinds])
    return "\n".join(lines) + "\n"


def _row(same: Sequence[Result]) -> list[str]:
    """One fault, its scores as means over the seeds."""
    others = dict.fromkeys(cause for one in same for cause in one.causes if cause != one.code)
    rungs = dict.fromkeys(", ".join(one.rungs) or "none needed" for one in same if not one.refused)
    return [
        same[0].fault,
        _mean(same, [one.float_score for one in same]),
        _mean(same, [one.planted for one in same]),
        _count(same, [one.named for one in same]),
        ", ".join(others),
        "; ".join(rungs) or "refused: mend the data",
        _mean(same, [one.repaired for one in same]),
        _count(same, [one.near for one in same]) if rungs else "",
        f"{np.mean([one.seconds for one in same]):.0f}",
        f"{np.mean([one.bytes or one.given_bytes for one in same]) / 1024:.1f}",
    ]


def _mean(same: Sequence[Result], scores: Sequence[float | None]) -> str:
    known = [score for score in scores if score is not None]
    if not known:
        return "-" if same[0].refused else "does not run"
    whole = higher_is_better(same[0].metric)
    return f"{100 * np.mean(known):.2f}" if whole else f"{np.mean(known):.4g}"


def _count(same: Sequence[Result], held: Sequence[bool]) -> str:
    return "yes" if all(held) else f"{sum(held)} of {len(same)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]
