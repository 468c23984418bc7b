"""Published latencies: what others measured on a board, each with its source, as frozen values."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from edgekit import strict_toml
from edgekit.errors import TargetError, did_you_mean

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
Source = Annotated[str, Meta(min_length=1)]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """What one inference of a known network takes; MACs of depthwise convolutions are part of all MACs."""

    family: Annotated[str, Meta(description="Networks of one design count as one kind.")]
    macs: Positive
    depthwise_macs: Count
    parameters: Positive
    source: Annotated[Source, Meta(description="What was counted.")]


class Networks(Struct, frozen=True, forbid_unknown_fields=True):
    """The networks that figures may name."""

    networks: dict[str, Network]
    format_version: Literal[1] = 1


class Series(Struct, frozen=True, forbid_unknown_fields=True):
    """Latencies that one source gives for one board, number format and setting."""

    numeric: Annotated[Literal["float32", "int8"], Meta(description="What the networks computed in.")]
    measured_on: Annotated[str, Meta(min_length=1, description="The very device, as the source names it.")]
    runtime: Annotated[str, Meta(min_length=1, description="What executed the networks.")]
    source: Annotated[Source, Meta(description="Address, and where in it.")]
    milliseconds: Annotated[
        dict[str, Annotated[float, Meta(gt=0)]], Meta(min_length=1, description="Network -> as published.")
    ]
    threads: Annotated[Positive | None, Meta(description="Threads of the CPU; null on accelerators.")] = None
    clock_hz: Annotated[Positive | None, Meta(description="Clock of a microcontroller.")] = None


class Figures(Struct, frozen=True, forbid_unknown_fields=True):
    """All that is shipped for one target."""

    target: str
    series: tuple[Series, ...]
    format_version: Literal[1] = 1


def figures_of(target: str) -> tuple[Series, ...]:
    """The shipped series of a target by its name; empty where nothing is shipped.

    Raises TargetError for a shipped file that does not fit, which the tests exclude.
    """
    entry = _folder() / f"{target}.toml"
    if target == _NETWORKS or not entry.is_file():
        return ()
    with resources.as_file(entry) as path:
        found = strict_toml.load(path, Figures, TargetError)
        for series in found.series:
            if unknown := sorted(series.milliseconds.keys() - networks().keys()):
                raise TargetError(f"{path}: unknown network {unknown[0]!r}", did_you_mean(unknown[0], networks()))
    return found.series


@cache
def networks() -> dict[str, Network]:
    """The networks that figures may name. Raises TargetError if the shipped file does not fit the schema."""
    with resources.as_file(_folder() / f"{_NETWORKS}.toml") as path:
        return strict_toml.load(path, Networks, TargetError).networks


def targets_with_figures() -> list[str]:
    """Names of the targets for which figures are shipped, sorted."""
    names = (item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))
    return sorted(name for name in names if name != _NETWORKS)


_NETWORKS = "networks"


def _folder() -> Traversable:
    return resources.files("edgekit.targets") / "figures"
