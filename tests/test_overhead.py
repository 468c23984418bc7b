"""The script of the agent's overhead: its sides run and print what it reads, and its bounds can be missed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import overhead

from edgekit.bench.statistics import Interval
from edgekit.device.local import LocalDevice

ONE, NOTHING = Interval(1.0, 0.99, 1.01), Interval(0.0, 0.0, 0.0)
ROW = overhead.Row("net", 1e-3, loop=ONE, bare=ONE, tool=ONE, imported_bytes=NOTHING, first_bytes=NOTHING)


@pytest.fixture
def device() -> Iterator[LocalDevice]:
    with LocalDevice() as place:
        yield place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "neg.tflite"
    path.write_bytes(tiny_models.negative((1, 1000), 20))
    return path


def test_the_sides_of_a_round_take_turns_and_tell_their_medians(device: LocalDevice, model: Path) -> None:
    found = overhead.one_round(device, model, None, 0.05, 0)
    assert found.tool is None
    assert 0.2 < found.agent_ns / found.bare["median_ns"] < 5
    assert found.bare["first_bytes"] >= found.bare["imported_bytes"] > 2**23


def test_the_two_loops_take_turns_on_one_interpreter(device: LocalDevice, model: Path) -> None:
    found: dict[str, Any] = overhead.printed(device, "loop_turns.py", model, 6, 0.01)
    assert len(found["ratios"]) == 6
    assert all(0.2 < ratio < 5 for ratio in found["ratios"])
    assert min(found["runs"]) > 60
    assert 0.2 < found["runs"][0] / found["runs"][1] < 5


def test_a_side_that_fails_is_told_with_its_last_words(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Error"):
        overhead.printed(device, "bare_loop.py", tmp_path / "none.tflite", 0.01)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"tool": None}, True),
        ({"loop": Interval(1.021, 1, 2)}, False),
        ({"bare": Interval(1.021, 1, 2)}, False),
        ({"tool": Interval(1.021, 1, 2)}, False),
        ({"imported_bytes": Interval(3e6, 0, 0)}, False),
        ({"first_bytes": Interval(3e6, 0, 0)}, False),
    ],
)
def test_a_bound_is_missed_by_any_of_the_figures(change: dict[str, object], holds: bool) -> None:
    row = replace(ROW, **change)
    assert row.holds is holds
    last = overhead.report([row], 11).splitlines()[-2]
    assert last.split()[-1] == ("yes" if holds else "NO")
    assert ("the tool fails" in last) is (row.tool is None)
