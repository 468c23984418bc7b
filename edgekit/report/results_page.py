"""A page of measurements: latency by model and device, every run in time, memory; no script and no request in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from edgekit.bench.result import Measurement, Results
from edgekit.bench.statistics import Summary, noise_warnings, summarize
from edgekit.report import memory, plots, words
from edgekit.report.axes import SECONDS, Axis
from edgekit.report.course import Strip, course, envelope
from edgekit.report.plots import Samples
from edgekit.report.template import css, template

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


def page(results: Results) -> str:
    """The page as HTML text; `results` has at least one measurement with samples."""
    shown = [_shown(label, one) for label, one in zip(names(results.measurements), results.measurements, strict=True)]
    held = [row for one in shown if (row := _held(one)) is not None]
    return template("results.html").render(
        css=css(),
        shown=shown,
        latency=plots.distributions([_samples(one) for one in shown], Axis("latency of one inference", SECONDS)),
        memory=memory.bars(held) if held else None,
        machines=list(dict.fromkeys(f"{one.device}: {words.machine(one)}" for one in results.measurements)),
        native=len(results.native),
    )


def names(measurements: Sequence[Measurement]) -> list[str]:
    """A name for each: the file's, its device where there are several, a number where that is not enough."""
    several = len({one.device for one in measurements}) > 1
    short = len({Path(one.model.name).name for one in measurements}) == len({one.model.name for one in measurements})
    plain = [
        (Path(one.model.name).name if short else one.model.name) + (f" · {one.device}" if several else "")
        for one in measurements
    ]
    total, seen = Counter(plain), Counter[str]()
    numbered = []
    for name in plain:
        seen[name] += 1
        numbered.append(f"{name} #{seen[name]}" if total[name] > 1 else name)
    return numbered


def _shown(label: str, one: Measurement) -> Shown:
    summary = summarize(one)
    seconds = [sample * 1e-9 for sample in one.steady_ns]
    marks = [(f"p{rank}", getattr(summary, f"p{rank}_seconds").value) for rank in (50, 90, 99)]
    drawing = course(seconds, marks, list(_strips(one, sum(seconds))))
    return Shown(label, one, summary, tuple(noise_warnings(one)), drawing, envelope(seconds).runs)


def _samples(one: Shown) -> Samples:
    said = " · ".join(
        f"p{rank} {words.seconds(getattr(one.summary, f'p{rank}_seconds').value)}" for rank in (50, 90, 99)
    )
    return Samples(one.label, [sample * 1e-9 for sample in one.measurement.steady_ns], said)


def _strips(one: Measurement, seconds: float) -> Iterator[Strip]:
    """Temperature and frequency where they could be read at both ends at least."""
    ends = ((0.0, one.before), (seconds, one.after))
    for axis, name in ((CELSIUS, "temperature_celsius"), (HERTZ, "frequency_hz")):
        points = [(time, float(value)) for time, then in ends if (value := getattr(then, name)) is not None]
        if len(points) > 1:
            yield Strip(axis, points)


def _held(one: Shown) -> memory.Held | None:
    """The row of memory, where the kernel told all of it."""
    found = one.summary
    parts = (found.baseline_bytes, found.model_anonymous_bytes, found.model_file_bytes, found.peak_bytes)
    known = [part for part in parts if part is not None]
    return memory.Held(one.label, *known) if len(known) == len(parts) else None
