"""Hold measurements against limits, and against those of a baseline: a gate for builds.

A limit is exceeded only if the whole interval is beyond it, kept if none of it is, and undecided otherwise. A change
goes from the new interval's low end against the old one's high end to the reverse: it holds the truth at least as often
as in 90 of 100 (Bonferroni), and nearer to 99 of 100 where the two are independent.

The interval of one process's percentile knows the noise within that process only, while two processes with the same
file can differ by far more. So a model should be measured in several, on both sides: up to five together have the
envelope of their intervals; six or more values, one a process, have the interval of order statistics of their median.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from edgekit.bench.result import Measurement, NativeMeasurement, Results
from edgekit.bench.statistics import Interval, median_interval, summarize
from edgekit.errors import InputError, did_you_mean
from edgekit.limit import BYTES, SECONDS, Limit, Outcome, Units

Measured = Measurement | NativeMeasurement

METRICS: dict[str, Units] = {
    **dict.fromkeys(("p50", "p90", "p99", "load", "first"), SECONDS),
    **dict.fromkeys(("peak", "anonymous", "file", "size"), BYTES),
}
_KEYS: tuple[Callable[[Measured], str], ...] = (
    lambda one: one.model.name,
    lambda one: Path(one.model.name).name,
    lambda one: one.model.sha256,
)
_ENOUGH = 6  # from here on the interval of order statistics reaches 95 %
_HOW_LONG = {"min_runs", "max_runs", "min_seconds", "max_seconds", "warm_up", "precision", "runtime", "meter"}
_MACHINE = ("board", "processor", "architecture", "system", "cores", "usable_cores")
NATIVE_METRICS = ("p50", "load", "first", "size")  # what is known from benchmark_model
_PHONE = ("model", "soc", "android", "architecture", "cores")


class Verdict(Struct, frozen=True):
    """One limit on one model: `found` is what the limit speaks of, the value or its change against `baseline`.

    In seconds or bytes, a change in per cent as a share (0.05). Low, value and high are the same where nothing is
    known about the spread.
    """

    model: str
    device: str
    limit: Limit
    outcome: Outcome
    found: Interval
    measured: float
    baseline: float | None
    processes: int = 1
    baseline_processes: int = 0


def judge(
    measured: Sequence[Measured], limits: Sequence[Limit], baseline: Results | None = None, force: bool = False
) -> tuple[Verdict, ...]:
    """Every limit on every measurement. `force` compares also what was measured under unlike settings.

    Raises InputError for a change without a baseline, a model that is not in it, unlike settings, or a metric that a
    measurement does not have.
    """
    verdicts, faults = judge_each(measured, limits, baseline, force)
    if faults:
        raise faults[0]
    return verdicts


def judge_each(
    measured: Sequence[Measured], limits: Sequence[Limit], baseline: Results | None = None, force: bool = False
) -> tuple[tuple[Verdict, ...], tuple[InputError, ...]]:
    """As `judge`, but a limit that cannot be held against a measurement stops no other: its error is given back.

    Raises InputError for a change without a baseline.
    """
    if baseline is None:
        refuse_changes(limits)
    groups: dict[tuple[str, ...], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.model.name, one.model.sha256, str(settings(one))), []).append(one)
    found = [one for group in groups.values() for one in _judged(group, limits, baseline, force)]
    verdicts = tuple(one for one in found if isinstance(one, Verdict))
    return verdicts, tuple(one for one in found if isinstance(one, InputError))


def refuse_changes(limits: Sequence[Limit]) -> None:
    """Raise InputError if one of the limits is a change, because there is nothing to compare with."""
    for limit in limits:
        if limit.needs_baseline:
            raise InputError(f"{limit.text!r} is a change, and there is no baseline", "give --baseline results.json")


def _judged(
    group: Sequence[Measured], limits: Sequence[Limit], baseline: Results | None, force: bool
) -> Iterator[Verdict | InputError]:
    """Verdicts, and once why there is nothing to compare with; a limit without a baseline needs none."""
    one, new, same = group[0], together(list(map(values, group))), []
    try:
        same = like(one, baseline, force) if baseline else []
    except InputError as fault:
        if any(limit.needs_baseline for limit in limits):
            yield fault
        limits = [limit for limit in limits if not limit.needs_baseline]
    old = together(list(map(values, same)))
    for limit in limits:
        try:
            _refuse_unmeasured(limit, new, old)
            found = verdict_on(one.model.name, one.device, limit, new[limit.metric], old.get(limit.metric))
        except InputError as fault:
            yield InputError(f"{one.model.name} on {one.device}: {fault.problem}", fault.mend)
        else:
            yield msgspec.structs.replace(found, processes=len(group), baseline_processes=len(same))


def _refuse_unmeasured(limit: Limit, new: Mapping[str, Interval], old: Mapping[str, Interval]) -> None:
    if limit.metric not in new:
        raise InputError(f"no {limit.metric} was measured", f"limit one of {', '.join(new)}")
    if limit.needs_baseline and limit.metric not in old:
        both = ", ".join(name for name in new if name in old)
        raise InputError(f"the baseline has no {limit.metric}", f"measure the baseline again, or limit one of {both}")


def verdict_on(model: str, device: str, limit: Limit, new: Interval, old: Interval | None) -> Verdict:
    """A limit on a value, and on its change against `old`, which must be there for a limit that speaks of one."""
    found = change(limit, new, old)
    return Verdict(
        model, device, limit, limit.judge(found.low, found.high), found, new.value, None if old is None else old.value
    )


def change(limit: Limit, new: Interval, old: Interval | None) -> Interval:
    """What a limit speaks of. Raises InputError for a share of a baseline that is not above zero."""
    if old is None or limit.sort == "value":
        return new
    if limit.sort == "difference":
        return Interval(new.value - old.value, new.low - old.high, new.high - old.low)
    if old.low <= 0:
        raise InputError(f"{limit.text!r}: a share of {old.low:g} says nothing", "give an absolute limit")
    return Interval(new.value / old.value - 1, new.low / old.high - 1, new.high / old.low - 1)


def values(one: Measured) -> dict[str, Interval]:
    """What is known of a measurement: metric to value and interval, in seconds and bytes."""
    if isinstance(one, NativeMeasurement):
        said = one.printed
        single = {"p50": said.steady.median_seconds, "load": said.init_seconds, "first": said.first_seconds}
        return _known({**single, "size": one.model.file_bytes})
    found = summarize(one)
    times = {"p50": found.p50_seconds, "p90": found.p90_seconds, "p99": found.p99_seconds}
    single = {"load": found.load_seconds, "first": found.first_seconds, "peak": found.peak_bytes}
    grown = {"anonymous": found.model_anonymous_bytes, "file": found.model_file_bytes}
    return {**times, **_known({**single, **grown, "size": one.model.file_bytes})}


def _known(single: dict[str, float | None]) -> dict[str, Interval]:
    return {name: Interval(value, value, value) for name, value in single.items() if value is not None}


def together(several: Sequence[dict[str, Interval]]) -> dict[str, Interval]:
    """Measurements of one model in several processes as one, by metric; metrics that one of them lacks are left out."""
    return {
        name: _joined([one[name] for one in several])
        for name in METRICS
        if several and all(name in one for one in several)
    }


def _joined(column: Sequence[Interval]) -> Interval:
    middles = [one.value for one in column]
    if len(column) >= _ENOUGH:
        return median_interval(middles)
    return Interval(median(middles), min(one.low for one in column), max(one.high for one in column))


def like(one: Measured, baseline: Results, force: bool = False) -> list[Measured]:
    """The measurements of a baseline that may be compared with this one; the least unlike where that is forced.

    Raises InputError where the model is not there, not on this device, or only as measured under other settings.
    """
    same = same_model(one, baseline)
    known = sorted({other.device for other in same})
    if one.device not in known and not force:
        raise InputError(
            f"{one.model.name}: the baseline has nothing of {one.device}, only of {', '.join(known)}",
            "measure it there, too, and join the files (`edgekit results merge`); --force compares with another device",
        )
    differences = [unlike(one, other) for other in same]
    least = min(map(len, differences))
    if least and not force:
        found = min(differences, key=len)
        raise InputError(
            f"{one.model.name} on {one.device}: the baseline was measured otherwise: {'; '.join(found)}",
            "measure the baseline again with these settings, or --force the comparison",
        )
    return [other for other, found in zip(same, differences, strict=True) if len(found) == least]


def same_model(one: Measured, baseline: Results) -> list[Measured]:
    """The measurements of the same model: by its name, by the name of its file, by its SHA-256; on this device if any.

    Raises InputError if there is none that was measured the same way, or the name of the file fits several models.
    """
    every: list[Measured] = [*baseline.measurements, *baseline.native]
    for among in ([other for other in every if other.device == one.device], every):
        for key in _KEYS:
            same = [other for other in among if type(other) is type(one) and key(other) == key(one)]
            names = sorted({other.model.name for other in same})
            if len(names) > 1 and len({other.model.sha256 for other in same}) > 1:
                raise InputError(
                    f"{one.model.name} fits {', '.join(names)} of the baseline", "give the path as it was then"
                )
            if same:
                return same
        if foreign := next((other for other in among if any(key(other) == key(one) for key in _KEYS)), None):
            raise InputError(
                f"{one.model.name} on {one.device} was measured by {_way(one)}, for the baseline by {_way(foreign)}",
                "the two are not comparable: measure the baseline again the way that is used now",
            )
    known = {other.model.name for other in every}
    raise InputError(
        f"{one.model.name} is not in the baseline",
        f"measure it too and join the files (`edgekit results merge`); {did_you_mean(one.model.name, known)}",
    )


def _way(one: Measured) -> str:
    return "benchmark_model" if isinstance(one, NativeMeasurement) else "edgekit's agent"


def unlike(one: Measured, other: Measured) -> list[str]:
    """What of their settings differs between a measurement and its baseline: `threads 1, now 4`."""
    new, old = settings(one), settings(other)
    return [
        f"{name} {_words(old.get(name))}, now {_words(value)}" for name, value in new.items() if old.get(name) != value
    ]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_words(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(map(_words, value)) or "none"
    return "none" if value is None else str(value)


def settings(one: Measured) -> dict[str, object]:
    """What must be the same for two measurements to be comparable: device, machine, runtime, plan, input shapes.

    Not how long was measured, and not what changes by the minute.
    """
    plan = msgspec.to_builtins(one.plan)
    found: dict[str, object] = {"device": one.device}
    found |= {name.replace("_", " "): value for name, value in plan.items() if name not in _HOW_LONG}
    if isinstance(one, NativeMeasurement):
        return found | {name: getattr(one.phone, name) for name in _PHONE} | {"benchmark_model": one.tool_sha256[:12]}
    found["runtime"] = f"{one.runtime.name} {one.runtime.version}"
    given = one.fed is not None and one.fed.source != "random"
    found["inputs"] = f"{one.fed.samples} given, {one.fed.sha256}" if one.fed and given else "random"
    found["input shapes"] = ["x".join(map(str, tensor.shape)) for tensor in one.inputs]
    return found | {name.replace("_", " "): getattr(one.machine, name) for name in _MACHINE}
