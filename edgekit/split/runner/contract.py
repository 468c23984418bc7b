"""What was planned, as `plan.json` says it, and whether the files are still those."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .problem import FAILED, Problem

_AGAIN = "split the model again, or copy the whole folder again"


@dataclass(frozen=True)
class Port:
    """A tensor that goes in or out: `tensor` is its number in the whole model; real = (stored - zero_point) * scale."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Segment:
    """A part of the model as a file of its own; `seconds` is what a sample took it where it was planned, if known."""

    index: int
    file: str
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    seconds: float | None = None

    @property
    def title(self) -> str:
        """The name in messages."""
        return f"segment {self.index} ({self.file})"


@dataclass(frozen=True)
class Edge:
    """Tensors that go from one segment to another; None is the outside. `hops`: the longest way between the two."""

    source: int | None
    target: int | None
    tensors: tuple[int, ...]
    hops: int


@dataclass(frozen=True)
class Plan:
    """All segments, in an order in which they can run, and what goes between them."""

    folder: Path
    model: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    segments: tuple[Segment, ...]
    edges: tuple[Edge, ...]

    def file(self, segment: Segment) -> Path:
        """Path of a segment. Raises Problem unless its bytes are those that were planned."""
        path = self.folder / segment.file
        found = hashlib.sha256(_read(path)).hexdigest()
        if found != segment.sha256:
            raise Problem(f"{path} was changed: SHA-256 {found}, planned was {segment.sha256}", _AGAIN, FAILED)
        return path


def load(folder: Path) -> Plan:
    """Read `plan.json`. Raises Problem if it is damaged, or if its parts do not fit together."""
    path = folder / "plan.json"
    try:
        said = json.loads(_read(path))
        if said["format_version"] != 1:
            raise ValueError(f"format_version {said['format_version']}, this runner reads 1")
        segments = tuple(_segment(index, one) for index, one in enumerate(said["segments"]))
        edges = tuple(Edge(e["source"], e["target"], tuple(e["tensors"]), int(e["hops"])) for e in said["edges"])
        plan = Plan(folder, said["model"], _ports(said["inputs"]), _ports(said["outputs"]), segments, edges)
        _check(plan)
        return plan
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Problem(f"{path} is damaged: {cause!r}", _AGAIN, FAILED) from None


def _segment(index: int, said: dict[str, Any]) -> Segment:
    if Path(said["file"]).name != said["file"]:
        raise ValueError(f"{said['file']!r} is not in this folder")
    seconds = None if said.get("seconds") is None else float(said["seconds"])
    return Segment(index, said["file"], said["sha256"], _ports(said["inputs"]), _ports(said["outputs"]), seconds)


def _ports(said: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(
        Port(one["tensor"], one["name"], tuple(one["shape"]), one["dtype"], one["scale"], one["zero_point"])
        for one in said
    )


def _check(plan: Plan) -> None:
    """Every tensor that a segment reads comes to it, from one that is before it and gives it."""
    given: dict[int | None, set[int]] = {None: {port.tensor for port in plan.inputs}}
    given.update({one.index: {port.tensor for port in one.outputs} for one in plan.segments})
    wanted: dict[int | None, set[int]] = {None: {port.tensor for port in plan.outputs}}
    wanted.update({one.index: {port.tensor for port in one.inputs} for one in plan.segments})
    for edge in plan.edges:
        backwards = edge.source is not None and edge.target is not None and edge.source >= edge.target
        if backwards or edge.hops < 1 or not given[edge.source].issuperset(edge.tensors):
            raise ValueError(f"the edge from {edge.source} to {edge.target} cannot be")
        wanted[edge.target].difference_update(edge.tensors)
    if missing := {target: tensors for target, tensors in wanted.items() if tensors}:
        raise ValueError(f"tensors come from nowhere: {missing}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise Problem(f"{path}: {cause.strerror}", _AGAIN, FAILED) from None
