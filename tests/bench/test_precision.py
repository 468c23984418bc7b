"""Measuring until the median is known well enough: the rule in the agent, its limits, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click import BadParameter
from click.testing import CliRunner
from msgspec.structs import replace
from test_agent import measure as ask_agent
from test_agent_conditions import load_agent

from edgekit.bench.disturbances import cautions
from edgekit.bench.native import measure_native
from edgekit.bench.plan import plan_for
from edgekit.bench.run import measure
from edgekit.cli.benchmark import command
from edgekit.cli.plan_options import ShareType
from edgekit.errors import InputError

AGENT = load_agent()


def batches_of(values: np.ndarray) -> object:
    found = AGENT.Batches()
    for value in values.tolist():
        found.add(value)
    return found


def test_the_interval_holds_the_median_as_often_as_it_promises() -> None:
    generator, held = np.random.default_rng(0), []
    for _ in range(400):
        batches = batches_of(generator.normal(100, 5, 137))
        mean = sum(batches.middles) / len(batches.middles)  # type: ignore[attr-defined]
        held.append(abs(mean - 100) <= batches.relative_width() * mean)  # type: ignore[attr-defined]
    assert 0.92 <= np.mean(held) <= 0.99


def test_batches_stay_few_and_lose_nothing() -> None:
    for count in (10, 63, 64, 65, 1000):
        values = np.random.default_rng(count).normal(100, 5, count)
        batches = batches_of(values)
        assert len(batches.middles) < AGENT.MOST_BATCHES  # type: ignore[attr-defined]
        kept = len(batches.middles) * batches.joined  # type: ignore[attr-defined]
        assert kept + len(batches.rest) == count  # type: ignore[attr-defined]
        assert np.mean(batches.middles) == pytest.approx(values[:kept].mean())  # type: ignore[attr-defined]


def test_few_batches_promise_nothing() -> None:
    assert batches_of(np.full(AGENT.LEAST_BATCHES - 1, 5.0)).relative_width() == np.inf  # type: ignore[attr-defined]
    assert batches_of(np.full(AGENT.LEAST_BATCHES, 5.0)).relative_width() == 0  # type: ignore[attr-defined]


def test_samples_that_hang_together_are_known_less_well() -> None:
    generator = np.random.default_rng(0)
    slow = np.repeat(generator.normal(10, 1, 40), 50)
    mixed = generator.permutation(slow)
    assert batches_of(slow).relative_width() > 3 * batches_of(mixed).relative_width()  # type: ignore[attr-defined]


LIMITS = {"min_runs": 30, "max_runs": 10**6, "min_seconds": 0.0}


def test_it_stops_where_the_precision_is_reached_and_not_before(tmp_path: Path) -> None:
    model = tiny_models.negative((1, 1000), 20)
    coarse = ask_agent(tmp_path, model, **LIMITS, max_seconds=20, precision=0.9)
    assert sum(coarse["steady_ns"]) < 5e9
    fine = ask_agent(tmp_path, model, **LIMITS, max_seconds=0.6, precision=1e-9)
    assert sum(fine["steady_ns"]) > 0.3e9
    few = ask_agent(tmp_path, model, **{**LIMITS, "max_runs": 50}, max_seconds=20, precision=1e-9)
    assert len(few["steady_ns"]) == 50


def test_a_precision_that_was_not_reached_is_told_with_the_limit_that_ended_it() -> None:
    spread = tuple(1_000_000 + index * 7919 % 1000 * 100 for index in range(300))
    found = replace(measure(tiny_models.negative(), plan_for(runs=2)), steady_ns=spread, warm_up_stable=True)

    def said(**limits: float) -> str:
        return " ".join(cautions(replace(found, plan=plan_for(**limits))))  # type: ignore[arg-type]

    assert "not to the 0.01% asked for; give a higher --seconds than 5" in said(seconds=5.0, precision=1e-4)
    assert "higher --runs than 300" in said(runs=300, precision=1e-4)
    assert "asked for" not in said(seconds=5.0, precision=0.5)


def test_with_a_precision_runs_and_seconds_are_the_most() -> None:
    plan = plan_for(runs=500, seconds=3.0, precision=0.01)
    assert (plan.min_runs, plan.max_runs, plan.min_seconds, plan.max_seconds) == (30, 500, 1.0, 3.0)
    assert plan_for(precision=0.01).max_seconds == 60.0
    with pytest.raises(InputError, match="precision"):
        measure_native(Path("m"), plan_for(precision=0.01), None, Path("t"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5%", 0.005), ("0.02", 0.02), (".5", 0.5)])
def test_a_share_is_in_percent_or_a_number(text: str, share: float) -> None:
    assert ShareType().convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "1", "100%", "-1%", "x", "1 %%", "nan", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="no share"):
        ShareType().convert(text, None, None)


def test_the_command_takes_a_precision(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.negative())
    result = CliRunner().invoke(command, [str(path), "--precision", "50%", "--runs", "100000", "--seconds", "5"])
    assert result.exit_code == 0, result.output
    assert "asked for" not in result.stderr
