"""Energy by the meters of a machine, on pretended trees of /sys: which is taken, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner
from test_agent import measure
from test_agent_conditions import load_agent, tree

from edgekit.bench.plan import plan_for
from edgekit.bench.result import Energy
from edgekit.bench.run import measure as measured
from edgekit.bench.statistics import summarize
from edgekit.cli.benchmark import Report as BenchmarkReport
from edgekit.cli.benchmark import command, render, row_of
from edgekit.errors import InputError

MONITOR = {"sys/class/hwmon/hwmon1/name": "ina226", "sys/class/hwmon/hwmon1/power1_input": "2500000"}
RAPL = {
    "sys/class/powercap/intel-rapl:0/energy_uj": "900",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "5",
}
BATTERY = {"sys/class/power_supply/BAT0/status": "Discharging", "sys/class/power_supply/BAT0/power_now": "7000000"}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load_agent()
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    return module


@pytest.mark.parametrize(
    ("files", "ending", "counts"),
    [
        (MONITOR | RAPL | BATTERY, "hwmon1/power1_input", False),
        (RAPL | BATTERY, "intel-rapl:0/energy_uj", True),
        (BATTERY, "BAT0/power_now", False),
    ],
)
def test_the_meter_that_sees_most_is_taken(
    agent: Any, tmp_path: Path, files: dict[str, str], ending: str, counts: bool
) -> None:
    found = agent.find_meter(None, tree(tmp_path, files))
    assert found.path.endswith(ending)
    assert found.counts is counts


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"sys/class/hwmon/hwmon0/name": "cpu_thermal", "sys/class/hwmon/hwmon0/power1_input": "1"},
        {"sys/class/power_supply/BAT0/status": "Charging", "sys/class/power_supply/BAT0/power_now": "1"},
        {"sys/class/hwmon/hwmon0/name": "ina219", "sys/class/hwmon/hwmon0/power1_input": "unknown"},
    ],
)
def test_where_nothing_tells_there_is_no_meter(agent: Any, tmp_path: Path, files: dict[str, str]) -> None:
    assert agent.find_meter(None, tree(tmp_path, files)) is None


def test_a_counter_is_read_at_both_ends_and_may_turn_over(agent: Any, tmp_path: Path) -> None:
    meter = agent.find_meter(None, tree(tmp_path, RAPL))
    for value in ("990", "40", "90"):
        tree(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": value})
        meter.look()
    found = meter.stop()
    assert found["joules"] == pytest.approx(190e-6)
    assert found["readings"] == 5


def test_power_is_the_mean_of_its_readings_times_the_time(agent: Any, tmp_path: Path) -> None:
    meter = agent.find_meter(None, tree(tmp_path, MONITOR))
    tree(tmp_path, {"sys/class/hwmon/hwmon1/power1_input": "3500000"})
    found = meter.stop()
    assert found["joules"] == pytest.approx(3.0 * found["seconds"])
    assert agent.idle_watts(meter) == pytest.approx(3.5)


def test_a_measurement_has_the_energy_of_its_steady_runs(tmp_path: Path) -> None:
    (tmp_path / "meter").write_text("4000000\n")
    found = measure(tmp_path, tiny_models.sum_and_difference(), meter=f"{tmp_path}/meter=uW")["energy"]
    assert found["meter"] == f"{tmp_path}/meter"
    assert found["joules"] == pytest.approx(4.0 * found["seconds"])
    assert found["idle_watts"] == pytest.approx(4.0)


def test_a_meter_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    model = tiny_models.sum_and_difference()
    with pytest.raises(InputError, match="no whole number") as caught:
        measured(model, plan_for(runs=3, meter=f"{tmp_path}/none=uJ"))
    assert "--meter" in caught.value.mend


def test_the_share_above_idle_is_told_a_run(tmp_path: Path) -> None:
    (tmp_path / "meter").write_text("2000000\n")
    found = measured(tiny_models.sum_and_difference(), plan_for(runs=20, meter=f"{tmp_path}/meter=uW"))
    assert found.energy is not None
    assert found.energy.joules == pytest.approx(2.0 * found.energy.seconds)
    assert found.energy.idle_share == pytest.approx(1)
    known = msgspec.structs.replace(found, energy=Energy("/run/meter", 3.0, 1.0, 2, 1.0))
    summary, runs = summarize(known), len(found.steady_ns)
    assert summary.joules == pytest.approx(3.0 / runs)
    assert summary.above_idle_joules == pytest.approx(2.0 / runs)
    shown = render(BenchmarkReport((row_of(known),)))
    assert "33% of it the idle 1 W, by /run/meter (2 readings)" in shown
    assert "by /run/meter" not in render(BenchmarkReport((row_of(msgspec.structs.replace(known, energy=None)),)))


@pytest.mark.parametrize("text", ["meter", "meter=uJ", "/run/meter", "/run/meter=mW"])
def test_a_word_that_is_no_meter_is_wrong_usage(text: str) -> None:
    done = CliRunner().invoke(command, ["model.tflite", "--meter", text])
    assert done.exit_code == 2
    assert "is no meter" in done.output
