"""A page of measurements: latency by model and device, every run in time, memory; no script and no request in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path

from markupsafe import Markup

from edgekit.bench.disturbances import warnings
from edgekit.bench.result import Measurement, Results
from edgekit.bench.statistics import Summary, summarize
from edgekit.report import memory, plots, words
from edgekit.report.axes import SECONDS, Axis
from edgekit.report.course import Strip, course, envelope
from edgekit.report.plots import Samples
from edgekit.report.template import css, template

_TOGETHER = timedelta(minutes=10)
CELSIUS = Axis("temperature", ((1.0, "°C"),))
HERTZ = Axis("frequency", ((1e6, "MHz"), (1e9, "GHz")))


@dataclass(frozen=True)
class Shown:
    """One measurement with its name on the page, its statistics and its course."""

    label: str
    measurement: Measurement
    summary: Summary
    warnings: tuple[str, ...]
    course: Markup
    runs_a_column: int


@dataclass(frozen=True)
class Place:
    """One device, and the charts of what was measured there; no memory where the kernel did not tell it."""

    name: str
    latency: Markup
    memory: Markup | None


def page(results: Results) -> str:
    """The page as HTML text; `results` has at least one measurement with samples."""
    labels = names(results.measurements)
    shown = [_shown(label, one) for label, one in zip(labels, results.measurements, strict=True)]
    devices = list(dict.fromkeys(one.device for one in results.measurements))
    return template("results.html").render(
        css=css(),
        shown=shown,
        places=[_place(name, [one for one in shown if one.measurement.device == name]) for name in devices],
        machines=list(dict.fromkeys(f"{one.device}: {words.machine(one)}" for one in results.measurements)),
        native=len(results.native),
    )


def names(measurements: Sequence[Measurement]) -> list[str]:
    """A name for each on its device: the file's, its path where files share a name, when it was measured where that was
    on several days or at several times, a number for several processes.
    """
    short = len({Path(one.model.name).name for one in measurements}) == len({one.model.name for one in measurements})
    files = [Path(one.model.name).name if short else one.model.name for one in measurements]
    plain = [(one.device, file.removesuffix(".tflite")) for one, file in zip(measurements, files, strict=True)]
    starts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, one in zip(plain, measurements, strict=True):
        starts[key].add(one.started)
    dated = [(key[0], key[1] + _when(one.started, starts[key])) for key, one in zip(plain, measurements, strict=True)]
    total, seen = Counter(dated), Counter[tuple[str, str]]()
    numbered = []
    for key in dated:
        seen[key] += 1
        numbered.append(f"{key[1]} #{seen[key]}" if total[key] > 1 else key[1])
    return numbered


def _when(started: str, starts: set[str]) -> str:
    """The day, if there are several, else the time; nothing for what was started together."""
    if datetime.fromisoformat(max(starts)) - datetime.fromisoformat(min(starts)) < _TOGETHER:
        return ""
    return f" {started[:10]}" if len({start[:10] for start in starts}) > 1 else f" {started[11:16]}"


def _place(name: str, shown: Sequence[Shown]) -> Place:
    held = [row for one in shown if (row := _held(one)) is not None]
    latency = plots.distributions([_samples(one) for one in shown], Axis("latency of one inference", SECONDS))
    return Place(name, latency, memory.bars(held) if held else None)


def _shown(label: str, one: Measurement) -> Shown:
    summary = summarize(one)
    seconds = [sample * 1e-9 for sample in one.steady_ns]
    marks = [(f"p{rank}", getattr(summary, f"p{rank}_seconds").value) for rank in (50, 90, 99)]
    drawing = course(seconds, marks, list(_strips(one, seconds)))
    return Shown(label, one, summary, warnings(one), drawing, envelope(seconds).runs)


def _samples(one: Shown) -> Samples:
    said = " · ".join(
        f"p{rank} {words.seconds(getattr(one.summary, f'p{rank}_seconds').value)}" for rank in (50, 90, 99)
    )
    return Samples(one.label, [sample * 1e-9 for sample in one.measurement.steady_ns], said)


def _strips(one: Measurement, seconds: Sequence[float]) -> Iterator[Strip]:
    """Temperature and frequency before, during and after, where they could be read at two moments at least."""
    times = [0.0, *accumulate(seconds)]
    looks = [(times[min(look.runs, len(seconds))], look) for look in one.timeline]
    moments = [(0.0, one.before), *looks, (times[-1], one.after)]
    for axis, name in ((CELSIUS, "temperature_celsius"), (HERTZ, "frequency_hz")):
        points = [(time, float(value)) for time, then in moments if (value := getattr(then, name)) is not None]
        if len(points) > 1:
            yield Strip(axis, points)


def _held(one: Shown) -> memory.Held | None:
    """The row of memory, where the kernel told all of it."""
    found = one.summary
    parts = (found.baseline_bytes, found.model_anonymous_bytes, found.model_file_bytes, found.peak_bytes)
    known = [part for part in parts if part is not None]
    return memory.Held(one.label, *known) if len(known) == len(parts) else None
