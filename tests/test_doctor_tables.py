"""The bounds of benchmarks/doctor.py hold and fail where they should, and a table says what was found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from doctor_tables import KINDS, SOUND, Result, claims, markdown, read


def _result(fault: str, **others: Any) -> Result:
    usual = {
        "task": "fashion",
        "network": "ds-cnn",
        "seed": 0,
        "fault": fault,
        "code": fault,
        "metric": "accuracy",
        "causes": (fault,),
        "float_score": 0.9,
        "planted": 0.5,
        "given_bytes": 1024,
        "rungs": ("equalize",),
        "repaired": 0.9,
        "bytes": 2048,
        "per_tensor": True,
        "seconds": 2.0,
    }
    return Result(**usual | others)


ALL = [
    _result(SOUND, code="", causes=(), planted=0.9, rungs=()),
    _result("scale-disparity"),
    *(_result(f"kind-{number}") for number in range(KINDS - 1)),
]


def _held(found: list[Result]) -> list[bool]:
    return [claim.holds for claim in claims(found)]


def test_all_bounds_hold_where_all_is_well() -> None:
    assert _held(ALL) == [True] * 4


@pytest.mark.parametrize(
    ("other", "held"),
    [
        (_result("kind-0", causes=("labels", "kind-0")), [False, True, True, True]),
        (_result("kind-0", causes=()), [False, True, True, True]),
        (_result("kind-0", causes=(), planted=0.896), [True, True, True, True]),
        (_result("kind-0", causes=(), planted=None), [False, True, True, True]),
        (_result("kind-0", causes=(), planted=0.9, repaired=None, refused="mend"), [False, True, False, True]),
        (_result(SOUND, code="", causes=("labels",)), [True, False, True, True]),
        (_result("kind-0", seed=1, repaired=0.894), [True, True, False, True]),
        (_result("kind-0", seed=1, repaired=None, refused="mend the data"), [True, True, False, True]),
        (_result("scale-disparity", seed=1, repaired=0.889), [True, True, False, False]),
        (_result("scale-disparity", seed=1, per_tensor=False), [True, True, True, False]),
        (_result("scale-disparity", seed=1, planted=0.75), [True, True, True, True]),
        (_result("kind-0", seed=1, metric="mae", float_score=0.1, repaired=0.1005), [True, True, True, True]),
        (_result("kind-0", seed=1, metric="mae", float_score=0.1, repaired=0.102), [True, True, False, True]),
    ],
)
def test_each_bound_fails_by_itself(other: Result, held: list[bool]) -> None:
    assert _held([*ALL, other]) == held


def test_without_results_the_bounds_are_missed() -> None:
    assert _held([]) == [True, False, False, False]


def test_the_table_has_means_over_the_seeds() -> None:
    found = [_result("a"), _result("a", seed=1, planted=None, repaired=0.88, causes=("b",), rungs=("equalize", "c"))]
    row = next(line for line in markdown(found).splitlines() if line.startswith("| a |"))
    assert row == "| a | 90.00 | 50.00 | 1 of 2 | b | equalize; equalize, c | 89.00 | 1 of 2 | 2 | 2.0 |"
    refused = [_result("labels", planted=None, repaired=None, refused="x", rungs=(), bytes=0)]
    row = next(line for line in markdown(refused).splitlines() if line.startswith("| labels |"))
    assert row == "| labels | 90.00 | - | yes |  | refused: mend the data | - |  | 2 | 1.0 |"


def test_no_file_has_no_results(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []
