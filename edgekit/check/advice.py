"""What would pay on a target: changes of a file in words, each with what it would save, the greatest share first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct, structs

from edgekit.finding import grouped, named
from edgekit.forecast.delegate import DELEGATE_REFUSED
from edgekit.forecast.partition import partition
from edgekit.forecast.placement import Forecast
from edgekit.forecast.units import TITLES
from edgekit.target import Target
from edgekit.tflite.graph import Graph
from edgekit.tflite.inspect import ModelContents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.memory_savings import savings
from edgekit.units import format_bytes, format_count

Resource = Literal["file", "tensors", "streamed", "outside", "pieces"]

_LEAST = 0.02  # a change that saves less is not worth a line
_SIDE_EFFECT = {"cut", "file", "file-refused", "smaller-piece", "float16-constants", DELEGATE_REFUSED}
"""Left because of another operator."""
_REFUSING = {"dynamic-tensor", "fails-to-build"}  # one of these, and the delegate is not applied at all
_MOST_PIECES = {"edgetpu": 1, "gpu": 1, "nnapi": 3}
_EACH_CHANNEL = 16  # bytes of a bias, a scale and a zero point


class Advice(Struct, frozen=True):
    """A change, and what it would save of a resource, in its unit.

    `file`, `tensors` (between operators) and `streamed` (parameters sent to an accelerator at each inference) are
    bytes; `outside` are multiply-accumulates outside of the accelerator, `pieces` its parts of the graph.
    """

    what: str
    resource: Resource
    before: int
    after: int

    @property
    def share(self) -> float:
        """How much of the resource it saves, from 0 to 1."""
        return 1 - self.after / self.before if self.before else 0.0


def advise(
    summary: ModelContents, graph: Graph, target: Target, forecasts: Sequence[Forecast], streamed: int
) -> tuple[Advice, ...]:
    """Everything that would pay on the target; `streamed` are the bytes that its accelerator cannot keep."""
    found = [*_numbers(summary, target), *_order(summary, target), *_parameters(streamed)]
    runs = summary.numeric in (*target.numerics.schemes, "mixed")  # else the whole file has to be made again
    if runs and forecasts and forecasts[0].unit != "micro":
        found += _operators(summary, graph, forecasts[0])
    return tuple(sorted((one for one in found if one.share >= _LEAST), key=lambda one: -one.share))


def _numbers(summary: ModelContents, target: Target) -> Iterator[Advice]:
    """Whole numbers in the place of floats: a quarter of the parameters, and of the tensors between operators."""
    if summary.numeric not in ("float32", "float16", "dynamic-int8") or "int8" not in target.numerics.schemes:
        return
    what = "quantize it to int8 (`--recipe int8`)"
    yield Advice(what, "file", summary.file_bytes, summary.file_bytes - summary.parameter_bytes + _in_int8(summary))
    if target.numerics.schemes[0] != "int8":
        return  # an accelerator that computes 8-bit files in floating point
    tensors = tuple(
        structs.replace(tensor, dtype="int8") if tensor.dtype == "float32" else tensor for tensor in summary.tensors
    )
    after = plan_memory(structs.replace(summary, tensors=tensors), target.planner).arena_bytes
    yield Advice(what, "tensors", plan_memory(summary, target.planner).arena_bytes, after)


def _in_int8(summary: ModelContents) -> int:
    """Bytes of the parameters in int8, about: a byte a weight; biases stay wide, and each channel has its scale."""
    weights = {one.buffer: one for one in summary.tensors if one.constant_bytes and one.dtype in ("float32", "float16")}
    return sum(one.elements if len(one.shape) > 1 else _EACH_CHANNEL * one.elements for one in weights.values())


def _order(summary: ModelContents, target: Target) -> Iterator[Advice]:
    """Where memory is what is scarce: the same operators in an order in which less lives at once."""
    if target.memory.flash_bytes is not None:
        now, found = plan_memory(summary, target.planner).arena_bytes, savings(summary, target.planner)
        yield Advice(
            "write its operators in an order in which less lives at once", "tensors", now, found.reordered_bytes
        )


def _parameters(streamed: int) -> Iterator[Advice]:
    yield Advice(f"{format_bytes(streamed)} fewer parameters (prune_channels, factorize)", "streamed", streamed, 0)


def _operators(summary: ModelContents, graph: Graph, forecast: Forecast) -> Iterator[Advice]:
    """For each mend of operators that the unit leaves: what it would take if those were mended."""
    macs = {op.index: op.macs for op in summary.operators if op.subgraph == 0}
    own = [one for one in forecast.left if one.code not in _SIDE_EFFECT]
    taken = frozenset(one.index for one in forecast.placements) - {one.index for one in own}
    culprits = [one for one in own if one.code in _REFUSING]
    now = _Division(graph, frozenset() if culprits else taken, forecast, macs)
    mendable = [one for one in own if one.mend]
    groups = [culprits] if culprits else grouped(mendable, lambda one: (one.code, one.mend)).values()
    for group in groups:
        then = _Division(graph, taken | {one.index for one in group}, forecast, macs)
        change = f"{TITLES[forecast.unit]} takes {then.operators} instead of {now.operators} operators"
        what = f"mend {named(group)}: {change}"
        if then.outside < now.outside:
            yield Advice(what, "outside", now.outside, then.outside)
        elif then.pieces < now.pieces:
            yield Advice(what, "pieces", now.pieces, then.pieces)


class _Division:
    """How much a unit takes of a graph if it could take these operators."""

    def __init__(self, graph: Graph, fits: frozenset[int], forecast: Forecast, macs: dict[int, int]) -> None:
        pieces = [piece.operators for piece in partition(graph, fits) or () if piece.taken]
        if forecast.unit in ("gpu", "nnapi"):
            pieces.sort(key=len, reverse=True)
        chosen = pieces[: _MOST_PIECES.get(forecast.unit)]
        inside = {index for piece in chosen for index in piece}
        self.pieces, self.operators = len(chosen), len(inside)
        self.outside = sum(count for index, count in macs.items() if index not in inside)


def words(advice: Sequence[Advice]) -> list[str]:
    """A line for a person for each change, with everything that it saves."""
    return [f"{what}; {', '.join(map(_saved, ones))}" for what, ones in grouped(advice, lambda one: one.what).items()]


def _saved(advice: Advice) -> str:
    show = {"outside": format_count, "pieces": format_count}.get(advice.resource, format_bytes)
    return f"{_NAMES[advice.resource]} {show(advice.before)} -> {show(advice.after)}"


_NAMES: dict[Resource, str] = {
    "file": "file about",
    "tensors": "tensors",
    "streamed": "sent at each inference",
    "outside": "MACs outside of it",
    "pieces": "pieces",
}
