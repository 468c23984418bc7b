"""The options that say how a model runs and how it is measured; together they are one `Plan`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from edgekit.bench.plan import METER, Delegate, Plan, delegate_for, plan_for

F = TypeVar("F", bound=Callable[..., Any])


class CoresType(click.ParamType[tuple[int, ...]]):
    """Cores as `0,2-3`."""

    name = "cores"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        """The cores in order, each once."""
        if isinstance(value, tuple):
            return value
        pieces = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", piece.strip()) for piece in value.split(",")]
        spans = [(int(piece[1]), int(piece[2] or piece[1])) for piece in pieces if piece]
        if len(spans) != len(pieces) or any(first > last or last > 4095 for first, last in spans):
            self.fail(f"{value!r} does not name cores; write for example 2-3 or 0,2", param, context)
        return tuple(sorted({core for first, last in spans for core in range(first, last + 1)}))


class ShareType(click.ParamType[float]):
    """A share as `1%` or `0.01`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """A number between 0 and 1, neither included."""
        digits = re.fullmatch(r"(\d*\.?\d+)(%?)", str(value).strip())
        share = float(digits[1]) / (100 if digits[2] else 1) if digits else 0.0
        if not 0 < share < 1:
            self.fail(f"{value!r} is no share between 0 and 1; write for example 1%", param, context)
        return share


class MeterType(click.ParamType[str]):
    """A file of a meter and its unit, as `/run/meter=uW`."""

    name = "meter"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """The text itself, if it has both."""
        if not re.fullmatch(METER, value):
            self.fail(f"{value!r} is no meter; write its file and =uJ or =uW, as /run/meter=uW", param, context)
        return str(value)


_RUNTIMES = click.Choice(["auto", "ai-edge-litert", "tflite-runtime"])
_RUN = {
    "threads": click.option(
        "--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads of the runtime."
    ),
    "cpus": click.option(
        "--cpus", default=(), type=CoresType(), metavar="LIST", help="Stay on these cores, as 2-3 or 0,2."
    ),
    "no_xnnpack": click.option("--no-xnnpack", is_flag=True, help="Run without XNNPACK."),
    "delegate": click.option(
        "--delegate", metavar="NAME", help="A delegate's library on the device, or edgetpu[:usb|:pci][:N]."
    ),
    "delegate_options": click.option(
        "--delegate-option",
        "delegate_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="An option of the delegate, as its library takes it. Repeatable.",
    ),
    "runtime": click.option(
        "--runtime", default="auto", show_default=True, type=_RUNTIMES, help="Which installed runtime runs the model."
    ),
}
_SEED = {
    "seed": click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random inputs."
    )
}
_MEASURE = {
    "delegate": click.option(
        "--delegate",
        metavar="NAME",
        help="A delegate's library on the device, or edgetpu[:usb|:pci][:N]; with --benchmark-model also gpu, nnapi.",
    ),
    "precision": click.option(
        "--precision",
        type=ShareType(),
        metavar="SHARE",
        help="Measure until the median is known to this share of it, as 1%; --runs and --seconds are then the most.",
    ),
    "meter": click.option(
        "--meter",
        type=MeterType(),
        metavar="FILE=UNIT",
        help="A file on the device with its energy in uJ or power in uW, as /run/meter=uW  [default: the kernel's]",
    ),
    "with_io": click.option("--with-io", is_flag=True, help="Count putting inputs in and taking outputs out, too."),
    "runs": click.option("--runs", type=click.IntRange(1, 1_000_000), help="Measure exactly this many runs."),
    "seconds": click.option(
        "--seconds", type=click.FloatRange(0, 3600, min_open=True), help="Measure for this long  [default: 1]"
    ),
}


def run_options(seed: bool = False) -> Callable[[F], F]:
    """Add the options of how a model runs, and the seed of random inputs; the function gets them as `plan`."""
    return lambda function: _with(function, _RUN | (_SEED if seed else {}))


def plan_options(function: F) -> F:
    """Add the options of how a model runs and how long it is measured; the function gets them as `plan`."""
    return _with(function, _RUN | _MEASURE | _SEED)


def _with(function: F, options: Mapping[str, Callable[[F], F]]) -> F:
    @functools.wraps(function)
    def wrapped(*arguments: Any, **words: Any) -> Any:
        return function(*arguments, plan=_plan(**{name: words.pop(name) for name in options}), **words)

    for option in reversed(tuple(options.values())):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def _plan(
    no_xnnpack: bool,
    delegate: str | None,
    delegate_options: tuple[str, ...],
    runs: int | None = None,
    seconds: float | None = None,
    **others: Any,
) -> Plan:
    if runs is not None and seconds is not None and others["precision"] is None:
        raise click.UsageError("give --runs or --seconds, not both")
    return plan_for(runs, seconds, xnnpack=not no_xnnpack, delegate=_delegate(delegate, delegate_options), **others)


def _delegate(text: str | None, options: tuple[str, ...]) -> Delegate | None:
    if text is None and options:
        raise click.UsageError("--delegate-option is of --delegate, which is missing")
    return None if text is None else delegate_for(text, options)
