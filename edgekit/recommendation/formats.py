"""Number formats as techniques: each really made of the float32 file, held against it."""

from __future__ import annotations

from typing import get_args

from edgekit.errors import ModelError, RecipeError
from edgekit.forecast.units import TITLES
from edgekit.recommendation.evidence import EVIDENCE
from edgekit.recommendation.files import Draft, Network
from edgekit.recommendation.judging import MUCH, lowered, reason, saved, verdict
from edgekit.recommendation.technique import Latency, Need, Technique
from edgekit.stages.numerics import Scheme
from edgekit.target import Target

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_TOO_LARGE = {"too-large", "arena-too-large"}
_RISKS: dict[Scheme, str] = {
    "float16": "next to none",
    "dynamic-int8": "low: weights alone are rounded",
    "int8": "low to moderate: ranges come from your samples; qat or the doctor repair what is lost",
    "int16x8": "low: activations keep 16 bits",
}
_CALIBRATED: tuple[Need, ...] = ("calibration data",)


def drafts(network: Network) -> tuple[dict[Scheme, Draft], dict[Scheme, str]]:
    """The file in every format that can be made and runs, and for each other format why it is not."""
    made: dict[Scheme, Draft] = {}
    refused: dict[Scheme, str] = {}
    for scheme in SCHEMES:
        try:
            draft = network.draft(scheme)
        except (RecipeError, ModelError) as cause:
            refused[scheme] = cause.problem
            continue
        faults = [one for one in draft.checked.findings if one.level == "error" and one.code not in _TOO_LARGE]
        if faults:
            refused[scheme] = f"{faults[0].subject}: {faults[0].problem}"
        else:
            made[scheme] = draft
    return made, refused


def technique(
    scheme: Scheme, made: dict[Scheme, Draft], plain: Draft, latencies: dict[str, Latency], target: Target
) -> Technique:
    """What a format brings beside the float32 file `plain`; worth a step less where another one beats it."""
    draft, latency = made[scheme], latencies[scheme]
    if latency.kind == "refused":
        return Technique(scheme, "not-allowed", latency.basis)
    saves = saved(plain.size, draft.size, latencies["plain"], latency)
    faults = _faults(scheme, made, plain, latencies, target)
    found, why = verdict(saves, target), reason(saves, plain.size, draft.size, latency, target)
    found = lowered(found) if faults and found == "pays" else found
    if "float32" not in made and scheme == preferred(made, target):
        found, why = "pays", f"the target runs no float32; {why}"
    return Technique(
        scheme,
        found,
        why,
        scheme,
        "float32",
        saves,
        draft.size,
        latency,
        _CALIBRATED if scheme in ("int8", "int16x8") else (),
        _RISKS[scheme],
        EVIDENCE.get(scheme, ""),
        (*faults, *_notes(draft)),
    )


def preferred(made: dict[Scheme, Draft], target: Target) -> Scheme:
    """Of the formats that run, the one that the target prefers."""
    return next(one for one in target.numerics.schemes if one in made)


def _faults(
    scheme: Scheme, made: dict[Scheme, Draft], plain: Draft, latencies: dict[str, Latency], target: Target
) -> tuple[str, ...]:
    """Why a format is worth less than what it saves."""
    better = next((one for one in made if _beats(one, scheme, made, latencies, target)), None)
    found = [f"{better} is smaller here, and not slower"] if better else []
    more = made[scheme].outside - plain.outside
    if latencies[scheme].kind == "unknown" and more > MUCH:
        found.append(f"{TITLES[plain.checked.forecasts[0].unit]} leaves {more:.0%} more of the MACs than of float32")
    return tuple(found)


def _beats(
    one: Scheme, other: Scheme, made: dict[Scheme, Draft], latencies: dict[str, Latency], target: Target
) -> bool:
    """Smaller by much, and not slower: by their latencies, or as the target prefers them."""
    ours, theirs = latencies[one].seconds, latencies[other].seconds
    order = target.numerics.schemes
    faster = ours <= theirs if ours is not None and theirs is not None else order.index(one) < order.index(other)
    return faster and made[one].size.file_bytes < made[other].size.file_bytes * (1 - MUCH)


def _notes(draft: Draft) -> tuple[str, ...]:
    """What each unit leaves of the file, and memories that it does not fit."""
    found = []
    for one in draft.checked.forecasts:
        if one.left:
            names = ", ".join(dict.fromkeys(place.name for place in one.left))
            pieces = f", {one.partitions} pieces" if one.partitions > 1 else ""
            found.append(
                f"{TITLES[one.unit]} leaves {len(one.left)} of {len(one.placements)} operators ({names}){pieces}"
            )
    found += [f"does not fit: {one.problem}" for one in draft.checked.findings if one.code in _TOO_LARGE]
    return tuple(found)
