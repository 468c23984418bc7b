"""What the agent reads of a machine, on pretended trees of /sys and /proc: a Pi that throttles, a phone, nothing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from test_agent import AGENT, measure

CORES = (0, 3)


def load_agent() -> Any:
    spec = importlib.util.spec_from_file_location("agent_read_alone", AGENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load_agent()
    monkeypatch.setattr(module, "usable_cores", lambda: list(CORES))
    return module


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return f"{root}/"


def scaling(core: int, governor: str, now: int) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_"
    values = {"governor": governor, "cur_freq": str(now), "min_freq": "600000", "max_freq": "1800000"}
    return {folder + name: text for name, text in values.items()}


PI = {
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    "sys/class/thermal/thermal_zone0/temp": "81234",
    "sys/class/thermal/thermal_zone1/temp": "47000",
    "sys/class/thermal/cooling_device0/temp": "99000",
    "proc/meminfo": "MemTotal:  3884000 kB\nMemAvailable:  1000 kB",
    "proc/pressure/cpu": "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 total=0",
    **scaling(0, "performance", 1800000),
    **scaling(3, "ondemand", 700000),
}


def test_a_pi_that_throttles(agent: Any, tmp_path: Path) -> None:
    found = agent.conditions(tree(tmp_path, PI))
    limits = {"lowest_hz": 600_000_000, "highest_hz": 1_800_000_000}
    assert found["frequencies"] == [
        {"core": 0, "current_hz": 1_800_000_000, **limits},
        {"core": 3, "current_hz": 700_000_000, **limits},
    ]
    assert found["throttled"] == 0x50005
    assert found["temperature_celsius"] == 81.234
    assert found["governor"] == "ondemand"
    assert found["memory_available_bytes"] == 1000 * 1024
    assert found["cpu_pressure"] == 12.5
    assert found["power"] is None


@pytest.mark.parametrize(
    ("files", "power"),
    [
        ({"BAT0/status": "Discharging", "AC/online": "1"}, "battery"),
        ({"BAT0/status": "Charging", "AC/online": "1"}, "mains"),
        ({"BAT0/status": "Full", "usb/online": "1"}, "mains"),
        ({"AC/online": "0"}, None),
        ({}, None),
    ],
)
def test_the_source_of_power(agent: Any, tmp_path: Path, files: dict[str, str], power: str | None) -> None:
    root = tree(tmp_path, {f"sys/class/power_supply/{name}": text for name, text in files.items()})
    assert agent.power(root) == power


def test_a_machine_that_tells_nothing(agent: Any, tmp_path: Path) -> None:
    found = agent.conditions(tree(tmp_path, {}))
    del found["load_average"]
    assert found.pop("frequencies") == []
    assert set(found.values()) == {None}


def test_the_kernel_of_a_newer_pi_names_its_chip_otherwise(agent: Any, tmp_path: Path) -> None:
    chip = "sys/devices/platform/soc@107c000000"
    assert agent.throttled(tree(tmp_path, {f"{chip}/soc@107c000000:firmware/get_throttled": "80000"})) == 0x80000


@pytest.mark.parametrize("text", ["garbage", "", "0x", "-"])
def test_a_word_of_throttling_that_is_none_is_left_out(agent: Any, tmp_path: Path, text: str) -> None:
    assert agent.throttled(tree(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": text})) is None


def test_vcgencmd_is_asked_where_the_kernel_does_not_tell(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x80008\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert agent.throttled(f"{tmp_path}/") == 0x80008
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert agent.throttled(f"{tmp_path}/") is None


def stat(busy: int, stolen: int) -> dict[str, str]:
    rows = {0: f"{busy} 1 2 900 5 3 4 {stolen} 77 0", 3: "10 0 0 500 0 0 0 0 0 0", 1: "999999 0 0 0 0 0 0 999 0 0"}
    return {"proc/stat": "\n".join(["cpu  1 2 3 4", *(f"cpu{core} {row}" for core, row in rows.items()), "intr 1 2"])}


def test_the_time_of_the_cores_is_that_of_the_cores_used(agent: Any, tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    watch = agent.Watch(tree(tmp_path, stat(100, 0)))
    tree(tmp_path, stat(100 + 3 * tick, tick))
    found = watch.processor()
    assert (found["busy_seconds"], found["stolen_seconds"], found["cores"]) == (3.0, 1.0, 2)
    assert 0 <= found["own_seconds"] <= found["seconds"] + 0.1
    assert agent.Watch(tree(tmp_path / "none", {})).processor() is None


def test_a_timeline_follows_the_heat_and_stays_short(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(agent.time, "perf_counter", lambda: now[0])
    watch = agent.Watch(tree(tmp_path, PI))
    for second in range(500):
        now[0] = second * 0.5
        tree(tmp_path, {"sys/class/thermal/thermal_zone0/temp": str(50_000 + second)})
        watch.look(runs=second * 10)
    rows = watch.looks
    assert agent.MOST_LOOKS / 4 <= len(rows) < agent.MOST_LOOKS
    first = {"temperature_celsius": 50.0, "frequency_hz": 1_800_000_000, "throttled": 0x50005}
    assert rows[0] == {"seconds": 0.0, "runs": 0, **first}
    heat = [row["temperature_celsius"] for row in rows]
    assert heat == sorted(heat)
    assert rows[-1]["seconds"] > 240
    steps = [later["seconds"] - earlier["seconds"] for earlier, later in pairwise(rows)]
    assert min(steps) >= agent.LOOK_SECONDS


def test_nothing_is_noted_where_nothing_can_be_read(agent: Any, tmp_path: Path) -> None:
    watch = agent.Watch(tree(tmp_path, {}))
    watch.look(0)
    assert watch.looks == []


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the time of the cores is read from /proc/stat")
def test_another_process_on_the_measured_core_is_seen(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, [{core}])\nprint(1, flush=True)\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        limits = {"min_runs": 1, "max_runs": 10**6, "min_seconds": 0.6, "max_seconds": 0.6}
        seen = measure(tmp_path, tiny_models.negative(), cpus=[core], **limits)["processor"]
    finally:
        other.kill()
        other.communicate()
    assert seen["cores"] == 1
    assert seen["busy_seconds"] - seen["own_seconds"] > 0.2 * seen["seconds"]


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def perf_counter(self) -> float:
        return self.now / 1e9

    process_time = perf_counter

    def run(self) -> None:
        """One run, of a millisecond."""
        self.now += 1_000_000


def test_looking_between_runs_changes_neither_their_number_nor_their_limits(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(agent, "time", clock)
    monkeypatch.setattr(agent, "LOOK_SECONDS", 0.01)
    rule = {"min_runs": 700, "max_runs": 700, "min_seconds": 0, "max_seconds": 60}
    watch = agent.Watch(tree(tmp_path, PI))
    assert list(agent.steady(clock.run, rule, watch)) == [1_000_000] * 700
    assert len(agent.steady(clock.run, {**rule, "max_seconds": 0}, watch)) < 700
    timely = {"min_runs": 1, "max_runs": 10**9, "min_seconds": 0.05, "max_seconds": 10}
    assert len(agent.steady(clock.run, timely, watch)) == 50
    assert len(watch.looks) >= 5
