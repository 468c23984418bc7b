"""Repair: a ladder of measures against a bad int8 file, the cheapest first, until a floor is met.

Each rung is tried on top of what has helped so far, scored, and kept only if the score rises (or stays, with less noise
in the outputs). The file is made anew from its float file.

1. calibrate anew, by several methods, with the granularity and the rims of the file as it was;
2. equalize channels between layers (`equalize`); 3. correct biases (`bias_correction`);
4. round weights so that each layer computes what it does in float (`adaptive_rounding`);
5. one weight scale for each channel; 6. activations of 16 bits; 7. the worst layers in float, 1, 2, 4, each where the
target permits it; 8. train as the file computes (`quantize_aware`), where the float model is a Keras model.
"""

from __future__ import annotations

import time

from msgspec import Struct, structs

from edgekit.data.parts import Dataset
from edgekit.doctor.defects import overflowing_biases, unsound_scales
from edgekit.doctor.floor import Floor
from edgekit.doctor.measures import Measure, measures
from edgekit.doctor.mismatch import mismatches
from edgekit.doctor.pairing import paired
from edgekit.doctor.workshop import State, Tried, Workshop
from edgekit.errors import DataError, EdgekitError, InputError, MissingDependency, ModelError, RunError
from edgekit.metrics import higher_is_better
from edgekit.model import Model
from edgekit.surgery.rewrite import rewrite, rules_for
from edgekit.surgery.rules import RULES, Rule
from edgekit.talk import Line, Say
from edgekit.target import Target
from edgekit.tflite.metadata import read_metadata, write_metadata


class Rung(Struct, frozen=True):
    """One measure and its bill: the score with it, the bytes of the file, the seconds it took, and whether it stays.

    `score` is None where the measure could not be tried, and `note` says why, or what it did. `latency` is the median
    run in seconds, on this host by one thread: measured for the file as it came and for what is kept, where it can be.
    """

    name: str
    score: float | None
    file_bytes: int
    seconds: float
    kept: bool
    note: str = ""
    latency: float | None = None


class HeldOut(Struct, frozen=True):
    """Scores on the test part, by which nothing was chosen: of the float file, of the file as it came, and repaired."""

    samples: int
    float_score: float
    before: float | None
    after: float


class Repair(Struct, frozen=True):
    """What the ladder gave, rung by rung; the first is the file as it came. Scores are those of `part`.

    `float_latency` is that of the float file, measured as those of the rungs.
    """

    metric: str
    part: str
    samples: int
    float_score: float
    floor: float
    rungs: tuple[Rung, ...]
    held_out: HeldOut | None = None
    float_latency: float | None = None

    @property
    def score(self) -> float | None:
        """That of the last rung that was kept."""
        return next(rung.score for rung in reversed(self.rungs) if rung.kept)

    @property
    def met(self) -> bool:
        """Whether the floor is reached."""
        return Floor(self.floor).met(self.metric, self.score)


def repair(
    quantized: bytes,
    source: bytes,
    data: Dataset,
    floor: Floor | None = None,
    *,
    target: Target | None = None,
    model: Model | None = None,
    say: Say = lambda _: None,
) -> tuple[bytes, Repair]:
    """The best file of the ladder, and what each rung gave; `source` is the float32 file, `data` was matched to it.

    A repaired file is rewritten for XNNPACK where the one that came was, and has its labels and metadata.
    Without a floor it is half a point below the float score (of metrics that are no share, one per cent). A target
    says what is permitted; without one all is. `model` is the Keras model that the float file was made from: the last
    rung trains it. Raises DataError without labels or calibration data, for a floor that
    the float model does not reach, or for data that it was not made for; ModelError where the files are no pair.
    """
    graph, state = paired(quantized, source).int8, State.of(quantized, source)
    inputs = [graph.tensors[index] for index in graph.inputs]
    shop = Workshop(source, data, model, say, _rules(quantized, target))
    for wrong in mismatches(source, data, shop.part, inputs, shop.float_outputs):
        raise DataError(wrong.problem, wrong.mend)
    bound = floor or default_floor(shop.metric, shop.float_score)
    bound.check(shop.metric, shop.float_score)
    best, rungs = _climb(shop, quantized, state, bound, target, say)
    held_out = _held_out(shop, data, quantized, best)
    name, count = shop.part.name, len(shop.part)
    done = Repair(shop.metric, name, count, shop.float_score, bound.bound, tuple(rungs), held_out, shop.seconds(source))
    return best if best == quantized else _labelled(best, quantized, say), done


def refuse_early(quantized: bytes, source: bytes, data: Dataset) -> None:
    """Raise at once what `repair` would raise, but for a floor and for data that the float model was not made for."""
    paired(quantized, source)
    State.of(quantized, source)
    Workshop(source, data)


def _rules(quantized: bytes, target: Target | None) -> tuple[Rule, ...]:
    """The rewrites that repaired files get: those of the target, unless the file that came was left without them."""
    rules = RULES if target is None else rules_for(target)
    return () if rewrite(quantized, rules).applied else rules


def _labelled(file: bytes, original: bytes, say: Say) -> bytes:
    """A repaired file with the metadata and labels of the original; where these are refused, without, and said so."""
    try:
        told = read_metadata(original)
        if told.model is None and not told.files:
            return file
        return write_metadata(file, structs.replace(told, min_runtime_version=read_metadata(file).min_runtime_version))
    except (ModelError, MissingDependency) as cause:
        say(Line(f"doctor: the repaired file has no metadata of the one that came: {cause.problem}"))
        return file


def default_floor(metric: str, score: float) -> Floor:
    """Half a point below a share, one per cent from anything else."""
    if 0 <= score <= 1 and higher_is_better(metric):
        return Floor(max(0.0, score - 0.005))
    slack = 0.01 * abs(score)
    return Floor(score - slack if higher_is_better(metric) else score + slack)


def _climb(
    shop: Workshop, given: bytes, state: State, floor: Floor, target: Target | None, say: Say
) -> tuple[bytes, list[Rung]]:
    begun = time.monotonic()
    best = _as_given(shop, given)
    name = "as given"
    rungs = [_billed(shop, name, best, begun, True) if best else _failed(name, begun, file_bytes=len(given))]
    for measure in measures(target):
        if best is not None and floor.met(shop.metric, best.score):
            break
        say(f"doctor: {measure.name}")
        rung, tried = _tried(shop, measure, state, best)
        rungs.append(rung)
        if tried is not None and rung.kept:
            state, best = tried.state, tried
    if best is None:
        raise RunError("neither the file nor any repair of it runs", "see `edgekit doctor` without --repair")
    return best.file, rungs


def _tried(shop: Workshop, measure: Measure, state: State, best: Tried | None) -> tuple[Rung, Tried | None]:
    begun = time.monotonic()
    try:
        tried = shop.tried(measure.change(shop, state, best))
    except (InputError, RunError) as cause:
        return _failed(measure.name, begun, cause.problem), None
    kept = best is None or shop.better(tried, best)
    return _billed(shop, measure.name, tried, begun, kept, measure.note), tried


def _billed(shop: Workshop, name: str, tried: Tried, begun: float, kept: bool, note: str = "") -> Rung:
    took = time.monotonic() - begun
    return Rung(name, tried.score, len(tried.file), took, kept, note, shop.seconds(tried.file) if kept else None)


def _failed(name: str, begun: float, note: str = "", file_bytes: int = 0) -> Rung:
    return Rung(name, None, file_bytes, time.monotonic() - begun, False, note)


def _as_given(shop: Workshop, file: bytes) -> Tried | None:
    """The file as it came; None where its numbers are unsound, or the runtime refuses it or dies of it."""
    pairing = paired(file, shop.source)
    if [*unsound_scales(pairing.int8), *overflowing_biases(pairing)]:
        return None
    try:
        return shop.judged(State.of(file, shop.source), file)
    except RunError:
        return None


def _held_out(shop: Workshop, data: Dataset, before: bytes, after: bytes) -> HeldOut | None:
    test = data.test
    if test is None or test.labels is None or shop.part.name == "test":
        return None
    try:
        came: float | None = shop.score(before, test)
    except EdgekitError:
        came = None
    return HeldOut(len(test), shop.score(shop.source, test), came, shop.score(after, test))
