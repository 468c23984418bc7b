"""What the comparisons with other packages share: jobs survive the command line, blocks take turns, bounds are held."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "peers"))
import quantize_aware as beside
from job import Job, Pruning, QuantizeAware
from turns import alternate

PEERS = Path(beside.__file__).parent
TRAINING = """
import sys
sys.path.insert(0, sys.argv[1])
from turns import Clock
clock, kept = Clock(2), []
for step in range(int(sys.argv[2])):
    clock()
    kept.append(bytearray(1 << 22))
"""

JOBS = (
    Pruning(network="n", data="d.npz", epochs=2, weights="w.npz", sparsity=0.5),
    QuantizeAware(network="n", data="d.npz", epochs=2, turns=20, quantized=True),
)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_survives_the_command_line(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["engine", job.word()])
    assert type(job).told() == job
    assert replace(job, seed=1) != job


def test_each_side_has_as_many_turns_and_tells_its_peak() -> None:
    words = [sys.executable, "-c", TRAINING, str(PEERS), "100"]
    sides = alternate([words, words], rounds=4, warm_up=1)
    assert [len(side.seconds) for side in sides] == [4, 4]
    assert all(seconds > 0 for side in sides for seconds in side.seconds)
    assert all(side.peak_bytes > 10 * (1 << 22) for side in sides), "five blocks of two steps kept as much"


def test_a_training_that_ends_too_early_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with 0"):
        alternate([[sys.executable, "-c", TRAINING, str(PEERS), "3"]], rounds=4, warm_up=0)


def measured(ours: float, theirs_bytes: int) -> beside.Measured:
    return beside.Measured([ours] * 7, [1.0] * 7, [2.0] * 7, [1.0] * 7, 1000, theirs_bytes, 70)


def test_a_missed_bound_is_said_where_it_is() -> None:
    assert beside._row("DS-CNN", measured(1.5, 1000)).count("MISSED") == 0
    cells = beside._row("DS-CNN", measured(1.7, 900)).split("|")
    assert [place for place, cell in enumerate(cells) if "MISSED" in cell] == [6, 8, 11]
    assert "1.70 [1.70, 1.70]" in cells[6]
