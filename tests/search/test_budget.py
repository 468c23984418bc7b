"""Budgets: what they read, and what they refuse before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from edgekit.errors import DataError, InputError
from edgekit.gate import Gate
from edgekit.metrics import Agreement, Difference, Score
from edgekit.recipe import Recipe
from edgekit.search import clock, rungs
from edgekit.search.budget import Budget, blurred, keeps, sure
from edgekit.search.clock import Clock
from edgekit.search.order import Order
from edgekit.search.point import Cost, Loss, Point, Timing
from edgekit.search.rungs import Rungs
from edgekit.target import load_target
from edgekit.tflite.inspect import read_contents
from edgekit.units import parse_seconds
from edgekit.verify import Verification
from edgekit.workspace import Workspace

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


def test_what_the_target_cannot_run_is_over_every_budget() -> None:
    cost = Cost(1, 1, 10, faults=("the file is float32; coral-usb runs int8",))
    assert Budget(Gate(0.01)).excess(cost) == {"target": 1.0}
    assert Budget(Gate(0.01)).over(cost) == "the target does not run it: the file is float32; coral-usb runs int8"


def test_a_clock_names_what_keeps_a_file_from_running_and_counts_states(float_file: bytes, tmp_path: Path) -> None:
    work = Workspace(tmp_path, print)
    assert Clock(load_target("host")).cost(float_file, "0", work).faults == ()
    small = load_target("cortex-m4")
    memory = replace(small.memory, flash_bytes=1000)
    (fault,) = Clock(replace(small, memory=memory)).cost(float_file, "0", work).faults
    assert "1000 B" in fault


@pytest.mark.parametrize("target", ["coral-usb", "android-gpu", "cortex-m4"])
def test_a_device_that_would_time_another_processor_is_refused(target: str) -> None:
    order = Order("m.keras", "d.npz", "out", target, max_drop="1%", device=("ssh://pi",))
    with pytest.raises(InputError, match=f"{target} runs it elsewhere"):
        order.checked()


def test_of_several_outputs_the_loss_and_the_score_are_those_of_one() -> None:
    scores = tuple(
        Score(f"accuracy:{name}", value, value, value, 10, "Wilson") for name, value in [("a", 1.0), ("b", 0.8)]
    )
    losses = tuple(Difference(value, value - 0.1, value + 0.1, "paired", 10) for value in (0.0, -0.2))
    found = Verification(10, "ai-edge-litert", 1, scores, losses, Agreement(1.0, 0.0, 0.0, None))
    loss = Loss.of(found, "accuracy")
    assert (loss.value, loss.head) == (0.2, 1)
    assert Point("int8", "0" * 64, Cost(1, 1, 1), loss, scores).score.name == "accuracy:b"


def test_a_loss_may_equal_the_floor_and_is_sure_only_with_its_whole_interval() -> None:
    assert keeps(Loss(0.99 - 0.98, 0.0, 0.02, 100), 0.01)
    assert not sure(Loss(0.005, 0.0, 0.02, 100), 0.01)
    assert sure(Loss(0.005, 0.0, 0.01, 100), 0.01)


def test_what_other_versions_say_of_a_file_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[Any] = []
    host, seen = load_target("host"), SimpleNamespace(sha256="", fingerprint="", name="local")
    work: Any = SimpleNamespace(remember=lambda title, key, *_: keys.append((title, msgspec.json.encode(key))))
    of_search = Rungs(seen, seen, host, Clock(host), work, print)  # type: ignore[arg-type]
    for number in ("1", "1", "2"):
        for module in (clock, rungs):
            monkeypatch.setattr(module, "versions", lambda number=number: {"numpy": number})
        of_search.shape(Recipe.parse("int8"))
        with pytest.raises(AttributeError):  # of the measurement that there is none
            Clock(host)._timing(seen, b"", "", work)  # type: ignore[arg-type]
    assert [len({key for title, key in keys if title == name}) for name in dict(keys)] == [2, 2]


def test_samples_that_cannot_tell_the_floor_are_too_few_and_four_times_as_many_halve_the_doubt() -> None:
    losses = [Loss(0.0, -0.02, 0.02, 1000), Loss(0.005, 0.0, 0.01, 1000), Loss(-0.01, -0.03, 0.01, 1000)]
    assert "1,000 validation samples tell a loss to 0.02 only" in blurred(losses, 0.01)
    assert "about 4,000 would do" in blurred(losses, 0.01)
    assert blurred(losses, 0.02) == ""
    assert blurred([], 0.01) == ""
