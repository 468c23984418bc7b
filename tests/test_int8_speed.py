"""The script of int8 speed: its turns, its noise, its page, and its bounds, which can be missed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from toys import Toy

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import int8_speed

SHAPE = (1, 8, 8, 4)
RATIOS = {"float32": 2.0, "converter": 1.5, "litert-quantizer": 1.6, "before": 1.5, "edgekit": 1.0}
ROW = int8_speed.Row(
    "Net", 1, dict.fromkeys(RATIOS, 1e-3), RATIOS, dict.fromkeys(RATIOS, 1), "2 GELU as float32 between casts", {}
)


def network(kind: str) -> bytes:
    """LOGISTIC, GELU, LOGISTIC, and a SOFTMAX behind them."""
    toy = Toy()
    grid = [1 / 128] if kind == "int8" else None
    tensors = [toy.tensor(SHAPE, kind, grid) for _ in range(4)]
    tensors.append(toy.tensor(SHAPE, kind, [1 / 256] if grid else None, [-128]))
    for index, name in enumerate(("LOGISTIC", "GELU", "LOGISTIC", "SOFTMAX")):
        options = {"beta": 1.0} if name == "SOFTMAX" else {}
        table = "SoftmaxOptions" if name == "SOFTMAX" else ""
        toy.operator(name, [tensors[index]], [tensors[index + 1]], table, 2 if name != "LOGISTIC" else 1, **options)
    return toy.bytes(tensors[:1], tensors[-1:])


def test_an_architecture_is_compared_in_turns() -> None:
    whole, plain = network("int8"), network("float32")
    files = {"float32": plain, "converter": whole, "litert-quantizer": whole, "before": whole}
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3, *SHAPE[1:])).astype(np.float32)
    row = int8_speed.compared("Net", files, 1, 5, samples)
    assert row.rewritten == "1 GELU as float32 between casts"
    assert (row.pieces["before"], row.pieces["edgekit"]) == (2, 1)
    assert row.ratios["edgekit"] == 1
    assert all(seconds > 0 for seconds in row.seconds.values())
    assert 20 < row.noise["before"] <= row.noise["edgekit"] < 80


def test_every_file_has_every_turn() -> None:
    files = {"a": network("int8"), "b": network("float32")}
    found = int8_speed.turns_here(files, 2, 4, 0)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4}
    every = int8_speed.turns(files, 1, 2 * int8_speed.PROCESSES)
    assert [{name: len(times) for name, times in one.items()} for one in every] == [{"a": 2, "b": 2}] * len(every)
    assert len(every) == int8_speed.PROCESSES


def test_a_disturbance_of_whole_rounds_or_of_one_process_cancels_out() -> None:
    quiet, disturbed = ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]), ([2.0, 20.0, 40.0], [1.0, 10.0, 20.0])
    assert int8_speed._ratio([quiet, disturbed, ([9.0] * 3, [1.0] * 3)]) == 2.0


@pytest.mark.parametrize(
    ("ratios", "holds"),
    [({}, True), ({"converter": 0.97}, False), ({"float32": 0.9}, False), ({"converter": 0.98}, True)],
)
def test_a_peer_or_the_float_file_that_is_faster_misses_the_bound(ratios: dict[str, float], holds: bool) -> None:
    assert replace(ROW, ratios=RATIOS | ratios).holds == holds


def test_the_page_says_the_means_and_what_was_done() -> None:
    other = replace(ROW, name="Other", ratios=RATIOS | {"converter": 6.0, "litert-quantizer": 6.0})
    page = int8_speed.report([ROW, other, replace(ROW, threads=2)])
    assert "## 1 thread\n" in page
    assert "## 2 threads\n" in page
    assert "geometric mean 3.00, least 1.50" in page
    assert "2 GELU as float32 between casts" in page
    assert int8_speed.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_an_architecture_that_tfmot_refuses_is_held_against_the_other_two() -> None:
    with_it = replace(ROW, name="Known", ratios=RATIOS | {"tfmot": 1.2}, seconds=ROW.seconds | {"tfmot": 7e-4})
    assert (ROW.best_peer, with_it.best_peer) == (1.5, 1.2)
    page = int8_speed.report([ROW, with_it])
    (without,) = (line for line in page.splitlines() if line.startswith("Net "))
    assert " - " in without
    assert "700 us" in page


def test_what_is_measured_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    whole, plain = network("int8"), network("float32")
    files = {"float32": plain, "converter": whole, "litert-quantizer": whole, "before": whole}
    path = tmp_path / "rows.json"
    first = int8_speed.Kept(path).row("Net", files, 1, 2, None)
    again = int8_speed.Kept(path)
    assert again.row("Net", files, 1, 2, None) == first
    again.row("Net", files | {"tfmot": whole}, 1, 2, None)
    again.row("Net", files, 1, 3, None)
    assert len(int8_speed.Kept(path).rows) == 3
