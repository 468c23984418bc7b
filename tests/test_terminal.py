"""Folding: nothing is lost, nothing is too long that can be shorter, and what is piped is left alone."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.table import render_table
from edgekit.terminal import columns, fold, rewritable

word = st.text("abc-/_.:", min_size=1, max_size=12)
line = st.lists(word, min_size=1, max_size=40).map(" ".join)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@given(line, st.integers(20, 120))
def test_a_folded_line_fits_and_has_every_word(text: str, width: int) -> None:
    folded = fold(text, width)
    assert folded.split() == text.split()
    assert all(len(one) <= width for one in folded.split("\n"))
    assert fold(text, None) == text


@given(st.integers(20, 60))
def test_commands_names_and_rows_of_tables_stay_whole(width: int) -> None:
    command, name, row = (
        "`edgekit benchmark model.tflite --device ssh://pi@board`",
        "x" * 100,
        f"{'name':50}  value  other",
    )
    folded = fold(f"to measure it say {command} there\n  {name}\n{row}", width)
    assert command in folded
    assert f"  {name}" in folded.split("\n") or name in folded
    assert row in folded.split("\n")


def test_a_further_line_is_indented_below_its_first() -> None:
    assert (
        fold("  mend: give another file, or another folder", 24)
        == "  mend: give another\n    file, or another\n    folder"
    )


def test_what_is_piped_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    assert columns(io.StringIO()) is None
    assert columns(Terminal()) == 40
    assert rewritable(Terminal())
    assert not rewritable(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not rewritable(Terminal())


numbers = st.from_regex(r"[0-9]{1,4}\.[0-9] [KM]iB", fullmatch=True)
texts = st.lists(st.text("abc/_:", min_size=1, max_size=12), max_size=12).map(" ".join)


@given(st.lists(st.tuples(texts, numbers, texts), min_size=1, max_size=6), st.integers(40, 200))
def test_a_table_fits_its_terminal_and_loses_nothing(rows: list[tuple[str, ...]], width: int) -> None:
    header = ("what there is", "file size", "what became of it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setattr(sys, "stdout", Terminal())
        shown = render_table(header, rows)
        patch.setattr(sys, "stdout", io.StringIO())
        piped = render_table(header, rows)
    assert all(len(one) <= width for one in shown.split("\n"))
    assert len(piped.split("\n")) == len(rows) + 2
    assert all(size in shown for _, size, _ in rows)
    if "--" in shown:  # else each row is a block with all titles
        assert sorted("".join(shown.split()).replace("-", "")) == sorted("".join(piped.split()).replace("-", ""))
    else:
        assert all("".join(cell.split()) in "".join(shown.split()) for row in rows for cell in row)


def test_a_table_with_room_is_the_piped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a name", "1.0 KiB"), ("another", "2.0 KiB")]
    piped = render_table(("name", "size"), rows)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert render_table(("name", "size"), rows) == piped


def test_a_table_too_wide_for_its_terminal_is_a_block_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setattr(sys, "stdout", Terminal())
    shown = render_table(("name", "p50", "p90", "peak"), [("a", "1.00 ms", "2.00 ms", "1.0 KiB"), ("b", "-", "-", "-")])
    blocks = [block.splitlines() for block in shown.split("\n\n")]
    assert blocks == [
        ["name  a", "p50   1.00 ms", "p90   2.00 ms", "peak  1.0 KiB"],
        ["name  b", "p50   -", "p90   -", "peak  -"],
    ]
