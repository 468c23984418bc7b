"""Workshop: where repairs of an int8 file are made from its float file, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from edgekit.bench.plan import Plan
from edgekit.bench.run import measure
from edgekit.bench.statistics import summarize
from edgekit.data.match import match
from edgekit.data.parts import Dataset, Part
from edgekit.doctor.adaptive_rounding import round_adaptively
from edgekit.doctor.bias_correction import correct_biases
from edgekit.doctor.diagnosis import LOOKED_AT, judging_part
from edgekit.doctor.layer_error import Array, look_inside
from edgekit.errors import DataError, MissingDependency, ModelError, RunError
from edgekit.metrics import higher_is_better, mean_value
from edgekit.model import Model
from edgekit.stages.calibrate import Observed, Ranges, observe, ranges
from edgekit.stages.integer_graph import WEIGHTED
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import QuantizeAware, quantize_aware
from edgekit.surgery.rewrite import rewrite
from edgekit.surgery.rules import Rule
from edgekit.talk import Say
from edgekit.tflite.graph import Graph, read_graph
from edgekit.verify import run_file

CALIBRATION = 200
"""Samples that ranges and roundings are taken from; biases from the first ones, on which tensors are compared."""

_BRIEFLY = Plan(min_seconds=0.3, max_seconds=2.0)
_RIMS: dict[str, Literal["float32", "int8", "uint8"]] = {"float32": "float32", "int8": "int8", "uint8": "uint8"}


@dataclass(frozen=True, eq=False)
class State:
    """How a file is made: the float file, the settings, how ranges are taken, which tensors stay in float, and more.

    `corrected` and `rounded` say whether biases are corrected and weights rounded adaptively, `training` how the Keras
    model is trained as the file computes, where it is.
    """

    source: bytes = field(repr=False)
    stage: Quantize
    method: str = "minmax"
    keep: tuple[str, ...] = ()
    corrected: bool = False
    rounded: bool = False
    training: QuantizeAware | None = None

    @classmethod
    def of(cls, file: bytes, source: bytes) -> State:
        """The state that makes a file like this one. Raises ModelError for a file that is no int8 file."""
        graph = read_graph(file)
        inner = {t.dtype for t in graph.tensors if t.scales and not t.constant}
        if "int8" not in inner or "int16" in inner:
            raise ModelError(
                f"repairs are for int8 files, and this one holds {', '.join(sorted(inner))}", "give an int8 file"
            )
        dense = {"FULLY_CONNECTED"}
        pair = _granularity(graph, {*WEIGHTED} - dense), _granularity(graph, dense)
        return cls(source, Quantize("int8", pair[0], pair[1], _rim(graph), "converter"))


def _rim(graph: Graph) -> Literal["float32", "int8", "uint8"]:
    """The type of the inputs and outputs, but for those that no cast can change: indices, and what stays in float."""
    casts = [op for op in graph.operators if op.name in ("QUANTIZE", "DEQUANTIZE")]
    cast = {op.inputs[0] for op in casts} | {op.outputs[0] for op in casts}
    rims = {index: graph.tensors[index] for index in (*graph.inputs, *graph.outputs)}
    kinds = {tensor.dtype for index, tensor in rims.items() if tensor.scales or index in cast}
    if len(kinds) > 1:
        raise ModelError(
            f"repairs make all inputs and outputs of one type, and those of this file are {', '.join(sorted(kinds))}",
            "make it again with one type for both: `edgekit optimize ... -r int8:io=float32`, or io=uint8",
        )
    return next((kind for name, kind in _RIMS.items() if name in kinds), "int8")


def _granularity(graph: Graph, names: set[str]) -> Literal["per-channel", "per-tensor"]:
    """Per-tensor if some kernel of several channels has one scale, and none has more."""
    kernels = [graph.tensors[op.inputs[WEIGHTED[op.name]]] for op in graph.operators if op.name in names]
    quantized = [len(kernel.scales) for kernel in kernels if kernel.scales]
    return "per-tensor" if quantized and max(quantized) == 1 else "per-channel"


@dataclass(frozen=True, eq=False)
class Tried:
    """A file, how it was made, its score, and the noise in its outputs against those in float.

    `plain` is the file before its rewrites, with the operators of the float file.
    """

    state: State
    file: bytes = field(repr=False)
    score: float
    noise: float
    plain: bytes = field(default=b"", repr=False)


class Workshop:
    """Makes files from the float file and scores them on the judging part; the test part is not touched by that.

    `model` is the Keras model of the float file, where there is one; each file is rewritten by `rules`. Raises
    DataError without labels or calibration data.
    """

    def __init__(
        self,
        source: bytes,
        data: Dataset,
        model: Model | None = None,
        say: Say = lambda _: None,
        rules: Sequence[Rule] = (),
    ) -> None:
        self.source, self.data, self.metric = source, data, data.one_metric("a repair")
        self.model, self.say, self.rules = model, say, rules
        self.part = judging_part(data)
        chosen = data.calibration or data.train
        if chosen is None:
            raise DataError("no data to calibrate on", "give train or calibration samples beside the test part")
        batch = read_graph(source).batch
        self.samples = list(chosen.take(max(CALIBRATION, batch)).array())
        self._looked_at = [array[: max(LOOKED_AT, batch)] for array in self.samples]
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
        plain = self._made(state)
        return replace(self.judged(state, rewrite(plain, self.rules).file), plain=plain)

    def _made(self, state: State) -> bytes:
        width = 16 if state.stage.scheme == "int16x8" else 8
        found = ranges(self._observe(state.source), state.method, width)
        if state.training is not None:
            return self._trained(state, state.training, found)
        file = quantize(Source(state.source, found, keep=state.keep), state.stage)
        if state.corrected:
            file = correct_biases(file, state.source, self._looked_at)
        return round_adaptively(file, state.source, self.samples, say=self.say) if state.rounded else file

    def _trained(self, state: State, stage: QuantizeAware, found: Ranges) -> bytes:
        if self.model is None:
            raise ModelError("needs the Keras model, and the float model is a .tflite", "give --float MODEL.keras")
        if (batch := read_graph(state.source).batch) != 1:
            raise ModelError(f"files of one sample at a time are trained, and this one takes {batch}", "make it with 1")
        data = match(self.data, self.model.inputs, self.model.outputs)
        trained = quantize_aware(
            self.model.keras, stage, data, numerics=state.stage, float_file=state.source, ranges=found, say=self.say
        )
        return trained.file

    def judged(self, state: State, file: bytes) -> Tried:
        """A file that is there already, with its score and noise."""
        outputs = run_file(file, self.part).arrays
        pairs = zip(self.float_outputs, outputs, strict=True)
        noise = max(float(np.square(a - b).sum() / max(np.square(a).sum(), 1e-12)) for a, b in pairs)
        return Tried(state, file, self._scored(self.part, outputs), noise)

    def seconds(self, file: bytes) -> float | None:
        """The median of a run on this host, by one thread; None where it cannot be measured."""
        try:
            return float(summarize(measure(file, _BRIEFLY)).p50_seconds.value)
        except (MissingDependency, RunError):
            return None

    def better(self, one: Tried, other: Tried) -> bool:
        """Whether the first scores better, up to the float score (beyond is luck), or the same with less noise."""
        sign = 1 if higher_is_better(self.metric) else -1
        first, second = (min(sign * tried.score, sign * self.float_score) for tried in (one, other))
        return (first, -one.noise) > (second, -other.noise)

    def worst(self, tried: Tried, count: int) -> tuple[str, ...]:
        """The names in the float file of what the operators write that add most noise alone."""
        look = look_inside(tried.plain or tried.file, tried.state.source, self._looked_at)
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
