"""Workshop: where repairs of an int8 file are made from its float file, and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np

from edgekit.data.parts import Dataset, Part
from edgekit.doctor.bias_correction import correct_biases
from edgekit.doctor.diagnosis import LOOKED_AT, judging_part
from edgekit.doctor.equalize import equalize
from edgekit.doctor.layer_error import Array, look_inside
from edgekit.errors import DataError, ModelError
from edgekit.metrics import higher_is_better, mean_value
from edgekit.stages.calibrate import Observed, observe, ranges
from edgekit.stages.integer_graph import WEIGHTED
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.target import Target
from edgekit.tflite.graph import Graph, read_graph
from edgekit.verify import run_file

_CALIBRATION = 200
_ISLANDS = (1, 2, 4)
_METHODS = ("minmax", "mse", "percentile:99.99")
_RIMS: dict[str, Literal["float32", "int8", "uint8"]] = {"float32": "float32", "int8": "int8", "uint8": "uint8"}


@dataclass(frozen=True, eq=False)
class State:
    """How a file is made: the float file, the settings, how ranges are taken, which tensors stay in float, and more."""

    source: bytes = field(repr=False)
    stage: Quantize
    method: str = "minmax"
    keep: tuple[str, ...] = ()
    corrected: bool = False

    @classmethod
    def of(cls, file: bytes, source: bytes) -> State:
        """The state that makes a file like this one. Raises ModelError for a file that is no int8 file."""
        graph = read_graph(file)
        inner = {t.dtype for t in graph.tensors if t.scales and not t.constant}
        if "int8" not in inner or "int16" in inner:
            raise ModelError(
                f"repairs are for int8 files, and this one holds {', '.join(sorted(inner))}", "give an int8 file"
            )
        rim = _RIMS.get(graph.tensors[graph.inputs[0]].dtype, "int8")
        dense = {"FULLY_CONNECTED"}
        pair = _granularity(graph, {*WEIGHTED} - dense), _granularity(graph, dense)
        return cls(source, Quantize("int8", pair[0], pair[1], rim, "converter"))


def _granularity(graph: Graph, names: set[str]) -> Literal["per-channel", "per-tensor"]:
    """Per-tensor if some kernel of several channels has one scale, and none has more."""
    kernels = [graph.tensors[op.inputs[WEIGHTED[op.name]]] for op in graph.operators if op.name in names]
    quantized = [len(kernel.scales) for kernel in kernels if kernel.scales]
    return "per-tensor" if quantized and max(quantized) == 1 else "per-channel"


@dataclass(frozen=True, eq=False)
class Tried:
    """A file, how it was made, its score, and the noise in its outputs against those in float."""

    state: State
    file: bytes = field(repr=False)
    score: float
    noise: float


class Workshop:
    """Makes files from the float file and scores them on the judging part; the test part is not touched by that.

    Raises DataError without labels or calibration data.
    """

    def __init__(self, source: bytes, data: Dataset) -> None:
        if data.metric is None:
            raise DataError("a repair is judged by a score, and nothing is labelled", "give --data with labels")
        self.source, self.data, self.metric = source, data, data.metric
        self.part = judging_part(data)
        chosen = data.calibration or data.train
        if chosen is None:
            raise DataError("no data to calibrate on", "give train or calibration samples beside the test part")
        self.samples = list(chosen.take(_CALIBRATION).array())
        self._observed: dict[bytes, Observed] = {}

    @cached_property
    def float_outputs(self) -> tuple[Array, ...]:
        """What the float file makes of the judging part."""
        return run_file(self.source, self.part).arrays

    @cached_property
    def float_score(self) -> float:
        """The score of the float file."""
        return self._scored(self.part, self.float_outputs)

    def score(self, file: bytes, part: Part) -> float:
        """The score of a file on a part. Raises RunError if it cannot be run."""
        return self._scored(part, run_file(file, part).arrays)

    def tried(self, state: State) -> Tried:
        """Make and judge a file. Raises ModelError where the quantizer refuses, RunError where nothing runs."""
        source = Source(state.source, ranges(self._observe(state.source), state.method), keep=state.keep)
        file = quantize(source, state.stage)
        if state.corrected:
            file = correct_biases(file, state.source, [array[:LOOKED_AT] for array in self.samples])
        return self.judged(state, file)

    def judged(self, state: State, file: bytes) -> Tried:
        """A file that is there already, with its score and noise."""
        outputs = run_file(file, self.part).arrays
        pairs = zip(self.float_outputs, outputs, strict=True)
        noise = max(float(np.square(a - b).sum() / max(np.square(a).sum(), 1e-12)) for a, b in pairs)
        return Tried(state, file, self._scored(self.part, outputs), noise)

    def better(self, one: Tried, other: Tried) -> bool:
        """Whether the first scores better, or the same with less noise."""
        sign = 1 if higher_is_better(self.metric) else -1
        return (sign * one.score, -one.noise) > (sign * other.score, -other.noise)

    def worst(self, tried: Tried, count: int) -> tuple[str, ...]:
        """The names in the float file of what the operators write that add most noise alone."""
        samples = [array[:LOOKED_AT] for array in self.samples]
        look = look_inside(tried.file, tried.state.source, samples)
        ranked = sorted(look.layers, key=lambda one: -max(one.noise, one.grid_noise))
        tensors = look.pairing.float.tensors
        return tuple(tensors[one.pair[0].outputs[0]].name for one in ranked[:count])

    def _scored(self, part: Part, outputs: tuple[Array, ...]) -> float:
        judged = self.data.judged(part, outputs)
        if judged is None:
            raise DataError(f"the {part.name} part has no labels to judge a repair by", "give labels")
        return mean_value(self.metric, *judged)

    def _observe(self, source: bytes) -> Observed:
        if source not in self._observed:
            self._observed[source] = observe(source, self.samples)
        return self._observed[source]


Change = Callable[[Workshop, State, Tried | None], State]


@dataclass(frozen=True)
class Measure:
    """One rung: its name, what it makes of a state (given the best file so far, if any runs), and what it costs."""

    name: str
    change: Change
    note: str


def measures(target: Target | None) -> Iterator[Measure]:
    """The ladder, as far as a target permits it."""
    for method in _METHODS:
        yield Measure(f"calibrate: {method}", _calibrated(method), f"{_CALIBRATION} samples")
    yield Measure("equalize", lambda _, state, __: replace(state, source=equalize(state.source)), "exact in float")
    yield Measure("correct biases", lambda _, state, __: replace(state, corrected=True), "costs nothing to run")
    yield from _finer(target)
    if target is None or "float32" in target.numerics.schemes:
        for count in _ISLANDS:
            yield Measure(f"{count} in float", _islands(count), "slower where the target is fast in integers only")


def _calibrated(method: str) -> Change:
    return lambda _, state, __: replace(state, method=method)


def _finer(target: Target | None) -> Iterator[Measure]:
    convolutions = target is None or "per-channel" in target.numerics.granularity
    dense = target is None or "per-channel" in target.numerics.dense_granularity
    if convolutions:
        yield Measure("per-channel weights", _per_channel("granularity"), "a scale for each channel")
    if dense:
        yield Measure("per-channel dense weights", _per_channel("dense_granularity"), "a scale for each output")


def _per_channel(key: str) -> Change:
    def change(_: Workshop, state: State, __: Tried | None) -> State:
        if getattr(state.stage, key) == "per-channel":
            raise ModelError("the weights are per-channel already")
        return replace(state, stage=msgspec.structs.replace(state.stage, **{key: "per-channel"}))

    return change


def _islands(count: int) -> Change:
    def change(shop: Workshop, state: State, best: Tried | None) -> State:
        made = best if best is not None and best.state is state else shop.tried(replace(state, keep=()))
        return replace(state, keep=(*state.keep, *(n for n in shop.worst(made, count) if n not in state.keep)))

    return change
