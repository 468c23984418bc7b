"""The script that holds a search against presets and chance: its hypervolume, and its bounds, which can be missed."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import search as benchmark

CELLS = st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=8)


@settings(max_examples=60)
@given(CELLS)
def test_the_hypervolume_is_the_number_of_cells_that_are_dominated(vectors: list[tuple[int, ...]]) -> None:
    counted = sum(
        any(all(x <= y for x, y in zip(one, cell, strict=True)) for one in vectors)
        for cell in itertools.product(range(4), repeat=3)
    )
    found = benchmark.hypervolume([tuple(map(float, one)) for one in vectors], (4.0, 4.0, 4.0))
    assert found == pytest.approx(counted)


def test_a_row_holds_only_with_both_bounds() -> None:
    row = benchmark.Row("fashion", 0, 40, 12, 0.6, 0.5, 14, (), ())
    assert row.holds
    assert not benchmark.Row("fashion", 0, 40, 12, 0.59, 0.5, 14, (), ()).holds
    assert benchmark.Row("fashion", 0, 40, 12, 0.6, 0.5, 14, ("int8",), ()).holds
    assert not benchmark.Row("fashion", 0, 40, 12, 0.6, 0.5, 14, ("int8",), ("int8",)).holds
    page = benchmark.markdown(benchmark.Results(30, "ds-cnn", (row,)))
    assert "| fashion | 0 | 40 | 12 | 0.6000 | 0.5000 | 1.20 | 0 of 14 | 0 |" in page


def test_a_file_beats_one_that_is_nowhere_better() -> None:
    one = benchmark.Judged("a", 0.001, 100, 1.0e-3, 10)
    assert one.beats(benchmark.Judged("b", 0.001, 100, 0.96e-3, 10))
    assert not one.beats(benchmark.Judged("b", 0.001, 100, 0.9e-3, 10))
    assert not one.beats(benchmark.Judged("b", 0.0, 100, 1.0e-3, 10))


def test_half_a_point_may_be_left_out_of_account() -> None:
    one = benchmark.Judged("a", 0.004, 100, 1.0e-3, 10)
    assert one.beats(benchmark.Judged("b", 0.0, 100, 1.0e-3, 10), slack=0.005)
    assert not one.beats(benchmark.Judged("b", 0.0, 99, 1.0e-3, 10), slack=0.005)
    assert not one.beats(benchmark.Judged("b", -0.002, 100, 1.0e-3, 10), slack=0.005)


def test_pairs_that_are_done_are_kept_for_the_same_settings_only(tmp_path: Path) -> None:
    row = benchmark.Row("fashion", 1, 40, 12, 0.6, 0.5, 14, (), ())
    path = tmp_path / "search.json"
    assert benchmark.begun(path, 30, "ds-cnn").rows == ()
    benchmark.Results(30, "ds-cnn", (row,), "other samples").keep(path)
    assert benchmark.begun(path, 30, "ds-cnn").rows == ()
    benchmark.Results(30, "ds-cnn", (row,), benchmark.PARTS).keep(path)
    again = benchmark.begun(path, 30, "ds-cnn")
    assert again.row("fashion", 1) == row
    assert again.row("fashion", 0) is None
    assert benchmark.begun(path, 20, "ds-cnn").rows == ()
    assert "| fashion | 1 | 40 | 12 |" in (tmp_path / "search.md").read_text()
