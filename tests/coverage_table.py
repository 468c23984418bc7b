"""The table of architectures and techniques, made from what the tests marked `covers` found.

A marked test takes the name of an architecture and proves a technique on it. What it says with
`record_property("covered", ...)` stands in its cell; where several tests prove one technique, all have to pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

TECHNIQUES = ("weights", "channels", "layers", "factors", "clusters", "distill", "student", "qat")
_KEY = "covers"

Cells = dict[tuple[str, str], str]


def noted(item: pytest.Item) -> None:
    """Write architecture and technique into the report of a marked test, which also travels from a worker."""
    marker, call = item.get_closest_marker("covers"), getattr(item, "callspec", None)
    if marker and call:
        item.user_properties.append((_KEY, f"{call.params['name']} {marker.args[0]}"))


def cells(reports: Sequence[pytest.TestReport]) -> Cells:
    """Architecture and technique -> what its tests found."""
    found: Cells = {}
    for report in reports:
        said = dict(report.user_properties)
        if _KEY in said:
            architecture, technique = said[_KEY].split()
            word = str(said.get("covered", "yes")) if report.passed else "FAILED" if report.failed else "skipped"
            place = architecture, technique
            found[place] = max(found.get(place, word), word, key=_weight)
    return found


def _weight(word: str) -> int:
    """A failure outweighs what was said, which outweighs a bare yes."""
    return 3 if word == "FAILED" else 0 if word == "yes" else 1


def table(found: Cells) -> str:
    """Markdown, a line for each architecture in the order in which it was tested."""
    names = dict.fromkeys(architecture for architecture, _ in found)
    lines = [[name, *(found.get((name, technique), "") for technique in TECHNIQUES)] for name in names]
    header = ["architecture", *TECHNIQUES]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def write(found: Cells, path: Path) -> None:
    """The table as a file. It is asked for by an option, as a run of some tests finds less."""
    path.write_text(f"{_HEAD}\n{table(found)}\n", encoding="utf-8")


_HEAD = """# Architectures and techniques

Made by `make test-all` from the tests marked `covers`; random weights, small inputs (`tests/architectures.py`).

- weights: 75 % of every kernel is zero, as planned.
- channels: half of every group removed gives the outputs of the network in which they are zero, in float64.
- layers: the branch that costs least is gone, and the outputs changed by what was foretold; a dash where no
  addition joins a branch to its own source.
- factors: the same outputs at full rank, in float64, and the planned counts at 70 % of the energy.
- clusters: four values in a channel, found again in the weights.
- distill: a step of training by the teacher's outputs alone, the loss finite and the weights moved.
- student: a student of half the width is derived, with outputs of the same shapes.
- qat: 50 steps train the integer file, which has no float operator; each operator alone computes what the simulation
  computes, within two quanta. "yes": so do the outputs of 512 samples, in 99.9 % and with the same top-1 in 99.5 %.
  Else the shares that were found, and in brackets those of TFLite's own kernels against each other: in a deep random
  network differences of one quantum grow.
"""
