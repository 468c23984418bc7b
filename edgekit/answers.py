"""Answers: what the mean of a classifier's hits hides, of a file beside its float model on the same samples.

Prediction churn is the share of samples whose answer differs (Milani Fard et al., "Launch and Iterate", NeurIPS 2016).
The change of each class has an interval that holds for all classes together (Bonferroni). The expected calibration
error has 15 bins of equal width (Guo et al., arXiv:1706.04599, equation 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit import formulas
from edgekit.intervals import Floats, mean_t, tango, wilson

Array = npt.NDArray[Any]

BINS = 15
_WORST = 10


class ClassChange(Struct, frozen=True):
    """Share of right answers in one class, of the float model and of the file.

    `low` and `high` are of the difference, file minus float: in 95 of 100 test parts the intervals of all classes hold.
    """

    label: int
    samples: int
    before: float
    after: float
    low: float
    high: float


class Confidence(Struct, frozen=True):
    """Expected calibration errors of both, and the 95 % interval of the difference, file minus float."""

    before: float
    after: float
    low: float
    high: float


class Answers(Struct, frozen=True):
    """How the answers of a file differ from those of its float model; all are shares of the samples.

    `broken` were right before and are wrong after, `mended` the other way. `excess` is the churn that the difference of
    the accuracies does not explain, and `excess_low` the lower end of its 95 % interval. `worst` are the classes that
    lose most, at most ten.
    """

    samples: int
    difference: float
    churn: float
    broken: float
    mended: float
    excess: float
    excess_low: float
    classes: int
    worst: tuple[ClassChange, ...]
    confidence: Confidence


def answers(labels: Array, before: Array, after: Array) -> Answers:
    """Compare outputs `[samples, values]` of the float model (`before`) and the file with class labels `[samples]`.

    Outputs may be logits or probabilities; which of them is seen by the float model's. Raises DataError where labels
    and outputs misfit.
    """
    truth, first = formulas.decisions(labels, before)
    second = formulas.decisions(labels, after)[1]
    was, now, count = first == truth, second == truth, len(truth)
    broken, mended = int((was & ~now).sum()), int((now & ~was).sum())
    changed = int((first != second).sum())
    excess = changed - abs(mended - broken)
    classes = _class_changes(truth, was, now)
    return Answers(
        samples=count,
        difference=(mended - broken) / count,
        churn=changed / count,
        broken=broken / count,
        mended=mended / count,
        excess=excess / count,
        excess_low=wilson(excess, count)[0],
        classes=len(classes),
        worst=tuple(sorted(classes, key=lambda one: one.after - one.before)[:_WORST]),
        confidence=_confidence(was, confidences(before, before), now, confidences(after, before)),
    )


def confidences(out: Array, like: Array) -> Floats:
    """Probability that a model gives its own answer, `[samples]`, of logits or probabilities `[samples, values]`.

    Values are probabilities if those of `like` all lie in 0..1, else logits; a single one is that of the second class.
    """
    table = formulas.flat(out).astype(np.float64)
    probable = like.min(initial=0) >= -1e-3 and like.max(initial=0) <= 1 + 1e-3
    if table.shape[1] == 1:
        second = np.clip(table[:, 0], 0, 1) if probable else 1 / (1 + np.exp(-np.clip(table[:, 0], -500, 500)))
        return np.asarray(np.maximum(second, 1 - second))
    top = table.max(axis=1)
    return np.asarray(np.clip(top, 0, 1) if probable else 1 / np.exp(table - top[:, None]).sum(axis=1))


def _errors(right: Array, confidence: Floats) -> Floats:
    """What each sample adds to the expected calibration error `[samples]`, of hits and confidences in 0..1.

    That is how far its hit and its confidence lie apart, signed as its bin is.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = right - confidence
    return np.asarray(gaps * np.sign(np.bincount(bins, gaps, BINS))[bins])


def _confidence(was: Array, before: Floats, now: Array, after: Floats) -> Confidence:
    """The interval is that of a mean of paired samples, the sign of each bin being as it was seen."""
    first, second = _errors(was, before), _errors(now, after)
    low, high = mean_t(second - first)
    return Confidence(float(first.mean()), float(second.mean()), low, high)


def _class_changes(truth: Array, was: Array, now: Array) -> list[ClassChange]:
    labels = np.unique(truth)
    return [_class_change(int(label), was[truth == label], now[truth == label], len(labels)) for label in labels]


def _class_change(label: int, was: Array, now: Array, classes: int) -> ClassChange:
    gained, lost = int((now & ~was).sum()), int((was & ~now).sum())
    low, high = tango(gained, lost, len(was), 1 - 0.05 / classes)
    return ClassChange(label, len(was), float(was.mean()), float(now.mean()), low, high)
