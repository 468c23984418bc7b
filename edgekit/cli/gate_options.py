"""The options that make a command fail: `--fail-if`, `--baseline` and what goes with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from edgekit import compare
from edgekit.bench.baseline import METRICS, Measured, Verdict, judge_each, like, refuse_changes
from edgekit.bench.disturbances import disturbances
from edgekit.bench.result import Measurement, Results
from edgekit.cli.common import file_names, say
from edgekit.errors import GateError, InputError
from edgekit.limit import BYTES, SECONDS, Limit, Units, parse_limit
from edgekit.report.table import Write, render_table
from edgekit.units import format_bytes, format_seconds

F = TypeVar("F", bound=Callable[..., Any])
_UNITS = {**METRICS, **compare.METRICS}

PROCESSES = 5
_ALONE = f"how processes differ is not known; measure the baseline with --processes {PROCESSES}"
_PROCESSES_HELP = f"Measure each model in so many processes.  [default: 1, with --fail-if {PROCESSES}]"


@dataclass(frozen=True)
class GateOptions:
    """What was asked for, read and checked before anything runs."""

    limits: tuple[Limit, ...] = ()
    baseline: Results | None = None
    force: bool = False
    strict: bool = False
    processes: int = 1

    def judge(self, measured: Sequence[Measured]) -> tuple[tuple[Verdict, ...], tuple[InputError, ...]]:
        """The verdicts on what was measured, and why some of it cannot be judged; says what to know of the baseline."""
        if not self.limits:
            return (), ()
        if self.baseline is not None:
            for words in dict.fromkeys(_told(measured, self.baseline, self.force)):
                say(f"warning: {words}")
        return judge_each(measured, self.limits, self.baseline, self.force)

    def accept(self, verdicts: Sequence[Verdict], longer: str, faults: Sequence[InputError] = ()) -> None:
        """Say what could not be decided, and how it could be (`longer`).

        Raises GateError for what is not accepted, else ends the command as the first of `faults`, which were said.
        """
        held = (one for one in verdicts if one.limit.needs_baseline and one.baseline_processes == 1)
        for model in dict.fromkeys(map(_title, held)):
            say(f"warning: {model} was measured in one process for the baseline: {_ALONE}")
        for one in verdicts:
            if one.outcome == "undecided":
                say(f"warning: {_title(one)} {one.limit.text}: {found(one)}: cannot be decided; {longer}")
        refused = {"exceeded", "undecided"} if self.strict else {"exceeded"}
        failed = [one for one in verdicts if one.outcome in refused]
        if failed:
            told = "; ".join(f"{_title(one)} {one.limit.text}: {found(one)}" for one in failed)
            raise GateError(f"not accepted: {told}", "see what changed, or move the limit or the baseline")
        if faults:
            raise click.exceptions.Exit(faults[0].exit_code)


def _title(one: Verdict) -> str:
    return one.model if one.device == "local" else f"{one.device}: {one.model}"


def say_faults(faults: Sequence[InputError]) -> None:
    """Say why some of what was measured cannot be judged."""
    for fault in faults:
        say(f"error: {fault}")


def _told(measured: Sequence[Measured], baseline: Results, force: bool) -> Iterator[str]:
    """What disturbed those of the baseline that are compared with, and which are of another device."""
    looked: set[int] = set()
    for one in measured:
        try:
            known = like(one, baseline, force)
        except InputError:
            continue  # judging it says so
        for other in known:
            name = Path(other.model.name).name
            if other.device != one.device:
                yield f"{name} on {one.device} is held against what was measured on {other.device}"
            if isinstance(other, Measurement) and id(other) not in looked:
                looked.add(id(other))
                yield from (f"baseline of {name} on {other.device}: {words}" for words in disturbances(other))


fail_undecided_option = click.option(
    "--fail-undecided", is_flag=True, help="Fail also where the interval leaves a limit open."
)


def limit_option(example: str) -> Callable[[F], F]:
    """`--fail-if`, repeatable."""
    return click.option("--fail-if", multiple=True, metavar="LIMIT", help=f"Exit with 1 if {example}; repeat.")


def gate_options(function: F) -> F:
    """`--processes` and what `verdict_options` adds, for a command that measures."""
    processes = click.option("--processes", type=click.IntRange(1, 1000), help=_PROCESSES_HELP)
    return processes(verdict_options(function))


def verdict_options(function: F) -> F:
    """`--fail-if`, `--baseline`, `--force`, `--fail-undecided`; the command gets them as `gate: GateOptions`."""

    @functools.wraps(function)
    def packed(
        *,
        fail_if: tuple[str, ...],
        baseline: Path | None,
        force: bool,
        fail_undecided: bool,
        processes: int | None = None,
        **others: Any,
    ) -> Any:
        if not fail_if and (baseline or force or fail_undecided):
            raise click.UsageError(
                "--baseline, --force and --fail-undecided go with --fail-if: say --fail-if 'p90>+5%'"
            )
        limits = limits_of(fail_if, METRICS)
        if baseline is None:
            refuse_changes(limits)
        known = None if baseline is None else read_results(baseline)
        count = processes or (PROCESSES if limits else 1)
        return function(gate=GateOptions(limits, known, force, fail_undecided, count), **others)

    options = (
        limit_option(f"'p90>+5%', 'p90>12ms', 'peak>+3MiB' holds ({', '.join(METRICS)})"),
        click.option("--baseline", type=click.Path(path_type=Path), help="Results of `benchmark -o` to compare with."),
        click.option("--force", is_flag=True, help="Compare with a baseline of other settings."),
        fail_undecided_option,
    )
    for option in reversed(options):
        packed = option(packed)
    return cast(F, packed)


def limits_of(texts: Sequence[str], metrics: Mapping[str, Units]) -> tuple[Limit, ...]:
    """Limits as they were typed. Raises InputError for the first that is none."""
    return tuple(parse_limit(text, metrics) for text in texts)


def read_results(path: Path) -> Results:
    """A results file. Raises InputError if it cannot be read or is none."""
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}", "give a file written by `benchmark -o`") from None
    return Results.from_json(data, str(path))


def render_verdicts(verdicts: Sequence[Verdict], write: Write = render_table) -> str:
    """A table, one row a limit and model."""
    devices = len({one.device for one in verdicts}) > 1
    names = file_names(one.model for one in verdicts)
    header = ("limit", "verdict", *(("device",) if devices else ()), "model", "baseline", "measured", "held against it")
    rows = [
        (
            one.limit.text,
            one.outcome if one.outcome == "kept" else one.outcome.upper(),
            *((one.device,) if devices else ()),
            names[one.model],
            "-" if one.baseline is None else amount(one.baseline, one.limit.metric),
            amount(one.measured, one.limit.metric),
            found(one),
        )
        for one in verdicts
    ]
    return write(header, rows)


def found(one: Verdict) -> str:
    """The value that was judged and its interval: `+4.8 % [+2.1 % to +7.9 %]`."""
    value, low, high = (_written(one.limit, part) for part in (one.found.value, one.found.low, one.found.high))
    return value if one.found.low == one.found.high else f"{value} [{low} to {high}]"


def _written(limit: Limit, value: float) -> str:
    if limit.sort == "share":
        return f"{100 * value:+.1f} %"
    text = amount(value, limit.metric)
    return f"+{text}" if limit.sort == "difference" and value >= 0 else text


def amount(value: float, metric: str) -> str:
    """A value of a metric with its unit."""
    units = _UNITS[metric]
    return format_seconds(value) if units is SECONDS else format_bytes(value) if units is BYTES else f"{value:.3f}"
