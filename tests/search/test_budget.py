"""Budgets: what they read, and what they refuse before any work."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.errors import DataError, InputError
from edgekit.gate import Gate
from edgekit.metrics import Score
from edgekit.search.budget import Budget, blurred, keeps, sure
from edgekit.search.point import Cost, Loss, Timing
from edgekit.target import load_target
from edgekit.tflite.inspect import read_contents
from edgekit.units import parse_seconds

REFERENCE = (Score("accuracy", 0.9, 0.88, 0.92, 500, "Wilson"),)


def test_words_become_bytes_and_seconds() -> None:
    found = Budget.parse("1%", None, "300K", "200K", "10ms", "128K")
    assert found == Budget(Gate(0.01, True), None, 307_200, 204_800, 0.01, 131_072)
    assert Budget.parse(0.01, max_bytes=1000, max_latency=0.5).max_latency == 0.5


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("2h", 7200), ("1h30m", 5400), ("90 s", 90), ("1.5min", 90), ("250us", 25e-5)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "ten ms", "10ms later", "-3s", "0s", "3 parsecs"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"max_bytes": "many"}, "--max-bytes: 'many' is no size"),
        ({"max_ram": "0K"}, "a budget of nothing"),
        ({"max_latency": "10"}, "--max-latency: '10' is no time"),
        ({"max_drop": "a bit"}, "is no greatest drop"),
    ],
)
def test_words_that_are_no_budget_are_refused(words: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Budget.parse(**words)


@pytest.mark.parametrize(
    ("words", "target", "problem"),
    [
        ({}, "host", "without a floor"),
        ({"max_drop": "1%", "max_ram": "1K"}, "coral-usb", "edgetpu keeps tensors in memory of its own"),
        ({"max_drop": "1%", "max_ram": "4G"}, "raspberry-pi-zero-2-w", "has only 512 MiB"),
    ],
)
def test_contradictions_are_refused_by_the_target_alone(words: dict[str, Any], target: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Budget.parse(**words).refuse(load_target(target))


def test_a_floor_above_the_float_model_is_refused() -> None:
    with pytest.raises(DataError, match=r"beyond the float model, whose accuracy .* 0\.9"):
        Budget(min_score=0.95).refuse_floor(REFERENCE, "accuracy")
    Budget(min_score=0.9).refuse_floor(REFERENCE, "accuracy")
    lower_is_better = (Score("mae", 2.0, 1.9, 2.1, 500, "t"),)
    Budget(min_score=2.5).refuse_floor(lower_is_better, "mae")
    with pytest.raises(DataError, match="beyond the float model"):
        Budget(min_score=1.5).refuse_floor(lower_is_better, "mae")


def test_the_greatest_loss_is_the_tighter_of_two_floors() -> None:
    assert Budget(Gate(0.05), 0.88).greatest_loss(REFERENCE, "accuracy") == pytest.approx(0.02)
    assert Budget(Gate(0.01), 0.88).greatest_loss(REFERENCE, "accuracy") == pytest.approx(0.01)


def test_a_size_below_what_a_file_takes_without_weights_is_refused(float_file: bytes) -> None:
    contents = read_contents(float_file)
    least = contents.file_bytes - contents.parameter_bytes
    Budget(max_bytes=least).refuse_file(contents)
    with pytest.raises(InputError, match="without a single weight"):
        Budget(max_bytes=least - 1).refuse_file(contents)


def test_what_is_over_is_named_with_its_share() -> None:
    budget = Budget(Gate(0.01), None, 1000, 1000, 1e-3, 1000)
    cost = Cost(1500, 900, 10, 1000, Timing(2e-3, 2e-3, 2e-3, "local", "r"))
    assert budget.excess(cost) == {"bytes": 0.5, "latency": 1.0}
    assert budget.over(cost) == "bytes 1.46 KiB is over 1000 B, latency 2.00 ms is over 1.00 ms"
    assert budget.over(Cost(1, 1, 10)) == "latency is not known"
    assert not Budget(Gate(0.01), max_ram=1).excess(Cost(1, 1, 10))


def test_a_loss_may_equal_the_floor_and_is_sure_only_with_its_whole_interval() -> None:
    assert keeps(Loss(0.99 - 0.98, 0.0, 0.02, 100), 0.01)
    assert not sure(Loss(0.005, 0.0, 0.02, 100), 0.01)
    assert sure(Loss(0.005, 0.0, 0.01, 100), 0.01)


def test_samples_that_cannot_tell_the_floor_are_too_few_and_four_times_as_many_halve_the_doubt() -> None:
    losses = [Loss(0.0, -0.02, 0.02, 1000), Loss(0.005, 0.0, 0.01, 1000), Loss(-0.01, -0.03, 0.01, 1000)]
    assert "1,000 validation samples tell a loss to 0.02 only" in blurred(losses, 0.01)
    assert "about 4,000 would do" in blurred(losses, 0.01)
    assert blurred(losses, 0.02) == ""
    assert blurred([], 0.01) == ""
