"""Formulas: from labels and outputs to a value for each sample, or to a statistic of all samples together.

A single output value stands for the second of two classes: above 0.5 if all values lie in 0..1, else above 0.
A statistic maps how often each sample counts `[draws, samples]` to values `[draws]`, which is what a bootstrap needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.intervals import Floats, Statistic

Array = npt.NDArray[Any]


def classes(out: Array) -> Array:
    """Decision for each sample or pixel: the largest along the last axis, which may hold one value for two classes."""
    if out.shape[-1] > 1 and out.ndim > 1:
        return np.asarray(out.argmax(axis=-1))
    single = out[..., 0] if out.ndim > 1 else out
    probabilities = single.min(initial=0) >= -1e-3 and single.max(initial=0) <= 1 + 1e-3
    return (single > (0.5 if probabilities else 0.0)).astype(np.int64)


def decisions(y: Array, out: Array) -> tuple[Array, Array]:
    """Class numbers that were given and that were decided, in the same shape."""
    out = flat(out) if y.ndim == 1 else out
    decided = classes(out)
    if y.shape != decided.shape and y.shape == out.shape and y.shape[-1] > 1:
        y = y.argmax(axis=-1)
    if y.ndim == decided.ndim + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    if y.shape != decided.shape:
        raise DataError(
            f"labels of shape {y.shape} do not fit outputs of shape {out.shape}", "give one class number a sample"
        )
    most = max(out.shape[-1], 2)
    if y.min() < 0 or y.max() >= most:
        raise DataError(f"labels go from {y.min()} to {y.max()}, the output has {most} classes", "correct the labels")
    return y.astype(np.int64), decided


def _class_numbers(metric: str, y: Array, out: Array) -> Array:
    """The class number given for each sample. Raises DataError for masks."""
    given, _ = decisions(y, out)
    if given.ndim > 1:
        raise DataError(f"{metric} needs one class a sample, these are masks", "use mean_iou or accuracy")
    return given


def alike(y: Any, out: Any) -> tuple[Any, Any]:
    """Labels and outputs `[...]`, arrays or tensors: outputs `[..., 1]` lose the axis, by which all would meet all."""
    return y, out[..., 0] if len(y.shape) + 1 == len(out.shape) and out.shape[-1] == 1 else out


def flat(out: Array) -> Array:
    """Outputs as `[samples, values]`."""
    return out.reshape(len(out), -1)


def hits(y: Array, out: Array) -> Array:
    """Right or wrong, as booleans `[samples]`; for masks the share of right pixels."""
    given, decided = decisions(y, out)
    right = np.asarray(given == decided)
    return right if right.ndim == 1 else right.reshape(len(right), -1).mean(axis=1)


def rank_of_truth(y: Array, out: Array, k: int) -> Array:
    """How many classes come before the true one; of equal ones the lower number comes first, as for argmax."""
    given, table = _class_numbers(f"top{k}", y, out), flat(out)
    if k >= table.shape[1]:
        raise DataError(f"top{k} is always right with {table.shape[1]} outputs", "use a smaller k")
    truth = np.take_along_axis(table, given[:, None], axis=1)
    before = (table > truth) | ((table == truth) & (np.arange(table.shape[1]) < given[:, None]))
    return np.asarray(before.sum(axis=1))


def _errors(y: Array, out: Array) -> Floats:
    """Output minus truth, `[samples, values]`."""
    if y.size != out.size:
        raise DataError(f"labels of shape {y.shape} do not fit outputs of shape {out.shape}", "give a value for each")
    return np.asarray(flat(out).astype(np.float64) - flat(y))


def absolute(y: Array, out: Array) -> Floats:
    """Mean absolute error of each sample."""
    return np.asarray(np.abs(_errors(y, out)).mean(axis=1))


def squared(y: Array, out: Array) -> Floats:
    """Mean squared error of each sample."""
    return np.asarray((_errors(y, out) ** 2).mean(axis=1))


def root(y: Array, out: Array) -> Statistic:
    """Root of the mean squared error."""
    errors = squared(y, out)
    return lambda weights: np.sqrt(weights @ errors / weights.sum(axis=1))


def overlap(y: Array, out: Array) -> Statistic:
    """Mean over the classes that occur of intersection over union, counted over all pixels."""
    given, decided = decisions(y, out)
    given, decided = given.reshape(len(given), -1), decided.reshape(len(given), -1)
    both, either = [], []
    for number in range(max(out.shape[-1], 2)):
        a, b = given == number, decided == number
        both.append((a & b).sum(axis=1))
        either.append((a | b).sum(axis=1))
    intersection, union = np.stack(both, axis=1), np.stack(either, axis=1)

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return _mean_known((weights @ intersection) / (weights @ union))

    return statistic


def areas(y: Array, out: Array) -> Statistic:
    """Area under the ROC curve; with several outputs the mean over classes, each against the rest."""
    table = flat(out).astype(np.float64)
    if table.shape[1] <= 2 and y.ndim == 1:
        if y.min() < 0 or y.max() > 1:
            raise DataError(
                f"labels go from {y.min()} to {y.max()}, auc of one output needs 0 and 1", "give labels of 0 and 1"
            )
        columns = [(y == 1, table[:, 0] if table.shape[1] == 1 else table[:, 1] - table[:, 0])]
    elif y.shape == table.shape:
        columns = [(y[:, number] > 0.5, table[:, number]) for number in range(table.shape[1])]
    else:
        given = _class_numbers("auc", y, out)
        columns = [(given == number, table[:, number]) for number in range(table.shape[1])]
    found = [_area(positive, values) for positive, values in columns]
    return lambda weights: _mean_known(np.stack([area(weights) for area in found], axis=1))


def _area(positive: Array, values: Array) -> Statistic:
    """Chance that a positive sample has the larger value, ties counting half (Hanley and McNeil 1982)."""
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    no = no[np.argsort(values[no], kind="stable")]
    less = np.searchsorted(values[no], values[yes], "left")
    less_or_equal = np.searchsorted(values[no], values[yes], "right")

    def statistic(weights: Floats) -> Floats:
        beaten = np.cumsum(weights[:, no], axis=1)
        beaten = np.concatenate([np.zeros((len(weights), 1)), beaten], axis=1)
        won = (weights[:, yes] * (beaten[:, less] + beaten[:, less_or_equal])).sum(axis=1) / 2
        with np.errstate(invalid="ignore"):
            return np.asarray(won / (weights[:, yes].sum(axis=1) * beaten[:, -1]))

    return statistic


def _mean_known(values: Floats) -> Floats:
    """Mean of each row without its NaNs; NaN for a row of nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=1) / known.sum(axis=1))
