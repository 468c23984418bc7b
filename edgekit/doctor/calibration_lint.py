"""Calibration lint: what is wrong with calibration samples, told before anything is quantized with them.

Ranges, and with them every scale of an integer file, come from these samples; if they are not what the model will see,
nothing later can tell. Compared with the training data each rule asks two things: is the difference beyond what drawing
so many samples brings by chance, and is it large enough to matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Part
from edgekit.data.spec import Preprocessing
from edgekit.dataset import Dataset
from edgekit.doctor.expected_input import Expected, expected_input
from edgekit.doctor.sample_statistics import Samples, binomial_tail, samples_of
from edgekit.doctor.training_comparison import numbered, outliers, span, unlike_training
from edgekit.errors import DataError
from edgekit.finding import Finding
from edgekit.tflite.inspect import ModelContents, read_contents

Array = npt.NDArray[Any]

_MOST_TRAINING = 2000
FEWEST = 50
"""With n samples, a new one lies outside of what n have reached with a chance of 2 / (n + 1): 4 % for 50."""


def lint(
    calibration: Sequence[Array],
    train: Sequence[Array] | None = None,
    labels: Array | None = None,
    *,
    train_labels: Array | None = None,
    preprocessing: Preprocessing | None = None,
    model: bytes | None = None,
) -> tuple[Finding, ...]:
    """Everything that is suspicious in calibration samples; nothing but what could not be checked where they are sound.

    `calibration` and `train` have one array `[samples, ...]` for each input, as the model gets them; `labels` are class
    numbers of the calibration samples, `train_labels` those of the training samples. `preprocessing` is what makes a
    model input of a raw sample; it names mistakes that are made with it. `model` is the float32 TFLite file.

    Raises DataError where there is nothing to look at, ModelError for a damaged file.
    """
    if not calibration or not len(calibration[0]):
        raise DataError("no calibration samples", "give at least a few of each kind")
    if train is not None and len(train) != len(calibration):
        raise DataError(
            f"the training data has {len(train)} inputs, the calibration data {len(calibration)}",
            "give the same inputs",
        )
    if labels is not None and len(labels) != len(calibration[0]):
        raise DataError(
            f"{len(labels)} labels for {len(calibration[0])} calibration samples", "give one for each sample"
        )
    contents = read_contents(model) if model is not None else None
    if contents and len(contents.inputs) != len(calibration):
        names = ", ".join(tensor.name for tensor in contents.inputs)
        raise DataError(
            f"the calibration data has {len(calibration)} inputs, the model has: {names}", "give all of them"
        )
    found = list(_few(len(calibration[0])))
    for place, values in enumerate(calibration):
        name = contents.inputs[place].name if contents else f"input {place}"
        before = train[place] if train is not None else None
        expected = expected_input(model, place) if model is not None and train is None else None
        wanted = contents.inputs[place].shape[1:] if contents else None
        found += _input(name, values, before, wanted, preprocessing, expected)
    found += _classes(labels, train_labels, contents)
    found += _unchecked(train, labels)
    return tuple(found)


def lint_dataset(data: Dataset, model: bytes | None = None) -> tuple[Finding, ...]:
    """`lint` of the calibration part of a data set, against its training part where it has one.

    `data` is matched to the model, and `model` its float32 TFLite file.

    Raises DataError where there is no calibration part, and what `lint` raises.
    """
    calibration, train = data.part("calibration"), data.train
    few = train.take(_MOST_TRAINING) if train else None

    def classes(part: Part | None) -> Array | None:
        """One class number for each sample, where the labels are such."""
        labels = None if part is None or part.labels is None else part.labels[0]
        return labels if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu" else None

    return lint(
        calibration.array(),
        few.array() if few else None,
        classes(calibration),
        train_labels=classes(train),
        preprocessing=calibration.preprocessing,
        model=model,
    )


def _input(
    name: str,
    values: Array,
    train: Array | None,
    wanted: tuple[int, ...] | None,
    preprocessing: Preprocessing | None,
    expected: Expected | None,
) -> Iterator[Finding]:
    """All about one input; what makes the rest meaningless ends it."""
    trained = _finite(f"{name}, training data", train) if train is not None else ()
    for stopping in (_shaped(name, values, train, wanted), _finite(name, values), trained, _constant(name, values)):
        if told := list(stopping):
            yield from told
            return
    repeated = list(_repeated(name, values, train))
    yield from repeated
    ours = samples_of(values)
    yield from _blank(name, ours, samples_of(train, _MOST_TRAINING) if train is not None else None)
    if train is None:
        yield from _unlike_expected(name, ours, expected)
        yield from outliers(name, ours)
        return
    for one in unlike_training(name, ours, samples_of(train, _MOST_TRAINING), preprocessing):
        if not (repeated and one.code == "calibration-alike"):  # it has been said
            yield one


def _few(count: int) -> Iterator[Finding]:
    if count < FEWEST:
        problem = (
            f"{count} samples: each new one goes beyond the range of so many with a chance of {2 / (count + 1):.0%}"
        )
        yield Finding("warn", "calibration-few", "calibration", problem, "give 100 to 500 samples of all kinds")


def _shaped(name: str, values: Array, train: Array | None, wanted: tuple[int, ...] | None) -> Iterator[Finding]:
    shape, where = values.shape[1:], "the training data" if train is not None else "the model"
    goal = train.shape[1:] if train is not None else wanted
    if goal is None or (len(goal) == len(shape) and all(b in (-1, a) for a, b in zip(shape, goal, strict=True))):
        return
    problem = f"samples of shape {shape}, {where} has {goal}"
    if shape and (*shape[1:], shape[0]) == goal:
        mend = "the channels are first: np.moveaxis(x, 1, -1), not reshape"
        yield Finding("error", "calibration-layout", name, problem, mend)
    elif sorted(shape) == sorted(goal):
        mend = "the axes are in another order: np.transpose, not reshape"
        yield Finding("error", "calibration-layout", name, problem, mend)
    else:
        yield Finding("error", "calibration-shape", name, problem, "prepare the samples as those for training were")


def _finite(name: str, values: Array) -> Iterator[Finding]:
    if values.dtype.kind != "f":
        return
    sound = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not sound.all():
        problem = f"NaN or infinity in {numbered(np.flatnonzero(~sound))} of {len(values)} samples"
        yield Finding("error", "calibration-not-finite", name, problem, "leave these samples out, or repair them")


def _constant(name: str, values: Array) -> Iterator[Finding]:
    if values.max() == values.min():
        problem = f"every value of all {len(values)} samples is {float(values.flat[0]):g}"
        mend = "this input was never filled: look at what reads the samples"
        yield Finding("error", "calibration-constant", name, problem, mend)


def _blank(name: str, ours: Samples, theirs: Samples | None) -> Iterator[Finding]:
    blank = ours.lows == ours.highs
    usual = float((theirs.lows == theirs.highs).mean()) if theirs else 0.0
    if ours.first.shape[1] * ours.maps[0].size > 1 and blank.mean() > 0.05 + 2 * usual:
        problem = f"one and the same value in all of a sample, in {numbered(np.flatnonzero(blank))} of {len(ours)}"
        yield Finding("warn", "calibration-blank", name, problem, "leave empty images and silence out")


def _repeated(name: str, values: Array, train: Array | None) -> Iterator[Finding]:
    if len(values) < 2:
        return
    share = _distinct(values)
    usual = _distinct(train[:: max(1, len(train) // len(values))][: len(values)]) if train is not None else 1.0
    if share <= usual / 2:
        problem = f"{len(values)} samples, {round(share * len(values))} different ones"
        mend = "read another sample in each step of the loop that makes them"
        yield Finding("warn", "calibration-repeated", name, problem, mend)


def _distinct(values: Array) -> float:
    digests = {hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest() for sample in values}
    return len(digests) / len(values)


def _unlike_expected(name: str, ours: Samples, expected: Expected | None) -> Iterator[Finding]:
    if expected is None:
        return
    low, high = ours.bounds
    width = expected.high - expected.low
    problem = f"range {span(ours)}; {expected.reason}, so it should be about {expected.low:.3g} to {expected.high:.3g}"
    if low < expected.low - 0.1 * width or high > expected.high + 0.1 * width:
        mend = "apply the normalization once: it was left out, or is another one"
        yield Finding("warn", "calibration-preprocessing", name, problem, mend)
    elif high - low < width / 8:
        mend = "do not scale the samples before: it happens twice now"
        yield Finding("warn", "calibration-preprocessing", name, problem, mend)


def _classes(labels: Array | None, train_labels: Array | None, contents: ModelContents | None) -> Iterator[Finding]:
    """Classes with so few samples that chance does not explain it (binomial, for each class one in 10,000)."""
    if not _are_classes(labels):
        return
    labels = np.asarray(labels).astype(int)
    shares = _shares(labels, train_labels, contents)
    seen = {kind: int((labels == kind).sum()) for kind in shares}
    short = {
        kind: share
        for kind, share in shares.items()
        if seen[kind] < share * len(labels) / 4 and binomial_tail(seen[kind], len(labels), share) < 1e-4
    }
    missing = [kind for kind in short if not seen[kind]]
    if missing:
        problem = f"no sample of {len(missing)} of {len(shares)} classes: {', '.join(map(str, missing[:10]))}"
        yield Finding("warn", "calibration-classes", "labels", problem, "draw the samples from all classes")
    rare = [f"{kind} ({seen[kind]}, usual {share * len(labels):.0f})" for kind, share in short.items() if seen[kind]]
    if rare:
        problem = f"too few samples of {len(rare)} of {len(shares)} classes: {', '.join(rare[:10])}"
        yield Finding("warn", "calibration-classes", "labels", problem, "draw the samples at random, or by class")


def _are_classes(labels: Array | None) -> bool:
    return labels is not None and np.asarray(labels).ndim == 1 and np.asarray(labels).dtype.kind in "iub"


def _shares(labels: Array, train_labels: Array | None, contents: ModelContents | None) -> dict[int, float]:
    """The share of each class: that in the training data, else an equal one for each output of the model, else of
    each class that is there.
    """
    if train_labels is not None:
        kinds, counts = np.unique(np.asarray(train_labels).astype(int), return_counts=True)
        return {int(kind): float(count) / float(counts.sum()) for kind, count in zip(kinds, counts, strict=True)}
    last = contents.outputs[0].shape[-1] if contents and len(contents.outputs[0].shape) == 2 else 1
    known: Sequence[int] = range(last) if 1 < last > labels.max() else np.unique(labels).tolist()
    return dict.fromkeys(known, 1 / len(known))


def _unchecked(train: Sequence[Array] | None, labels: Array | None) -> Iterator[Finding]:
    if train is None:
        missing = "range and scale, order of channels, layout, preprocessing, and variety were not compared"
        yield Finding(
            "info", "calibration-unchecked", "train", f"no training data: {missing}", "give the training data"
        )
    if not _are_classes(labels):
        problem = "no class numbers: whether all classes are there was not checked"
        yield Finding("info", "calibration-unchecked", "labels", problem, "give the labels of the calibration samples")
