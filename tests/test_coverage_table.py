"""The table of architectures and techniques says what the tests found, the worst first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import coverage_table
import pytest


def _report(architecture: str, technique: str, outcome: str = "passed", covered: str = "") -> pytest.TestReport:
    said = [("covers", f"{architecture} {technique}"), *([("covered", covered)] if covered else [])]
    return pytest.TestReport("test", ("test.py", 1, "test"), {}, outcome, None, "call", user_properties=said)


def test_every_cell_has_what_its_tests_found() -> None:
    reports = [
        _report("vgg", "weights"),
        _report("vgg", "layers", covered="-"),
        _report("vgg", "factors", "failed"),
        _report("vgg", "factors"),
        _report("vit", "student", covered="refused"),
    ]
    found = coverage_table.cells(reports)
    assert found["vgg", "factors"] == "FAILED"
    assert found == coverage_table.cells(reports[::-1])
    assert coverage_table.table(found).splitlines() == [
        "| architecture | weights | channels | layers | factors | clusters | distill | student | qat |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| vgg | yes |  | - | FAILED |  |  |  |  |",
        "| vit |  |  |  |  |  |  | refused |  |",
    ]


def test_tests_without_the_mark_are_not_in_it() -> None:
    assert not coverage_table.cells([pytest.TestReport("test", ("test.py", 1, "test"), {}, "passed", None, "call")])


def test_a_marked_test_says_its_architecture() -> None:
    marked = SimpleNamespace(
        get_closest_marker=lambda name: pytest.mark.covers("weights") if name == "covers" else None,
        callspec=SimpleNamespace(params={"name": "vgg"}),
        user_properties=[],
    )
    coverage_table.noted(marked)  # type: ignore[arg-type]
    assert marked.user_properties == [("covers", "vgg weights")]


def test_the_file_explains_itself(tmp_path: Path) -> None:
    coverage_table.write({("vgg", "weights"): "yes"}, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text().count("- ") >= len(coverage_table.TECHNIQUES)
