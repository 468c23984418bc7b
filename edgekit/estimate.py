"""Latency on a device that nobody here owns: an estimate from published figures, never a measurement.

What others measured on a board (`edgekit.figures`) is fitted (`edgekit.latency_model`) and asked for the work of a
file. An answer that the figures do not carry is not given: unknown is an answer, with its reason and what to do.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgekit.figures import Network, Series, figures_of, networks
from edgekit.latency_model import FEWEST_KINDS, LEVEL, LatencyModel, Work, fit_latency
from edgekit.operators import Rule
from edgekit.target import Target, load_target
from edgekit.tflite.inspect import ModelContents, OperatorInfo, looped, read_contents
from edgekit.units import format_count

_PUBLISHED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_MOST_OTHERS = 0.1  # share of the MACs in operators that the published networks lack
_BEYOND = 2  # times fewer or more MACs than any published network
_MEASURE = {
    "host": "measure it: `edgekit benchmark MODEL`",
    "edgetpu": "compile it (`edgekit compile`), and measure that on one: `edgekit benchmark ... --delegate edgetpu`",
    "microcontroller": "time it on a board of this kind",
}
_MEASURE_REMOTE = "measure it on one: `edgekit benchmark MODEL --device ADDRESS`"


class Estimate(Struct, frozen=True):
    """Seconds of one inference that no device measured: the band from `low` to `high` holds a `level` of networks.

    `terms` are seconds a MAC, more a depthwise MAC, a byte streamed to an accelerator, and a run.
    """

    low: float
    seconds: float
    high: float
    level: float
    basis: str
    measured_on: str
    runtime: str
    source: str
    points: int
    terms: tuple[float, float, float, float]
    threads: int | None = None
    kind: Literal["estimate"] = "estimate"


class Forecast(Struct, frozen=True):
    """All estimates for a file on a target, one for each series of figures; or why there is none, and what to do."""

    target: str
    estimates: tuple[Estimate, ...] = ()
    unknown: str = ""
    mend: str = ""

    @property
    def preferred(self) -> Estimate | None:
        """That of the fewest threads, so that files compare; of several such that of the narrowest band."""
        return min(self.estimates, key=lambda one: (one.threads or 0, one.high / one.low), default=None)


def estimate_latency(
    model: str | Path | ModelContents, target: str | Path | Target, threads: int | None = None
) -> Forecast:
    """Estimate the latency of a `.tflite` file, or of what was read from it, on a target; nothing is run.

    `target` is as for `load_target`. `threads` keeps the figures taken with that many. Raises ModelError for an
    unreadable file, TargetError.
    """
    board, contents = load_target(target), model if isinstance(model, ModelContents) else read_contents(model)
    found = _forecast(contents, board, threads)
    if isinstance(found, str):
        return Forecast(board.name, (), found, _MEASURE.get(board.family, _MEASURE_REMOTE))
    return Forecast(board.name, found)


def _forecast(contents: ModelContents, target: Target, threads: int | None) -> tuple[Estimate, ...] | str:
    """Estimates by all series that fit the file, or why there are none."""
    if not (shipped := figures_of(target.name)):
        return "no published figures are shipped for this target"
    numeric = "float32" if contents.numeric == "float16" else contents.numeric
    fitting = [one for one in shipped if one.numeric == numeric and threads in (None, one.threads)]
    if not fitting:
        asked = f"{numeric} with {threads} threads" if threads else numeric
        return f"published figures are for {_settings(shipped)}, not for {asked}"
    if reason := _unlike(contents, target):
        return reason
    answers = [_estimate(contents, target, series) for series in fitting]
    found = tuple(answer for answer in answers if isinstance(answer, Estimate))
    return found or next(answer for answer in answers if isinstance(answer, str))


def fit_series(series: Series, cache_bytes: int | None = None) -> LatencyModel:
    """The fit to a series; parameters beyond `cache_bytes` are streamed. Raises ValueError below three kinds."""
    known = [(networks()[name], milliseconds / 1e3) for name, milliseconds in series.milliseconds.items()]
    points = [(work_of_network(network, cache_bytes), seconds) for network, seconds in known]
    return fit_latency(points, [network.family for network, _ in known])


def work_of(contents: ModelContents, cache_bytes: int | None = None) -> Work:
    """What one inference of a file asks of a device; parameters beyond `cache_bytes` are streamed to it."""
    depthwise = sum(one.macs for one in contents.operators if one.name == "DEPTHWISE_CONV_2D")
    return Work(contents.macs, depthwise, _streamed(contents.parameter_bytes, cache_bytes))


def work_of_network(network: Network, cache_bytes: int | None = None) -> Work:
    """The same for a network that figures name, with one byte a parameter, as accelerators hold them."""
    return Work(network.macs, network.depthwise_macs, _streamed(network.parameters, cache_bytes))


def _streamed(parameter_bytes: int, cache_bytes: int | None) -> int:
    return max(0, parameter_bytes - cache_bytes) if cache_bytes is not None else 0


def _estimate(contents: ModelContents, target: Target, series: Series) -> Estimate | str:
    """An estimate by one series, or why there is none."""
    known = [networks()[name] for name in series.milliseconds]
    kinds = len({network.family for network in known})
    if kinds < FEWEST_KINDS:
        return f"published {series.numeric} figures are of {kinds} kinds of network, too few to tell an error"
    least, most = min(one.macs for one in known), max(one.macs for one in known)
    if not least / _BEYOND <= contents.macs <= most * _BEYOND:
        span = f"{format_count(least)} to {format_count(most)}"
        return f"{format_count(contents.macs)} MACs are far from the published networks, which have {span}"
    fit = fit_series(series, target.memory.accelerator_cache_bytes)
    scale, clocks = _clock_scale(series, target)
    seconds = fit.seconds(work_of(contents, target.memory.accelerator_cache_bytes)) * scale
    return Estimate(
        seconds / fit.factor,
        seconds,
        seconds * fit.factor,
        LEVEL,
        f"work fitted to {len(known)} published figures of {kinds} kinds of network{clocks}",
        series.measured_on,
        series.runtime,
        series.source,
        len(known),
        (fit.terms[0] * scale, fit.terms[1] * scale, fit.terms[2] * scale, fit.terms[3] * scale),
        series.threads,
    )


def _clock_scale(series: Series, target: Target) -> tuple[float, str]:
    """Factor from the clock of the figures to that of the target, and how it reads."""
    ours = target.processor.clock_hz
    if not series.clock_hz or not ours or series.clock_hz == ours:
        return 1.0, ""
    clocks = f"{format_count(series.clock_hz)}Hz to {format_count(ours)}Hz"
    return series.clock_hz / ours, f", scaled by the clock from {clocks}, which the band does not cover"


def _unlike(contents: ModelContents, target: Target) -> str:
    """Why figures of convolutional networks that run whole on the target say nothing of this file; empty if they do."""
    if any(size == -1 for tensor in contents.inputs for size in tensor.shape[1:]):
        return "the file leaves dimensions of its inputs open, so its work is not known"
    if not contents.macs:
        return "the file has no multiply-accumulates that can be counted"
    if looped(contents):
        return "the file has loops, whose steps are not counted"
    if stray := Counter(one.name for one in contents.operators if not _runs(one, target)):
        names = ", ".join(f"{count} {name}" for name, count in sorted(stray.items()))
        return f"the figures are of networks whose operators all run there and can be counted, unlike {names}"
    others = {one.name: 0 for one in contents.operators if one.macs and one.name not in _PUBLISHED}
    share = sum(one.macs for one in contents.operators if one.name in others) / contents.macs
    if share > _MOST_OTHERS:
        return f"{share:.0%} of its MACs are in {', '.join(sorted(others))}, which the published networks lack"
    return ""


def _runs(operator: OperatorInfo, target: Target) -> bool:
    """True for a builtin operator that the target's first table takes in this size; a custom one cannot be counted."""
    table, shape = target.operator_tables()[0], operator.output_shape
    most = table.operators.get(operator.name, Rule()).most_elements
    deep = table.dimensions is not None and any(size > 1 for size in shape[: -table.dimensions])
    large = most is not None and math.prod(abs(size) for size in shape) > most
    return not operator.custom and table.runs(operator.name) and not deep and not large


def _settings(shipped: tuple[Series, ...]) -> str:
    threads = {one.threads: f" with {one.threads} threads" if one.threads else "" for one in shipped}
    return " and ".join(sorted({one.numeric + threads[one.threads] for one in shipped}))
