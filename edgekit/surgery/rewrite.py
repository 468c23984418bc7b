"""Rewrite a file for XNNPACK, by the rules of the table, and say what was done.

One pass in the order of execution: the forecast names the operators that XNNPACK leaves, and the first rule that fits
an operator is applied. It is done to the finished file, so ranges, both quantizers and quantization-aware training see
the operators that the converter makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from edgekit.forecast.placement import Forecast
from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.surgery.edit import Edit
from edgekit.surgery.rules import RULES, Rule
from edgekit.target import Target
from edgekit.tflite import flatbuffer
from edgekit.tflite.graph import Graph, read_graph
from edgekit.tflite.metadata import with_files_of

_WHOLE_FILE = ("cycle", "file", "kernel")
_CASTS = ("QUANTIZE", "DEQUANTIZE")


class Applied(Struct, frozen=True):
    """A rule that was applied: to which operators, how often, and why."""

    rule: str
    operator: str
    count: int
    becomes: str
    reason: str

    def __str__(self) -> str:
        return f"{self.count} {self.operator} as {self.becomes}"


class Rewritten(Struct, frozen=True):
    """A file, and what was done to it; the bytes that came in where nothing was."""

    file: bytes
    applied: tuple[Applied, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.applied))


def rules_for(target: Target) -> tuple[Rule, ...]:
    """The rules that make files faster on a target; none unless its first choice is XNNPACK in LiteRT.

    Accelerators want integers and operators as the converter makes them; microcontrollers have kernels of their own.
    """
    runtime = target.runtime
    first = runtime.delegates[0] if runtime.delegates else ""
    return RULES if (runtime.packages[0], first) == ("ai-edge-litert", "xnnpack") else ()


def rewrite(model: bytes, rules: Sequence[Rule] = RULES) -> Rewritten:
    """The file rewritten by the rules, in their order. Raises ModelError for bytes that are no sound TFLite file."""
    if not rules:
        return Rewritten(model)
    graph = read_graph(model)
    cutting = _cutting(graph, forecast_xnnpack(graph))
    edit, done = Edit(model), Counter[tuple[str, str]]()
    with flatbuffer.damage_named("model"):
        for place, operator in enumerate(list(edit.graph.operators)):
            name = edit.name(operator)
            found = _first(edit, operator, name, place in cutting, rules) if edit.holds(operator) else None
            if found:
                done[found.name, name] += 1
        if not done:
            return Rewritten(model)
        named = {rule.name: rule for rule in rules}
        applied = (
            Applied(rule, operator, count, named[rule].becomes, named[rule].reason)
            for (rule, operator), count in done.items()
        )
        edit.drop_unread_casts()
        return Rewritten(with_files_of(edit.done(), model), tuple(applied))


def partitions(model: bytes) -> int:
    """How many pieces XNNPACK makes of a file. Raises ModelError for bytes that are no sound TFLite file."""
    return forecast_xnnpack(read_graph(model)).partitions


def cutting(model: bytes) -> Counter[str]:
    """How many operators of each type cut a file into pieces: XNNPACK leaves them and takes up what they give.

    Raises ModelError for bytes that are no sound TFLite file.
    """
    graph = read_graph(model)
    places = _cutting(graph, forecast_xnnpack(graph))
    return Counter(operator.name for operator in graph.operators if operator.index in places)


def _first(edit: Edit, operator: Any, name: str, cuts: bool, rules: Sequence[Rule]) -> Rule | None:
    tried = (rule for rule in rules if name in rule.operators and (cuts or rule.everywhere))
    return next((rule for rule in tried if rule.change(edit, operator)), None)


def _cutting(graph: Graph, forecast: Forecast) -> set[int]:
    """Operators that XNNPACK leaves and whose results it takes up again: each ends a piece and begins another.

    The last ones of a graph cut nothing, whether or not their results are cast; nor is there anything to cut where
    XNNPACK takes no operator.
    """
    rim = {op.index for op in graph.operators if op.name in _CASTS and {*op.outputs} <= {*graph.outputs}}
    taken = {placement.index for placement in forecast.placements if placement.taken} - rim
    left = {each.index for each in forecast.left if each.taken is False and each.code not in _WHOLE_FILE}
    wanted: set[int] = set()
    found = set()
    for operator in reversed(graph.operators):
        needed = bool(wanted.intersection(operator.outputs))
        if operator.index in taken or needed:
            wanted.update(operator.inputs)
        if needed and operator.index in left:
            found.add(operator.index)
    return found
