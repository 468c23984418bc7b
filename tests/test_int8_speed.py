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
    found = int8_speed.turns({"a": network("int8"), "b": network("float32")}, 2, 4)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4}


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
