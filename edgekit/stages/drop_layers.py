"""Drop layers: whole residual branches whose removal changes the output least.

A branch is what an addition adds to its own source: x + f(x) without f is x (Veit et al. 2016, arXiv:1605.06431, show
that residual networks lose little by that). The cost of a set of branches is

    change = || y' - y || / || y - mean(y) ||

over some samples, y the outputs with all branches and y' without these: 0 says nothing changed, 1 that the network
might as well always give its mean. Branches go one by one, each time the one that costs least, up to the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit.errors import DataError, RecipeError
from edgekit.graph.macs import costs, total
from edgekit.graph.rebuild import fresh, per_operation, rebuild
from edgekit.graph.walk import Call, Graph, Tensor, tensors, walk
from edgekit.stages import losses
from edgekit.stages.harm import change_of
from edgekit.stages.patterns import any_matching
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]


class DropLayers(Struct, frozen=True, forbid_unknown_fields=True, tag="drop_layers", tag_field="stage"):
    """Remove residual branches whose removal changes the output least."""

    threshold: Annotated[float, Meta(gt=0, le=1, description="Change of the outputs at most; 1: as much as they vary.")]
    most: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Branches at most; by default all.")] = None
    keep: Annotated[tuple[str, ...], Meta(description="Patterns of layers in branches that stay.")] = ()
    samples: Annotated[int, Meta(ge=2, description="Samples to judge by.")] = 256

    @property
    def detail(self) -> str:
        """The stage in a few words."""
        return f"branches that change the outputs by at most {self.threshold:.0%}"


@dataclass(frozen=True)
class Branch:
    """What the addition `join` adds to its input number `skip`; `layers` exist for nothing else."""

    join: str
    skip: int
    layers: tuple[str, ...]


Judged = tuple[tuple[Branch, float], ...]
"""Branches with the change of the outputs that dropping them brings."""


@dataclass(frozen=True, eq=False)
class DropPlan:
    """Branches that go, in the order in which they were chosen, with the change once each is gone as well.

    `stay` has the change that each of the other branches would have brought at the end.
    """

    graph: Graph = field(repr=False)
    drop: Judged
    stay: Judged


class DroppedBranch(Struct, frozen=True):
    """A branch by the name of its addition, its layers with weights, and the change of the outputs up to this one."""

    join: str
    layers: tuple[str, ...]
    change: float


HEADER = ("addition", "layers in its branch", "change of the outputs", "note")


class DropReport(Struct, frozen=True):
    """What was done; `kept` would each have brought the change that is said with it."""

    dropped: tuple[DroppedBranch, ...]
    kept: tuple[DroppedBranch, ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`: the branches that went, then those that stay, by what they would cost."""
        return [
            (branch.join, ", ".join(branch.layers), _percent(branch.change), note)
            for found, note in ((self.dropped, "dropped"), (self.kept, "stays"))
            for branch in found
        ]


def _percent(change: float) -> str:
    return f"{change:.2%}" if math.isfinite(change) else "no numbers"


def branches(graph: Graph) -> tuple[Branch, ...]:
    """Every addition of two tensors of one shape, of which one is made from the other, and that runs once."""
    found = []
    for call in graph.calls:
        if call.kind == "Add" and len(call.inputs) == 2 and len(graph.calls_of(call.name)) == 1:
            skip = _source(graph, call)
            if skip is not None:
                found.append(Branch(call.name, skip, _only_for(graph, call, skip)))
    return tuple(found)


def plan(model: Any, stage: DropLayers, samples: Sequence[Array]) -> DropPlan:
    """Choose the branches that go; the model is only read. `samples` has an array `[samples, ...]` for each input.

    Raises RecipeError where the model has no such branch or a pattern matches nothing, DataError without two samples.
    """
    if not samples or len(samples[0]) < 2:
        raise DataError("drop_layers: it needs at least two samples to see what changes", "give data with samples")
    graph = walk(model)
    candidates = branches(graph)
    if not candidates:
        raise RecipeError(
            f"drop_layers: {model.name!r} has no residual branch x + f(x) of one shape", "drop this stage"
        )
    known = [name for branch in candidates for name in (branch.join, *branch.layers)]
    safe = any_matching(stage.keep, known, "drop_layers")
    free = [branch for branch in candidates if not safe & {branch.join, *branch.layers}]
    change = _measure(graph, candidates, [array[: stage.samples] for array in samples])
    return DropPlan(graph, *_greedy(free, stage, change))


def apply(plan: DropPlan) -> Any:
    """The network without the branches: layers of its own under the same names."""
    gone = {branch.join: branch.skip for branch, _ in plan.drop}

    def make(call: Call) -> Callable[..., Any]:
        return _passing(gone[call.name]) if call.name in gone else fresh(call)

    return rebuild(plan.graph, per_operation(make))


def report(plan: DropPlan) -> DropReport:
    """What the plan removes, in layers, multiply-accumulates and parameters."""
    old, new = total(costs(plan.graph)), total(costs(walk(apply(plan))))

    def listed(found: Judged) -> tuple[DroppedBranch, ...]:
        weights = {name for name, layer in plan.graph.layers.items() if layer.weights}
        return tuple(
            DroppedBranch(branch.join, tuple(name for name in branch.layers if name in weights), change)
            for branch, change in found
        )

    return DropReport(listed(plan.drop), listed(plan.stay), old.macs, new.macs, old.parameters, new.parameters)


def _greedy(free: list[Branch], stage: DropLayers, change: Callable[[set[str]], float]) -> tuple[Judged, Judged]:
    dropped: list[tuple[Branch, float]] = []
    while True:
        gone = {branch.join for branch, _ in dropped}
        left = [(branch, change({*gone, branch.join})) for branch in free if branch.join not in gone]
        left.sort(key=lambda pair: pair[1])
        if not left or left[0][1] > stage.threshold or len(dropped) == stage.most:
            return tuple(dropped), tuple(left)
        dropped.append(left[0])


def _source(graph: Graph, call: Call) -> int | None:
    """Which input of an addition the other one is made from."""
    first, second = call.inputs
    if first.shape != second.shape or first == second:
        return None
    if first in _behind(graph, [second]):
        return 0
    return 1 if second in _behind(graph, [first]) else None


def _only_for(graph: Graph, call: Call, skip: int) -> tuple[str, ...]:
    """Names of the operations that nothing needs once the addition passes on its input `skip`."""
    needed = _behind(graph, tensors(graph.outputs), call, skip)
    alive = {other.name for other in graph.calls if needed.intersection(other.results)}
    return tuple(name for name in graph.operations if name not in alive)


def _behind(graph: Graph, ends: Iterable[Tensor], join: Call | None = None, skip: int = 0) -> set[Tensor]:
    """The tensors that `ends` are made from, and these, when `join` only passes on its input `skip`."""
    found = set(ends)
    waiting = list(found)
    while waiting:
        call = graph.producers.get(waiting.pop())
        entering = () if call is None else (call.inputs[skip],) if call is join else call.inputs
        new = set(entering) - found
        found |= new
        waiting += new
    return found


def _passing(place: int) -> Callable[..., Any]:
    return lambda *args, **kwargs: import_keras().tree.flatten((args, kwargs))[place]


def _gated(gate: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: gate(import_keras().tree.flatten((args, kwargs)))


def _gate(skip: int) -> Any:
    """A layer that adds two tensors, the one that is not number `skip` only while the gate is open."""
    keras = import_keras()

    class Gate(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(autocast=False)
            self.open = self.add_weight(shape=(), initializer="ones", trainable=False)

        def call(self, pair: Any) -> Any:
            return pair[skip] + keras.ops.cast(self.open, pair[skip].dtype) * pair[1 - skip]

        def compute_output_spec(self, pair: Any) -> Any:
            return keras.KerasTensor(pair[skip].shape, pair[skip].dtype)

    return Gate()


def _measure(graph: Graph, candidates: Sequence[Branch], samples: Sequence[Array]) -> Callable[[set[str]], float]:
    """A function from the additions that lose their branch to the change of the outputs, by one network with gates."""
    tf = import_tensorflow()
    gates = {branch.join: _gate(branch.skip) for branch in candidates}
    copied = per_operation(fresh)
    network = rebuild(graph, lambda call: _gated(gates[call.name]) if call.name in gates else copied(call))
    run = tf.function(lambda *batch: losses.call(network, batch, training=False), reduce_retracing=True)

    def outputs() -> list[Array]:
        parts = [run(*(array[start : start + 64] for array in samples)) for start in range(0, len(samples[0]), 64)]
        return [np.concatenate([np.asarray(one) for one in output]) for output in zip(*parts, strict=True)]

    wanted = outputs()
    if not all(np.isfinite(output).all() for output in wanted):
        raise DataError(
            "drop_layers: the network gives NaN or infinity for samples of the data",
            "look for NaN or huge values in the data and the weights",
        )

    def change(gone: set[str]) -> float:
        for name, gate in gates.items():
            gate.open.assign(float(name not in gone))
        return change_of(wanted, outputs())

    return change
