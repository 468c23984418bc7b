"""Which operators make a quantized file slower than its float32 file, and which of them to keep in float32."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from edgekit.artifact import sha256
from edgekit.bench.profile import Profile, profile
from edgekit.errors import EdgekitError
from edgekit.makings import Makings
from edgekit.stages.integer_graph import MOVES
from edgekit.surgery.rewrite import cutting
from edgekit.tflite.graph import Graph, read_graph
from edgekit.units import format_seconds

_CASTS = {"QUANTIZE", "DEQUANTIZE"}
_NAMED = 3
_SHARE = 0.1  # below it a type comes and goes with the noise


class SlowOperators:
    """Those that XNNPACK leaves of a quantized file only, and those that take longer in it than in float32."""

    def __init__(self, makings: Makings, quantized: bytes, plain: bytes) -> None:
        self._graph, self._left = read_graph(plain), cutting(quantized) - cutting(plain)
        try:
            self._slower = _slower(*(_profiled(makings, file) for file in (quantized, plain)))
        except EdgekitError as fault:
            makings.say(f"operators cannot be timed one by one: {fault.problem}")
            self._slower = {}

    @property
    def regions(self) -> list[list[str]]:
        """Types of operators to keep in float32: the dear ones, and those with all in one run that only move values."""
        known = {operator.name for operator in self._graph.operators}
        dear = known & {*self._left, *self._slower} - _CASTS
        wide = _run_of(self._graph, dear)
        return [sorted(names) for names in ([dear, wide] if wide > dear else [dear]) if names]

    def __str__(self) -> str:
        if self._left:
            return f"XNNPACK leaves {counted(self._left)}, which it has in float32"
        words = [f"{name} {format_seconds(a)} (float32: {format_seconds(b)})" for name, (a, b) in self._slower.items()]
        return f"XNNPACK takes all of it, and is slower with {', '.join(words[:_NAMED]) or 'the file as a whole'}"


def counted(names: Counter[str]) -> str:
    """The most frequent operators in words: `3 TANH, 1 HARD_SWISH`."""
    return ", ".join(f"{count} {name}" for name, count in names.most_common(_NAMED))


def _profiled(makings: Makings, file: bytes) -> Profile:
    key = [sha256(file), makings.here]
    return makings.work.remember("time each operator", key, lambda: _timed(file), Profile)


def _timed(file: bytes) -> Profile:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(file)
        return profile(path)


def _slower(quantized: Profile, plain: Profile) -> dict[str, tuple[float, float]]:
    """Types with a tenth or more of what the file loses, and the seconds of each in both files; the worst first."""
    own, other = _seconds(quantized), _seconds(plain)
    losses = {name: own[name] - other[name] for name in own.keys() & other.keys() if own[name] > other[name]}
    least = _SHARE * sum(losses.values())
    worst = sorted((name for name, loss in losses.items() if loss >= least), key=lambda name: -losses[name])
    return {name: (own[name], other[name]) for name in worst}


def _seconds(found: Profile) -> dict[str, float]:
    totals: dict[str, float] = {}
    for one in found.types:
        totals[one.operator] = totals.get(one.operator, 0.0) + one.seconds
    return totals


def _run_of(graph: Graph, names: set[str]) -> set[str]:
    """The types, and those of all operators in one run with them that only move values."""
    found = set(names)
    while True:
        tensors = {index for op in graph.operators if op.name in found for index in (*op.inputs, *op.outputs)}
        wider = {op.name for op in graph.operators if op.name in MOVES and tensors & {*op.inputs, *op.outputs}}
        if wider <= found:
            return found
        found |= wider
