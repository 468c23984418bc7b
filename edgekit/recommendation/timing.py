"""Latency of drafts: measured where the target is this host, else estimated from published figures, else unknown."""

from __future__ import annotations

from edgekit.bench.run import alternate
from edgekit.bench.statistics import median_interval
from edgekit.errors import RunError
from edgekit.estimate import estimate_latency
from edgekit.recommendation.files import Draft
from edgekit.recommendation.technique import Latency
from edgekit.target import Target

_SECONDS = 1.5
_TURNS = 40
_MOSTLY = 0.5
_HERE = "this host, one thread, XNNPACK"
UNMADE = Latency("unknown", "no file of it was made: `--thorough` makes and measures one")


def times(drafts: dict[str, Draft], target: Target) -> dict[str, Latency]:
    """The latency of each draft, by its name."""
    if target.family == "host":
        return _measured(drafts)
    return {name: _figured(one, target) for name, one in drafts.items()}


def _measured(drafts: dict[str, Draft]) -> dict[str, Latency]:
    """Files in turns in one process, so that a disturbance hits them alike; those that XNNPACK leaves apart."""
    made = {name: one for name, one in drafts.items() if one.file}
    slow = {name: one for name, one in made.items() if one.outside > _MOSTLY}
    found: dict[str, Latency] = {}
    for group in (made.keys() - slow.keys(), slow.keys()):
        files = {name: one.file for name, one in made.items() if name in group}
        found |= _timed_or_refused(files) if files else {}
    return {name: found.get(name, UNMADE) for name in drafts}


def _timed_or_refused(files: dict[str, bytes]) -> dict[str, Latency]:
    try:
        return _timed(files)
    except RunError:
        refused = {name: why for name, file in files.items() if (why := _refusal(file))}
        rest = {name: file for name, file in files.items() if name not in refused}
        found = {name: Latency("refused", f"this host refuses the file: {why}") for name, why in refused.items()}
        return found | (_timed(rest) if rest else {})


def _timed(files: dict[str, bytes]) -> dict[str, Latency]:
    turns = alternate(list(files.values()), turns=_TURNS, seconds=_SECONDS * len(files) ** 0.5)
    medians = [median_interval(one) for one in turns.turn_medians()]
    return {
        name: Latency("measured", _HERE, one.value, one.low, one.high) for name, one in zip(files, medians, strict=True)
    }


def _refusal(file: bytes) -> str:
    """Why the runtime does not run a file; empty where it does."""
    try:
        alternate([file], turns=2, seconds=0.01)
    except RunError as cause:
        return cause.problem.removeprefix("model: ")
    return ""


def _figured(draft: Draft, target: Target) -> Latency:
    forecast = estimate_latency(draft.contents, target)
    if (one := forecast.preferred) is None:
        return Latency("unknown", f"{forecast.unknown}; {forecast.mend}")
    return Latency(
        "estimate", f"figures of {one.measured_on}: {one.basis}; {one.source}", one.seconds, one.low, one.high
    )
