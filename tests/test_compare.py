"""Two files side by side."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.bench.plan import Delegate, Plan
from edgekit.bench.statistics import Interval
from edgekit.cli.compare import command
from edgekit.compare import agreement, compare_models, contract_differences, operator_counts, speed, turn_ratio, verdict
from edgekit.errors import DataError, RunError
from edgekit.tflite.inspect import inspect_model


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def written(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return written


def agreed(a: Path, b: Path):  # type: ignore[no-untyped-def]
    return agreement(a, b, inspect_model(a), inspect_model(b), Plan())


def test_a_file_agrees_with_itself(write) -> None:  # type: ignore[no-untyped-def]
    a = write("a", tiny_models.negative())
    (found,) = agreed(a, a)
    assert (found.max_abs_difference, found.sqnr_db, found.same_argmax, found.same_values) == (0.0, None, 1.0, 1.0)
    assert contract_differences(inspect_model(a), inspect_model(a)) == ()


def test_inputs_and_outputs_are_matched_by_name_whatever_their_order(write) -> None:  # type: ignore[no-untyped-def]
    a, b = write("a", tiny_models.sum_and_difference()), write("b", tiny_models.sum_and_difference(turned=True))
    assert [found.max_abs_difference for found in agreed(a, b)] == [0.0, 0.0]
    differences = contract_differences(inspect_model(a), inspect_model(b))
    assert [line.split(":")[0] for line in differences] == [
        "inputs are in another order",
        "outputs are in another order",
    ]


def test_outputs_that_differ_are_measured(write) -> None:  # type: ignore[no-untyped-def]
    once, twice = write("a", tiny_models.negative()), write("b", tiny_models.negative(operators=2))
    (found,) = agreed(once, twice)
    assert found.sqnr_db == pytest.approx(10 * np.log10(1 / 4))
    assert found.same_argmax is not None
    assert found.same_argmax < 0.5


def test_quantized_inputs_get_the_same_real_values(write) -> None:  # type: ignore[no-untyped-def]
    """Both files give back their input as real numbers; half of a step at the scale of 0.5 may be lost on the way."""
    fine, coarse = write("a", tiny_models.dequantize(0.25, 3)), write("b", tiny_models.dequantize(0.5, 3))
    (found,) = agreed(fine, coarse)
    assert 0 < found.max_abs_difference <= 0.25 + 0.125


def test_files_that_take_other_inputs_are_not_run_on_the_same(write) -> None:  # type: ignore[no-untyped-def]
    a, b = write("a", tiny_models.negative((1, 4))), write("b", tiny_models.negative((1, 5)))
    assert agreed(a, b) == ()
    assert contract_differences(inspect_model(a), inspect_model(b)) == (
        "input 't0': shape [1, 4], then [1, 5]",
        "output 't1': shape [1, 4], then [1, 5]",
    )


def test_operators_are_counted_by_name_and_type(write) -> None:  # type: ignore[no-untyped-def]
    a, b = write("a", tiny_models.negative(operators=3)), write("b", tiny_models.frozen_reshape())
    counts = operator_counts(inspect_model(a), inspect_model(b))
    assert [(count.name, count.a, count.b) for count in counts] == [("NEG", 3, 0), ("RESHAPE", 0, 1)]


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(1.3, 1.2, 1.4), "B is slower: it takes 1.30 times as long"),
        (Interval(0.5, 0.4, 0.6), "B is faster: 2.00 times as fast"),
        (Interval(1.02, 0.9, 1.1), "no difference in latency found; one above 10% would have shown"),
        (Interval(1.004, 1.001, 1.006), "no difference"),
    ],
)
def test_the_verdict_is_in_words(interval: Interval, words: str) -> None:
    assert words in verdict(interval)


def test_a_disturbance_that_outlasts_a_turn_cancels_out() -> None:
    """All is 1.5 times slower half of the time, a few turns long: medians of each side alone are of either state."""
    generator = np.random.default_rng(0)
    paired, pooled = [], []
    for _ in range(30):
        state = np.repeat(generator.choice([1.0, 1.5], 20), 10)
        a, b = state * generator.normal(1, 0.01, 200), 1.05 * state * generator.normal(1, 0.01, 200)
        b[generator.integers(0, 200, 10)] *= 1.5
        paired.append(turn_ratio(a, b))
        pooled.append(float(np.median(b) / np.median(a)))
    assert np.abs(np.array(paired) - 1.05).max() < 0.01
    assert np.abs(np.array(pooled) - 1.05).max() > 0.1


def test_a_model_of_many_operators_is_found_slower(write) -> None:  # type: ignore[no-untyped-def]
    small = write("a", tiny_models.negative((1, 20_000), 10))
    large = write("b", tiny_models.negative((1, 20_000), 30))
    plan = Plan(xnnpack=False)
    found = speed(small, large, plan, processes=6)
    assert "slower" in found.verdict
    assert 1.5 < found.ratio.value < 6
    assert len(found.process_ratios) == 6


def test_the_command_shows_everything_and_gives_json(write) -> None:  # type: ignore[no-untyped-def]
    a, b = write("a", tiny_models.negative()), write("b", tiny_models.negative(operators=2))
    arguments = [str(a), str(b), "--processes", "6", "--samples", "4"]
    shown = CliRunner().invoke(command, arguments, catch_exceptions=False)
    for words in ("operator", "contract: ", "outputs on 4 random inputs", "verdict: ", "deflated"):
        assert words in shown.stdout


def test_where_and_how_both_ran_stands_above_the_table(write) -> None:  # type: ignore[no-untyped-def]
    path = str(write("m.tflite", tiny_models.negative()))
    words = [path, path, "--samples", "1", "--processes", "6", "--threads", "2", "--no-xnnpack"]
    lines = CliRunner().invoke(command, words).stdout.splitlines()
    version = metadata.version("ai-edge-litert")
    assert lines[2] == f"local: ai-edge-litert {version}, 2 threads, no XNNPACK"
    assert lines[4].split() == ["A", "B", "B", "/", "A"]


def test_a_plan_in_words() -> None:
    assert Plan().in_words == "1 thread, XNNPACK"
    plan = Plan(threads=2, cpus=(0, 3), delegate=Delegate("libedgetpu.so.1"))
    assert plan.in_words == "2 threads on cores 0, 3, libedgetpu.so.1, XNNPACK"


def test_the_same_as_json(write) -> None:  # type: ignore[no-untyped-def]
    a = write("a", tiny_models.negative())
    asked = CliRunner().invoke(command, [str(a), str(a), "--processes", "6", "--json"], catch_exceptions=False)
    assert json.loads(asked.stdout)["agreement"][0]["same_values"] == 1.0


def test_a_pair_that_does_not_correspond_is_still_compared_in_size_and_speed(write) -> None:  # type: ignore[no-untyped-def]
    a, b = write("a", tiny_models.negative()), write("b", tiny_models.sum_and_difference())
    found = compare_models(str(a), str(b), Plan(), processes=6)
    assert found.agreement == ()
    assert found.contract == ("1 inputs, then 2", "1 outputs, then 2")
    assert found.speed.a_seconds > 0


def test_strings_are_refused_in_words(write) -> None:  # type: ignore[no-untyped-def]
    a = write("a", tiny_models.strings())
    with pytest.raises(DataError, match="input 'words' takes strings, which edgekit does not feed"):
        agreed(a, a)


def test_a_comparison_may_be_given_more_time(write) -> None:  # type: ignore[no-untyped-def]
    a = str(write("a", tiny_models.negative()))
    asked = CliRunner().invoke(command, [a, a, "--processes", "6", "--samples", "1", "--timeout", "0.001"])
    assert isinstance(asked.exception, RunError)
    assert "after 0.001 s" in asked.exception.problem


def test_open_dimensions_are_told(write) -> None:  # type: ignore[no-untyped-def]
    a = str(write("a", tiny_models.negative((-1, -1))))
    asked = CliRunner().invoke(command, [a, a, "--processes", "6", "--samples", "1"])
    assert "warning: open dimensions were run as 1: t0; " in asked.stderr
