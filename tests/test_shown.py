"""The comparison of pages with what commands print lets numbers and widths differ, and nothing else."""

from __future__ import annotations

from shown import matches


def test_a_pattern_is_no_wildcard() -> None:
    assert matches("file 31.0 MiB, 11 of 12\n", "file 1.20 KiB, 11 of 12\n")
    assert not matches("file 1.20 KiB, 12 of 12\n", "file 1.20 KiB, 11 of 12\n")
    assert matches("{\n{\n[\n  abc\n", "{\n...\n  a...\n")
    assert not matches("{\n{\n[\n  bc\n", "{\n...\n  a...\n")
