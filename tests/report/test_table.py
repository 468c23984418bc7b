"""Tables as text: what a hostile name may not do to them."""

from __future__ import annotations

import pytest

from edgekit.report.table import render_markdown, render_table

HOSTILE = "a\x1b[2J\nb\r\x9b31m\u202ec"


@pytest.mark.parametrize("write", [render_table, render_markdown])
def test_a_name_neither_ends_a_line_nor_drives_a_terminal(write) -> None:  # type: ignore[no-untyped-def]
    shown = write(("name", "n"), [(HOSTILE, "1"), ("plain", "2")])
    assert len(shown.splitlines()) == 4
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    assert "a [2J b" in shown


def test_columns_are_aligned_and_numbers_right() -> None:
    assert render_table(("name", "n"), [("a", "1"), ("long", "20")]) == "name   n\n----  --\na      1\nlong  20"
