"""Limits on measurements: what they are compared with, what is refused, and when a limit is exceeded."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import tiny_models
from msgspec.structs import replace

from edgekit.bench.baseline import (
    METRICS,
    NATIVE_METRICS,
    Measured,
    judge,
    judge_each,
    like,
    settings,
    together,
    unlike,
    values,
)
from edgekit.bench.plan import plan_for
from edgekit.bench.result import (
    Conditions,
    Fed,
    Measurement,
    ModelFile,
    NativeMeasurement,
    Phase,
    Phone,
    Printed,
    Results,
)
from edgekit.bench.run import measure
from edgekit.bench.statistics import Interval
from edgekit.errors import InputError
from edgekit.limit import Limit, parse_limit


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(tiny_models.negative(), plan_for(runs=5), name="build/m.tflite")


def timed(one: Measurement, middle: float, spread: float = 0.0, seed: int = 0, **changes: object) -> Measurement:
    """The measurement with 400 samples around `middle` seconds."""
    noise = np.random.default_rng(seed).uniform(-spread, spread, 400)
    steady = tuple(int(1e9 * middle * (1 + share)) for share in noise)
    return replace(one, steady_ns=steady, **changes)


def limit(text: str) -> Limit:
    return parse_limit(text, METRICS)


def outcome(new: Measured | list[Measured], text: str, *old: Measurement, force: bool = False) -> str:
    group = new if isinstance(new, list) else [new]
    (verdict,) = judge(group, [limit(text)], Results(old) if old else None, force)
    return verdict.outcome


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p50>+5%", "exceeded"),
        ("p50>+15%", "kept"),
        ("p50>+0.05ms", "exceeded"),
        ("p50>+0.2ms", "kept"),
        ("p50>1.05ms", "exceeded"),
        ("p50>2ms", "kept"),
        ("size>+0%", "kept"),
    ],
)
def test_a_tenth_slower_exceeds_a_twentieth(measured: Measurement, text: str, expected: str) -> None:
    assert outcome(timed(measured, 1.1e-3), text, timed(measured, 1e-3)) == expected


def test_what_the_intervals_leave_open_is_undecided(measured: Measurement) -> None:
    noisy, base = timed(measured, 1.05e-3, 0.3, seed=1), timed(measured, 1e-3, 0.3, seed=2)
    (verdict,) = judge([noisy], [limit("p50>+5%")], Results((base,)))
    assert verdict.outcome == "undecided"
    assert verdict.found.low < 0.05 < verdict.found.high
    assert verdict.baseline == pytest.approx(1e-3, rel=0.1)


def test_processes_that_differ_widen_the_interval(measured: Measurement) -> None:
    """Alone each process is sure of its own time; together they know that they are not."""
    base, slow = timed(measured, 1e-3, seed=1), timed(measured, 1.4e-3, seed=2)
    assert outcome(slow, "p50>+5%", base) == "exceeded"
    assert outcome([slow, timed(measured, 1e-3)], "p50>+5%", base) == "undecided"
    assert outcome(slow, "p50>+5%", base, timed(measured, 1.4e-3)) == "undecided"


def test_a_baseline_of_six_processes_has_the_interval_of_order_statistics() -> None:
    several = [{"p50": Interval(value, value / 2, value * 2)} for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert together(several[:5])["p50"] == Interval(3.0, 0.5, 10.0)
    assert together(several)["p50"] == Interval(3.5, 1.0, 6.0)


def test_a_file_compared_with_itself_is_rarely_accused(measured: Measurement) -> None:
    """Processes of one file with a spread of 2 % between them; the limit is the truth itself."""
    generator = np.random.default_rng(0)
    accused = 0
    for trial in range(16):
        middles = 1e-3 * generator.normal(1, 0.02, 10)
        sides = [timed(measured, float(middle), 0.05, seed=trial) for middle in middles]
        accused += outcome(list(sides[:5]), "p50>+0%", *sides[5:]) == "exceeded"
    assert accused <= 1


def test_the_model_is_found_by_name_then_by_file_name_then_by_checksum(measured: Measurement) -> None:
    other = ModelFile("old/m.tflite", "0" * 64, 5)
    exact = replace(measured, model=replace(measured.model, sha256="1" * 64))
    moved, renamed = replace(measured, model=other), replace(measured, model=replace(measured.model, name="x.tflite"))
    assert like(measured, Results((renamed, moved, exact))) == [exact]
    assert like(measured, Results((renamed, moved))) == [moved]
    assert like(measured, Results((renamed,))) == [renamed]
    with pytest.raises(InputError, match="not in the baseline"):
        like(measured, Results((replace(measured, model=ModelFile("b.tflite", "0" * 64, 5)),)))
    with pytest.raises(InputError, match=r"fits a/m\.tflite, old/m\.tflite"):
        like(measured, Results((moved, replace(measured, model=ModelFile("a/m.tflite", "2" * 64, 5)))))


def test_the_same_device_is_preferred(measured: Measurement) -> None:
    there = replace(measured, device="ssh://pi")
    assert like(measured, Results((there, measured))) == [measured]
    moved = replace(measured, model=ModelFile("old/m.tflite", "0" * 64, 5))
    assert like(measured, Results((there, moved))) == [moved], "under another path, too"


def test_what_cannot_be_judged_on_one_device_takes_no_other_verdict_away(measured: Measurement) -> None:
    slow = timed(measured, 1.2e-3)
    fleet = [replace(slow, device=name) for name in ("pi1", "pi2", "pi3")]
    base = [replace(timed(measured, 1e-3), device=name) for name in ("pi1", "pi3")]
    verdicts, faults = judge_each(fleet, [limit("p50>+5%")], Results(tuple(base)))
    assert [(one.device, one.outcome) for one in verdicts] == [("pi1", "exceeded"), ("pi3", "exceeded")]
    (fault,) = faults
    assert fault.problem == "build/m.tflite: the baseline has nothing of pi2, only of pi1, pi3"
    assert "edgekit results merge" in fault.mend


def test_a_limit_that_cannot_be_judged_takes_no_other_one_away(measured: Measurement) -> None:
    slow, known = timed(measured, 1.2e-3), timed(measured, 1e-3)
    limits = [limit("p50>+5%"), limit("p90>1ms"), limit("p50>5s")]
    verdicts, faults = judge_each([slow], limits, Results((known,)))
    assert ([one.outcome for one in verdicts], faults) == (["exceeded", "exceeded", "kept"], ())
    points = slow.memory
    flat = replace(points, first=replace(points.first, anonymous_bytes=points.imported.anonymous_bytes))
    limits_of_memory = [limit("p50>+5%"), limit("anonymous>+5%"), limit("p90>1ms")]
    verdicts, faults = judge_each([slow], limits_of_memory, Results((replace(known, memory=flat),)))
    assert [one.limit.text for one in verdicts] == ["p50>+5%", "p90>1ms"]
    assert [fault.problem.partition(":")[0] for fault in faults] == ["build/m.tflite on local"]
    verdicts, faults = judge_each([replace(slow, device="pi9")], limits, Results((known,)))
    assert [(one.limit.text, one.outcome) for one in verdicts] == [("p90>1ms", "exceeded"), ("p50>5s", "kept")]
    (fault,) = faults
    assert "nothing of pi9" in fault.problem


def test_measurements_of_unlike_settings_are_judged_apart(measured: Measurement) -> None:
    """As a file has them that was joined from several: their times are not those of one plan in several processes."""
    pair = [timed(measured, 1e-3), timed(measured, 4e-4, plan=plan_for(runs=5, threads=4))]
    verdicts = judge(pair, [limit("p50>+5%")], Results(tuple(pair)))
    assert [(one.processes, one.found.value) for one in verdicts] == [(1, 0.0), (1, 0.0)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"device": "ssh://pi"}, "the baseline has nothing of local, only of ssh://pi"),
        ({"plan": plan_for(runs=5, threads=4)}, "threads 4, now 1"),
        ({"plan": plan_for(runs=5, xnnpack=False)}, "xnnpack False, now True"),
        ({"plan": plan_for(runs=5, seed=3)}, "seed 3, now 0"),
        ({"plan": plan_for(runs=5, cpus=(0,))}, "cpus 0, now none"),
        ({"fed": Fed("data", 9, "5" * 64, "digits.npz")}, "inputs 9 given, 555.*, now random"),
        ({"inputs": ()}, "input shapes none, now 1x4"),
    ],
)
def test_unlike_settings_are_refused_unless_forced(measured: Measurement, change: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        like(measured, Results((replace(measured, **change),)))
    assert like(measured, Results((replace(measured, **change),)), force=True)


def test_machine_and_runtime_belong_to_the_settings(measured: Measurement) -> None:
    board = replace(
        measured, machine=replace(measured.machine, board="Pi 5"), runtime=replace(measured.runtime, version="1")
    )
    assert unlike(measured, board) == [
        f"runtime {measured.runtime.name} 1, now {measured.runtime.name} {measured.runtime.version}",
        "board Pi 5, now none",
    ]


def test_how_long_was_measured_does_not(measured: Measurement) -> None:
    assert unlike(measured, replace(measured, plan=plan_for(seconds=9.0))) == []


def test_every_setting_of_a_plan_counts_unless_it_is_about_time(measured: Measurement) -> None:
    counted = {name.replace(" ", "_") for name in settings(measured)}
    assert {"threads", "xnnpack", "seed", "cpus", "delegate", "with_io", "inputs"} <= counted
    assert not {"min_runs", "max_runs", "min_seconds", "max_seconds", "warm_up", "precision"} & counted


def test_every_metric_has_a_value_and_percentiles_rise(measured: Measurement) -> None:
    found = values(measured)
    assert set(found) == set(METRICS)
    assert found["p50"].value <= found["p90"].value <= found["p99"].value
    assert found["size"].value == measured.model.file_bytes


def test_a_change_needs_a_baseline_and_a_share_something_to_be_a_share_of(measured: Measurement) -> None:
    with pytest.raises(InputError, match="there is no baseline"):
        judge([measured], [limit("p90>+5%")])
    points = measured.memory
    flat = replace(points, first=replace(points.first, anonymous_bytes=points.imported.anonymous_bytes))
    with pytest.raises(InputError, match="a share of 0 says nothing"):
        judge([measured], [limit("anonymous>+5%")], Results((replace(measured, memory=flat),)))


def test_what_the_native_tool_does_not_print_cannot_be_limited(measured: Measurement) -> None:
    nothing = Conditions(None, None, None, None)
    phase = Phase(50, 1e-3, 1e-3, 1e-3, None, median_seconds=1.1e-3)
    native = NativeMeasurement(
        model=measured.model,
        device="adb://1",
        plan=measured.plan,
        started="",
        edgekit="1",
        tool_sha256="0" * 64,
        phone=Phone(*[None] * len(Phone.__struct_fields__)),
        before=nothing,
        after=nothing,
        printed=Printed(0.1, 0.2, phase, phase, None, None, None, None),
    )
    assert set(values(native)) == set(NATIVE_METRICS)
    assert outcome(native, "p50>1ms") == "exceeded"
    with pytest.raises(InputError, match="no p90 was measured"):
        judge([native], [limit("p90>1ms")])
    older = replace(native, printed=replace(native.printed, steady=replace(phase, median_seconds=None)))
    with pytest.raises(InputError, match="the baseline has no p50"):
        judge([native], [limit("p50>+1%")], Results((), (older,)))
    with pytest.raises(InputError, match="by benchmark_model, for the baseline by edgekit's agent"):
        like(native, Results((measured,)))
    (verdict,) = judge([native], [limit("p50>+1%")], Results((), (native,)))
    assert (verdict.outcome, verdict.found.value) == ("kept", 0.0)


def test_a_verdict_is_json(measured: Measurement) -> None:
    verdicts = judge([measured], [limit("p50>+5%")], Results((measured,)))
    (told,) = msgspec.json.decode(msgspec.json.encode(verdicts))
    assert told["limit"]["text"] == "p50>+5%"
    assert told["outcome"] in ("kept", "undecided")
    assert told["baseline"] == told["measured"]
