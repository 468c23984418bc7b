"""What disturbed a measurement, each rule alone on an otherwise calm one, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner
from msgspec.structs import replace

from edgekit.bench.describe import Description
from edgekit.bench.disturbances import calmest, cautions, disturbances, passing, warnings
from edgekit.bench.plan import Delegate, Plan, plan_for
from edgekit.bench.result import Conditions, Delegation, Fed, Look, Measurement, ProcessorTime, Results, Tensor
from edgekit.bench.run import measure
from edgekit.cli import benchmark, devices
from edgekit.cli.benchmark_gates import refuse_disturbed
from edgekit.errors import GateError

CALM = Conditions(0.0, "performance", None, None)
ALONE = ProcessorTime(1.0, 2, busy_seconds=1.0, own_seconds=1.0, stolen_seconds=0.0)
STEADY = tuple(1_000_000 + index % 7 * 100 for index in range(300))


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(tiny_models.negative(), plan_for(seconds=0.02))


@pytest.fixture
def calm(measured: Measurement) -> Measurement:
    """The measurement as a calm device would have given it: 1 ms, hardly any spread."""
    calm = {"steady_ns": STEADY, "warm_up_stable": True, "before": CALM, "after": CALM, "processor": ALONE}
    memory = replace(measured.memory, end=measured.memory.first)
    return replace(measured, timeline=(), plan=Plan(), memory=memory, **calm)


def at(**changes: Any) -> Conditions:
    return replace(CALM, **changes)


def clocks(*megahertz: int) -> dict[str, Any]:
    return {"timeline": tuple(Look(float(index), index, 50.0, value * 10**6) for index, value in enumerate(megahertz))}


def test_a_calm_measurement_has_no_warning(calm: Measurement) -> None:
    assert warnings(calm) == ()
    assert warnings(replace(calm, before=at(throttled=0, power="mains"), **clocks(1500, 1480, 1500))) == ()


OPEN = Tensor("open", None, "float32", (-1, -1, 3), None, None)
BATCHED = Tensor("batched", None, "float32", (-1, 3), None, None)
DRIFTING = tuple(int(1e6 * (1 + index / 1000)) for index in range(300))
BURSTS = tuple(5_000_000 if index % 50 == 0 else 1_000_000 for index in range(300))


@pytest.mark.parametrize(
    ("changes", "words", "passes"),
    [
        ({"before": at(governor="powersave")}, "performance | sudo tee /sys/devices/system/cpu", False),
        ({"after": at(power="battery")}, "plug it in", False),
        ({"before": at(throttled=0x1)}, "reports under-voltage; ", True),
        ({"after": at(throttled=0x6)}, "frequency capped, throttled", True),
        ({"before": at(throttled=0x10000), "after": at(throttled=0x90000)}, "reports the soft limit", True),
        ({"timeline": (Look(0.0, 0, 80.0, None, 0x50002),)}, "reports the processor's frequency capped; ", True),
        (clocks(1500, 1500, 1500, 600), "fell from 1500 to 600 MHz", True),
        (clocks(1500, 1000), "fell from 1500 to 1000 MHz", True),
        ({"processor": replace(ALONE, busy_seconds=1.8)}, "other work used 40% of the 2 cores", True),
        ({"processor": ProcessorTime(1.0, 1, 1.0, 0.6, 0.0)}, "other work used 40% of the core measured", True),
        ({"processor": replace(ALONE, stolen_seconds=0.1)}, "took 5%", True),
        ({"processor": None, "before": at(load_average=1000.0)}, "load was 1000.0", True),
        ({"steady_ns": DRIFTING}, "was 14% slower than the first", True),
        ({"steady_ns": DRIFTING[::-1]}, "was 12% faster than the first", True),
        ({"steady_ns": BURSTS}, "more than twice the median", True),
    ],
)
def test_each_disturbance_is_named_with_its_mend(
    calm: Measurement, changes: dict[str, Any], words: str, passes: bool
) -> None:
    (found,) = disturbances(replace(calm, **changes))
    assert words in found
    assert "; " in found or "`" in found
    assert bool(passing(replace(calm, **changes))) is passes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steady_ns": (1_000_000,) * 8, "plan": plan_for(runs=8)}, "give a higher --runs than 8"),
        ({"steady_ns": (1_000_000,) * 8, "plan": plan_for(seconds=2)}, "give a higher --seconds than 2"),
        ({"warm_up_stable": False}, "let the device settle, and run again"),
        ({"steady_ns": (300,) * 300}, "a step of the clock"),
        ({"plan": Plan(threads=1024)}, "lower --threads"),
        ({"delegate_partitions": 0}, "took no operator"),
        ({"inputs": (OPEN, BATCHED)}, "open dimensions were run as 1: open; give samples of the true size"),
        ({"before": at(throttled=0x50000), "after": at(throttled=0x50000)}, "had under-voltage, throttled, though"),
        (
            {"plan": Plan(delegate=Delegate("d.so")), "delegations": (Delegation("d.so", 1, 0, 0, {"NEG": 1}),)},
            "d.so took no operator: all ran on the CPU",
        ),
    ],
)
def test_each_caution_knows_what_was_asked(calm: Measurement, changes: dict[str, Any], words: str) -> None:
    (found,) = warnings(replace(calm, **changes))
    assert words in found
    assert cautions(replace(calm, **changes)) == (found,)


def test_samples_have_their_true_size(calm: Measurement) -> None:
    assert warnings(replace(calm, inputs=(OPEN,), fed=Fed("data", 9, "5" * 64, "digits.npz"))) == ()


def test_a_run_too_short_for_the_clock_of_the_cores_is_judged_by_the_load(calm: Measurement) -> None:
    short = replace(ALONE, seconds=0.05, busy_seconds=0.1)
    assert disturbances(replace(calm, processor=short)) == ()
    assert disturbances(replace(calm, processor=short, before=at(load_average=99.0)))


def test_memory_that_grows_while_running_is_told(calm: Measurement) -> None:
    first = calm.memory.first
    later = replace(first, anonymous_bytes=(first.anonymous_bytes or 0) + 2**24)
    grown = replace(calm, memory=replace(calm.memory, end=later))
    assert any("memory grew by 16.0 MiB" in warning for warning in cautions(grown))


def test_a_disturbed_run_is_repeated_and_the_calmest_kept(calm: Measurement) -> None:
    noisy = replace(calm, steady_ns=BURSTS)
    hot = replace(noisy, after=at(throttled=1))

    def taking(*runs: Measurement) -> Iterator[Measurement]:
        yield from runs

    assert calmest(taking(calm).__next__, 5).attempts == 1
    assert calmest(taking(hot, noisy, hot).__next__, 2) == replace(noisy, attempts=3)
    assert calmest(taking(hot, calm).__next__, 5) == replace(calm, attempts=2)
    assert calmest(taking(hot).__next__, 0) == replace(hot, attempts=1)


def test_what_lasts_is_not_repeated(calm: Measurement) -> None:
    slow = replace(calm, before=at(governor="powersave"))
    assert calmest(iter([slow]).__next__, 5) == slow


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    return str(tmp_path / "m.tflite")


def test_strict_refuses_what_was_disturbed_after_showing_it(
    calm: Measurement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    taken = iter([replace(calm, before=at(throttled=1)), calm, calm])
    monkeypatch.setattr(benchmark, "measure", lambda *arguments, **words: next(taken))
    refused = CliRunner().invoke(benchmark.command, [model, "--strict", "--json", "-o", str(tmp_path / "r.json")])
    assert isinstance(refused.exception, GateError)
    assert "under-voltage" in refused.exception.problem
    assert "--retries" in refused.exception.mend
    (row,) = json.loads(refused.stdout)["rows"]
    assert "under-voltage" in row["disturbances"][0]
    assert (tmp_path / "r.json").exists()
    assert CliRunner().invoke(benchmark.command, [model, "--strict", "--json"]).exit_code == 0


def test_what_no_repetition_mends_is_not_to_be_repeated(calm: Measurement) -> None:
    with pytest.raises(GateError, match="governor is 'ondemand'") as error:
        refuse_disturbed(Results((replace(calm, before=at(governor="ondemand")),)))
    assert error.value.mend == "do what is said there and run again"


def test_the_command_repeats_what_was_disturbed(calm: Measurement, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    taken = iter([replace(calm, steady_ns=BURSTS), calm])
    monkeypatch.setattr(benchmark, "measure", lambda *arguments, **words: next(taken))
    result = CliRunner().invoke(benchmark.command, [model, "--strict", "--retries", "3", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"][0]["attempts"] == 2


def test_results_written_before_conditions_were_recorded_are_read(measured: Measurement) -> None:
    data = json.loads(Results((measured,)).to_json())
    (one,) = data["measurements"]
    for key in ("timeline", "processor", "cpus", "delegations", "attempts", "fed"):
        del one[key]
    for state in (one["before"], one["after"]):
        for key in ("frequencies", "throttled", "power", "memory_available_bytes", "cpu_pressure"):
            del state[key]
    for key in ("cpus", "delegate", "precision", "with_io"):
        del one["plan"][key]
    (found,) = Results.from_json(json.dumps(data).encode()).measurements
    assert found.steady_ns == measured.steady_ns
    assert (found.timeline, found.processor, found.attempts) == ((), None, 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Conditions, {"throttled": -1}),
        (Conditions, {"throttled": 2**32}),
        (Conditions, {"power": "sun"}),
        (Conditions, {"cpu_pressure": 101}),
        (Conditions, {"frequencies": [{"core": -1, "current_hz": 1, "lowest_hz": None, "highest_hz": None}]}),
        (ProcessorTime, {"cores": 0}),
        (ProcessorTime, {"own_seconds": -1}),
    ],
)
def test_a_state_that_cannot_be_is_not_believed(kind: Any, value: dict[str, Any]) -> None:
    good = msgspec.to_builtins(CALM if kind is Conditions else ALONE)
    assert msgspec.convert(good, kind)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | value, kind)


@pytest.mark.parametrize("delegate", [None, Delegate("d.so")])
def test_a_demand_that_was_made_is_not_advised(measured: Measurement, delegate: Delegate | None) -> None:
    nothing = Delegation("d.so", 1, 0, 0, {"NEG": 1})
    plan = replace(measured.plan, delegate=delegate)
    lazy = replace(measured, plan=plan, delegate_partitions=0, delegations=(nothing,))
    told, demanded = (
        [words for words in warnings(lazy, demand) if "took no operator" in words] for demand in (False, True)
    )
    assert "--require-delegate any makes this an error" in told[0]
    assert demanded == [told[0].partition("; --require")[0]]


def test_a_check_of_a_device_tells_a_small_system_on_a_large_kernel(measured: Measurement) -> None:
    def shown(architecture: str, bits: int | None) -> str:
        machine = replace(measured.machine, architecture=architecture)
        found = Description(machine, (measured.runtime,), measured.before)
        return devices._render_check(devices.Checked("pi", found, bits=bits))

    assert "architecture  aarch64, 32-bit system\n" in shown("aarch64", 32)
    for architecture, bits in (("aarch64", 64), ("armv7l", 32), ("x86_64", None)):
        assert f"architecture  {architecture}\n" in shown(architecture, bits)


def test_a_check_of_a_device_says_whether_it_is_throttled_now(measured: Measurement) -> None:
    def shown(state: Conditions) -> list[str]:
        found = Description(measured.machine, (measured.runtime,), state)
        return devices._render_check(devices.Checked("pi", found)).splitlines()

    assert "throttled     under-voltage, throttled" in shown(at(throttled=0xF0005))
    assert "throttled     no" in shown(at(throttled=0xF0000))
    assert {"throttled     -", "power         battery"} <= set(shown(at(power="battery")))
