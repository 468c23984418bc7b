"""What disturbed a measurement, and what else makes its numbers less than trustworthy: each in words, with its mend.

A disturbance came from outside: clocks, heat, power, other work. Some last (a governor), some pass, and a repetition
may be without them. A caution lies in what was asked for or in the model itself (few runs, a run shorter than a step of
the clock), and repeating does not help.

Bits of `throttled`: Raspberry Pi documentation, "vcgencmd get_throttled".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from msgspec.structs import replace

from edgekit.bench.result import Conditions, Look, Measurement, Tensor
from edgekit.bench.statistics import Floats, growth, percentiles, ratio_of_medians
from edgekit.environment import STEADY_CLOCK
from edgekit.tflite.inspect import TensorInfo
from edgekit.units import format_bytes, format_seconds

_THROTTLED = ("under-voltage", "the processor's frequency capped", "throttled", "the soft limit of temperature")
_SINCE_BOOT = 16
_LEAST_RUNS = 30


def disturbances(measurement: Measurement) -> tuple[str, ...]:
    """What disturbed this measurement from outside."""
    return (*_lasting(measurement), *passing(measurement))


def passing(measurement: Measurement) -> tuple[str, ...]:
    """The disturbances that a repetition may be without."""
    rules = (_throttling, _slowed_clock, _other_work, _trend, _bursts)
    return tuple(words for rule in rules for words in rule(measurement))


def cautions(measurement: Measurement, demanded: bool = False) -> tuple[str, ...]:
    """What lies in the plan or the model; `demanded` if a delegate has to take something, as asked for."""
    rules = (_samples, _clock, _memory, lambda one: _asked(one, demanded), _past_throttling, _random_sizes)
    return tuple(words for rule in rules for words in rule(measurement))


def warnings(measurement: Measurement, demanded: bool = False) -> tuple[str, ...]:
    """Everything that a reader of this measurement should know; `demanded` as for `cautions`."""
    return (*disturbances(measurement), *cautions(measurement, demanded))


def calmest(take: Callable[[], Measurement], retries: int) -> Measurement:
    """Measure, and again up to `retries` times while something passing disturbs it; the calmest of them.

    Calmer is what was disturbed by less, then what has the narrower interval of its median.
    """
    taken = [take()]
    while passing(taken[-1]) and len(taken) <= retries:
        taken.append(take())
    best = min(taken, key=lambda one: (len(passing(one)), percentiles(_seconds(one), (50,))[0].relative_width))
    return replace(best, attempts=len(taken))


def _seconds(measurement: Measurement) -> Floats:
    return np.asarray(measurement.steady_ns, np.float64) * 1e-9


def _lasting(measurement: Measurement) -> Iterator[str]:
    before = measurement.before
    if before.governor not in (None, "performance"):
        yield f"the frequency governor is {before.governor!r}; `{STEADY_CLOCK}` steadies it"
    if "battery" in (before.power, measurement.after.power):
        yield "the device ran on its battery, which lowers its clocks; plug it in"


def _throttling(measurement: Measurement) -> Iterator[str]:
    """Flags that were up before, during or after the runs, or were raised between them."""
    states: tuple[Conditions | Look, ...] = (measurement.before, *measurement.timeline, measurement.after)
    words = [state.throttled or 0 for state in states]
    raised = (words[-1] & ~words[0]) >> _SINCE_BOOT
    found = throttle_flags(functools.reduce(int.__or__, words) | raised)
    if found:
        yield f"the board reports {', '.join(found)}; give it a stronger power supply, or cool it, and run again"


def _past_throttling(measurement: Measurement) -> Iterator[str]:
    past = throttle_flags((measurement.before.throttled or 0) >> _SINCE_BOOT)
    if past and not list(_throttling(measurement)):
        yield f"since its start the board had {', '.join(past)}, though not now; see to its power supply and cooling"


def throttle_flags(word: int) -> list[str]:
    """What the firmware's word says of this moment; shifted right by 16, of the time since the board was started."""
    return [name for bit, name in enumerate(_THROTTLED) if word >> bit & 1]


def _slowed_clock(measurement: Measurement) -> Iterator[str]:
    clocks = [look.frequency_hz for look in measurement.timeline if look.frequency_hz]
    half = len(clocks) // 2
    if half and min(clocks[half:]) < 0.95 * max(clocks[:half]):
        fell = f"{max(clocks[:half]) / 1e6:.0f} to {min(clocks[half:]) / 1e6:.0f} MHz"
        yield f"the frequency fell from {fell} during the run; let the device cool, fix the frequency, run again"


def _other_work(measurement: Measurement) -> Iterator[str]:
    """By the time of the cores during the run; by the load average where that is not known or the run too short."""
    spent = measurement.processor
    if spent is None or spent.seconds < 0.2:
        yield from _load_average(measurement)
        return
    own = min(spent.own_seconds, spent.busy_seconds)
    others, stolen = ((part / spent.seconds / spent.cores) for part in (spent.busy_seconds - own, spent.stolen_seconds))
    if others > 0.1:
        cores = f"the {spent.cores} cores" if spent.cores > 1 else "the core"
        yield f"other work used {others:.0%} of {cores} measured on; end it, or stay on a free core (--cpus)"
    if stolen > 0.02:
        yield f"the host of this virtual machine took {stolen:.0%} of the cores' time; use a machine of its own"


def _load_average(measurement: Measurement) -> Iterator[str]:
    load, cores = measurement.before.load_average, measurement.machine.cores
    own = 1.2  # what measuring one model after the other leaves in the load average
    if load is not None and load > max(own, 0.5 * cores + 0.5):
        yield f"load was {load:.1f} on {cores} cores before the run; end other programs"


def _trend(measurement: Measurement) -> Iterator[str]:
    seconds = _seconds(measurement)
    if len(seconds) < _LEAST_RUNS:
        return
    drift = ratio_of_medians(seconds[: len(seconds) // 2], seconds[len(seconds) // 2 :])
    if abs(drift.value - 1) > 0.02 and not drift.low <= 1 <= drift.high:
        how = f"{abs(drift.value - 1):.0%} {'slower' if drift.value > 1 else 'faster'}"
        yield f"the second half of the runs was {how} than the first; let the device settle or cool, and run again"


def _bursts(measurement: Measurement) -> Iterator[str]:
    seconds = _seconds(measurement)
    far = int(np.count_nonzero(seconds > 2 * np.median(seconds)))
    if len(seconds) >= _LEAST_RUNS and far > max(1, 0.01 * len(seconds)):
        yield f"{far / len(seconds):.1%} of the runs took more than twice the median; end other programs and run again"


def _samples(measurement: Measurement) -> Iterator[str]:
    seconds, longer = _seconds(measurement), _longer(measurement)
    if len(seconds) < _LEAST_RUNS:
        yield f"only {len(seconds)} runs: p90 and p99 say little; {longer}"
    if not measurement.warm_up_stable:
        yield (
            "the warm-up ended before the latency was stable; close other programs or let the device settle, and run "
            "again"
        )
    width = percentiles(seconds, (50,))[0].relative_width
    wished = measurement.plan.precision
    if wished is not None and width > wished:
        yield f"the median is known to {width:.2%}, not to the {wished:.2%} asked for; {longer}"
    elif width > 0.05:
        yield f"the median is known to {width:.0%} only; {longer}"


def _clock(measurement: Measurement) -> Iterator[str]:
    middle = float(np.median(_seconds(measurement)))
    step = max(measurement.timer.overhead_ns, measurement.timer.resolution_ns) * 1e-9
    if middle < 50 * step:
        clock = f"a step of the clock {format_seconds(step)}"
        yield f"a run takes {format_seconds(middle)}, {clock}: judge differences with `edgekit compare` only"


def _memory(measurement: Measurement) -> Iterator[str]:
    kept = 16 * (len(measurement.steady_ns) + len(measurement.warm_up_ns)) + 2**20
    grown = growth(measurement.memory.first.anonymous_bytes, measurement.memory.end.anonymous_bytes) or 0
    if grown > kept:
        yield f"memory grew by {format_bytes(grown)} during the runs; give more --runs to see whether it goes on"
    arena, points = measurement.model.arena_bytes or 0, measurement.memory
    added = growth(points.imported.anonymous_bytes, points.first.anonymous_bytes)
    if added is not None and added + (growth(points.imported.swap_bytes, points.first.swap_bytes) or 0) < 0.9 * arena:
        least = f"the {format_bytes(arena)} that its tensors need"
        yield f"the model added {format_bytes(added)} of memory, less than {least}: see whether the device swaps"


def _asked(measurement: Measurement, demanded: bool) -> Iterator[str]:
    """What was asked for and is not what ran."""
    advice = "" if demanded else "; --require-delegate any makes this an error"
    plan, runtime = measurement.plan, f"{measurement.runtime.name} {measurement.runtime.version}"
    if plan.threads > measurement.machine.usable_cores:
        yield f"{plan.threads} threads on {measurement.machine.usable_cores} usable cores; lower --threads"
    if plan.delegate is None and plan.xnnpack and measurement.delegate_partitions == 0:
        yield f"XNNPACK was on and took no operator in {runtime}{advice}"
    if plan.delegate is not None and measurement.delegations and not measurement.delegations[0].partitions:
        yield f"{plan.delegate.library} took no operator: all ran on the CPU{advice}"


def _random_sizes(measurement: Measurement) -> Iterator[str]:
    if measurement.fed is None or measurement.fed.source == "random":
        yield from open_dimensions(measurement.inputs)


def open_dimensions(inputs: Iterable[Tensor | TensorInfo]) -> Iterator[str]:
    """What random inputs leave out of a file with open dimensions beyond the batch, in words; nothing without any."""
    names = list(dict.fromkeys(tensor.name for tensor in inputs if -1 in tensor.shape[1:]))
    if names:
        yield (
            f"open dimensions were run as 1: {', '.join(names)}; give samples of the true size "
            "(`edgekit benchmark --data`)"
        )


def _longer(measurement: Measurement) -> str:
    """How to get more samples, given which limit ended this run."""
    plan = measurement.plan
    if plan.precision is not None:
        by_runs = len(measurement.steady_ns) >= plan.max_runs
        return f"give a higher {f'--runs than {plan.max_runs}' if by_runs else f'--seconds than {plan.max_seconds:g}'}"
    if plan.fixed_runs:
        return f"give a higher --runs than {plan.min_runs}"
    ended_late = len(measurement.steady_ns) <= plan.min_runs
    return f"give a higher --seconds than {plan.max_seconds if ended_late else plan.min_seconds:g}"
