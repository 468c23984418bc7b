"""Files in turns: who loses does not depend on noise, and nobody loses by what does not matter."""

from __future__ import annotations

import pytest
from run_examples import float_file, int8_file

from edgekit.speed.race import LEAST_SECONDS, PROCESSES, Race, race

MILLI = (1e-3, 1.01e-3, 0.99e-3, 1e-3)


def _times(factor: float) -> tuple[float, ...]:
    return tuple(factor * one for one in MILLI)


@pytest.mark.parametrize(("factor", "loses"), [(1.5, True), (1.03, True), (1.019, False), (1.0, False), (0.5, False)])
def test_a_file_loses_by_more_than_the_tolerance(factor: float, loses: bool) -> None:
    found = Race({"a": _times(factor), "b": MILLI})
    assert found.loses("a", "b") == loses
    assert not (loses and found.loses("b", "a"))


def test_one_process_that_says_otherwise_is_noise() -> None:
    wavering = (1.5e-3, 1.5e-3, 1.5e-3, 0.98e-3)
    assert not Race({"a": wavering, "b": MILLI}).loses("a", "b")
    assert Race({"a": wavering[:3] * 2, "b": (1e-3,) * 6}).loses("a", "b")


def test_nobody_loses_by_less_than_an_app_can_feel() -> None:
    short = (LEAST_SECONDS / 2,) * PROCESSES
    assert not Race({"a": (LEAST_SECONDS * 1.4,) * PROCESSES, "b": short}).loses("a", "b")
    assert Race({"a": (LEAST_SECONDS * 1.6,) * PROCESSES, "b": short}).loses("a", "b")


def test_the_first_wish_that_loses_to_none_is_taken() -> None:
    found = Race({"int8": _times(2), "islands": _times(1.01), "dynamic": _times(1.3), "float32": _times(1)})
    assert found.first(["int8", "islands", "dynamic", "float32"]) == "islands"
    assert found.first(["int8", "dynamic", "float32"]) == "float32"
    assert found.first(["int8"]) == "int8"


def test_every_file_has_a_time_in_every_process() -> None:
    found = race({"int8": int8_file(), "float32": float_file()})
    assert {name: len(times) for name, times in found.seconds.items()} == {"int8": PROCESSES, "float32": PROCESSES}
    assert found.interval("int8").low <= found.interval("int8").value <= found.interval("int8").high
    assert all(times > 0 for one in found.seconds.values() for times in one)
