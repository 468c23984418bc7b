"""Metrics: how good outputs are, how sure that is, and how much two models differ on the same samples.

Known names: accuracy, top<k> (top5), auc, mae, mse, rmse, mean_iou; or `module:function` taking (y_true, y_pred) and
giving a number. Outputs may be logits or probabilities. A single output value stands for the second of two classes:
above 0.5 if all values lie in 0..1, else above 0. Shapes: outputs `[samples, ...]`, labels as `load_dataset` gives
them; both come as tuples with one array for each judged output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.errors import DataError, did_you_mean
from edgekit.intervals import Floats, Interval, Statistic, bootstrap, mean_t, tango, wilson

Array = npt.NDArray[Any]

_CUSTOM_DRAWS = 400


class Score(Struct, frozen=True):
    """Value of a metric with its 95 % confidence interval."""

    name: str
    value: float
    low: float
    high: float
    samples: int
    method: str


class Difference(Struct, frozen=True):
    """Metric of the second model minus that of the first, on the same samples, with its 95 % paired interval."""

    value: float
    low: float
    high: float
    method: str
    samples: int


class Agreement(Struct, frozen=True):
    """How alike two models' outputs are, whatever the labels say.

    `rate` is the share of samples (of pixels in masks) with the same decision; where nothing is decided, the share of
    values that differ by at most 1 % of the first model's range. `sqnr_db` is the signal to quantization noise ratio
    of the worst output, infinite if the outputs are identical.
    """

    rate: float
    max_abs_difference: float
    mean_abs_difference: float
    sqnr_db: float


@dataclass(frozen=True)
class Metric:
    """A metric: either a value for each sample, whose mean counts, or a statistic of all samples together.

    `per_sample` gives `[samples]`: booleans for hits and misses, else floats. `pooled` gives a function from how often
    each sample counts `[draws, samples]` to values `[draws]`.
    """

    name: str
    higher_is_better: bool = True
    per_sample: Callable[[Array, Array], Array] | None = None
    pooled: Callable[[Array, Array], Statistic] | None = None
    draws: int = 1000


def default_metric(task: str) -> str | None:
    """The metric a task is judged by; None for a task without one."""
    by_task = {"classification": "accuracy", "regression": "mae", "segmentation": "mean_iou", "autoencoder": "mse"}
    return by_task.get(task)


def metric_names() -> list[str]:
    """Names that `load_metric` knows, sorted; `top<k>` stands for any k."""
    return sorted([*_METRICS, "top<k>"])


def load_metric(name: str) -> Metric:
    """A metric by name, or the Python function that `module:function` names.

    A function may say `function.higher_is_better = False`. Raises DataError for an unknown name.
    """
    if name in _METRICS:
        return _METRICS[name]
    if top := re.fullmatch(r"top[-_]?([1-9]\d*)", name):
        k = int(top[1])
        return Metric(f"top{k}", per_sample=lambda y, out: _rank_of_truth(y, out, k) < k)
    if ":" in name:
        from edgekit.data.reference import resolve

        function = resolve(name)
        return _custom(name, function)
    raise DataError(f"unknown metric {name!r}", f"{did_you_mean(name, metric_names())}, or give module:function")


def higher_is_better(metric: str) -> bool:
    """Whether more is better. Raises DataError for an unknown metric."""
    return load_metric(metric).higher_is_better


def score(metric: str, labels: Sequence[Array], outputs: Sequence[Array], *, seed: int = 0) -> Score:
    """Score of the one judged output; for several use `scores`. Raises DataError where labels and outputs misfit."""
    return _only(scores(metric, labels, outputs, seed=seed))


def scores(
    metric: str, labels: Sequence[Array], outputs: Sequence[Array], names: Sequence[str] = (), *, seed: int = 0
) -> tuple[Score, ...]:
    """A score for each judged output, called `<metric>:<output>` where there are several."""
    found = load_metric(metric)
    rows = zip(_named(found.name, names, len(labels)), _pairs(labels, outputs), strict=True)
    return tuple(_score(found, name, y, out, seed) for name, (y, out) in rows)


def paired_difference(
    metric: str, labels: Sequence[Array], outputs_a: Sequence[Array], outputs_b: Sequence[Array], *, seed: int = 0
) -> Difference:
    """Metric of b minus metric of a for the one judged output; for several use `paired_differences`."""
    return _only(paired_differences(metric, labels, outputs_a, outputs_b, seed=seed))


def paired_differences(
    metric: str, labels: Sequence[Array], outputs_a: Sequence[Array], outputs_b: Sequence[Array], *, seed: int = 0
) -> tuple[Difference, ...]:
    """The difference for each judged output, in their order."""
    found = load_metric(metric)
    pairs = zip(_pairs(labels, outputs_a), _pairs(labels, outputs_b), strict=True)
    return tuple(_difference(found, y, a, b, seed) for (y, a), (_, b) in pairs)


def agreement(outputs_a: Sequence[Array], outputs_b: Sequence[Array], task: str) -> Agreement:
    """How alike the outputs of a (the reference) and b are; over several outputs the mean rate and the worst of all.

    Raises DataError where their shapes differ.
    """
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(outputs_a, outputs_b, strict=True)]
    for a, b in pairs:
        if a.shape != b.shape:
            raise DataError(f"outputs of shape {a.shape} and {b.shape} cannot be compared", "give the same samples")
    apart = [np.abs(a - b) for a, b in pairs]
    return Agreement(
        rate=float(np.mean([_same_rate(a, b, task) for a, b in pairs])),
        max_abs_difference=max(float(x.max(initial=0)) for x in apart),
        mean_abs_difference=float(sum(x.sum() for x in apart) / sum(x.size for x in apart)),
        sqnr_db=min(_sqnr(a, b) for a, b in pairs),
    )


def _score(metric: Metric, name: str, y: Array, out: Array, seed: int) -> Score:
    if metric.per_sample is not None:
        values = metric.per_sample(y, out)
        low, high, method = _interval(values)
        return Score(name, float(values.mean()), low, high, len(y), method)
    statistic = _statistic(metric, y, out)
    value = _value(statistic, len(y), metric.name)
    low, high = bootstrap(statistic, len(y), seed=seed, draws=metric.draws)
    return Score(name, value, min(low, value), max(high, value), len(y), f"bootstrap, {metric.draws} draws")


def _difference(metric: Metric, y: Array, a: Array, b: Array, seed: int) -> Difference:
    if metric.per_sample is not None:
        return _paired(metric.per_sample(y, a), metric.per_sample(y, b))
    first, second = _statistic(metric, y, a), _statistic(metric, y, b)
    value = _value(second, len(y), metric.name) - _value(first, len(y), metric.name)
    low, high = bootstrap(lambda w: second(w) - first(w), len(y), seed=seed, draws=metric.draws)
    return Difference(value, min(low, value), max(high, value), f"paired bootstrap, {metric.draws} draws", len(y))


def _interval(values: Array) -> tuple[float, float, str]:
    if values.dtype.kind == "b":
        return *wilson(int(values.sum()), len(values)), "Wilson"
    return *mean_t(values), "Student t"


def _paired(a: Array, b: Array) -> Difference:
    """Difference of the means of b and a; booleans as paired proportions."""
    count = len(a)
    if a.dtype.kind == "b":
        gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
        return Difference((gained - lost) / count, *tango(gained, lost, count), "Tango, paired", count)
    low, high = mean_t(b - a)
    return Difference(float((b - a).mean()), low, high, "Student t, paired", count)


def _value(statistic: Statistic, count: int, name: str) -> float:
    value = float(statistic(np.ones((1, count)))[0])
    if math.isnan(value):
        raise DataError(f"metric {name} has no value on this data", "a class without samples, or without others?")
    return value


def _statistic(metric: Metric, y: Array, out: Array) -> Statistic:
    assert metric.pooled is not None, metric.name
    return metric.pooled(y, out)


def _only(found: Sequence[Any]) -> Any:
    if len(found) != 1:
        raise DataError(f"{len(found)} outputs are judged, not one", "use scores and paired_differences")
    return found[0]


def _named(metric: str, names: Sequence[str], count: int) -> list[str]:
    if count == 1:
        return [metric]
    return [f"{metric}:{name}" for name in (names or range(count))]


def _pairs(labels: Sequence[Array], outputs: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Labels beside outputs. Raises DataError for other counts, other lengths, and outputs that are not finite."""
    if len(labels) != len(outputs):
        raise DataError(
            f"{len(labels)} labels for {len(outputs)} outputs", "give the outputs that have labels: Dataset.judged"
        )
    for y, out in zip(labels, outputs, strict=True):
        if len(y) != len(out) or not len(y):
            raise DataError(f"{len(y)} labels for {len(out)} samples", "give a label for each sample, at least one")
        if count := int(np.count_nonzero(~np.isfinite(out))):
            raise DataError(f"the model gives {count} outputs that are NaN or infinite", "look for NaN in its weights")
    return list(zip(labels, outputs, strict=True))


def classes(out: Array) -> Array:
    """Decision for each sample or pixel: the largest along the last axis, or above the threshold if it has one value."""
    if out.shape[-1] > 1 and out.ndim > 1:
        return out.argmax(axis=-1)
    single = out[..., 0] if out.ndim > 1 else out
    probabilities = single.min(initial=0) >= -1e-3 and single.max(initial=0) <= 1 + 1e-3
    return (single > (0.5 if probabilities else 0.0)).astype(np.int64)


def _decisions(y: Array, out: Array) -> tuple[Array, Array]:
    """Class numbers that were given and that were decided, in the same shape."""
    out = _table(out) if y.ndim == 1 else out
    decided = classes(out)
    if y.shape != decided.shape and y.shape == out.shape:
        y = y.argmax(axis=-1)
    if y.ndim == decided.ndim + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    if y.shape != decided.shape:
        raise DataError(f"labels of shape {y.shape} do not fit outputs of shape {out.shape}", "one class a sample")
    most = max(out.shape[-1], 2)
    if y.min() < 0 or y.max() >= most:
        raise DataError(f"labels go from {y.min()} to {y.max()}, the output has {most} classes", "correct the labels")
    return y.astype(np.int64), decided


def _table(out: Array) -> Array:
    """Outputs as `[samples, values]`."""
    return out.reshape(len(out), -1)


def _hits(y: Array, out: Array) -> Array:
    given, decided = _decisions(y, out)
    right = given == decided
    return right if right.ndim == 1 else right.reshape(len(right), -1).mean(axis=1)


def _rank_of_truth(y: Array, out: Array, k: int) -> Array:
    """How many classes come before the true one; of equal ones the lower number comes first, as for argmax."""
    given, _ = _decisions(y, out)
    table = _table(out)
    if k >= table.shape[1]:
        raise DataError(f"top{k} is always right with {table.shape[1]} outputs", "use a smaller k")
    truth = np.take_along_axis(table, given[:, None], axis=1)
    before = (table > truth) | ((table == truth) & (np.arange(table.shape[1]) < given[:, None]))
    return before.sum(axis=1)


def _errors(y: Array, out: Array) -> Floats:
    """Output minus truth, `[samples, values]`."""
    if y.size != out.size:
        raise DataError(f"labels of shape {y.shape} do not fit outputs of shape {out.shape}", "give a value for each")
    return _table(out).astype(np.float64) - _table(y)


def _absolute(y: Array, out: Array) -> Floats:
    return np.abs(_errors(y, out)).mean(axis=1)


def _squared(y: Array, out: Array) -> Floats:
    return (_errors(y, out) ** 2).mean(axis=1)


def _root(y: Array, out: Array) -> Statistic:
    squared = _squared(y, out)
    return lambda weights: np.sqrt(weights @ squared / weights.sum(axis=1))


def _overlap(y: Array, out: Array) -> Statistic:
    """Mean over the classes that occur of intersection over union, counted over all pixels."""
    given, decided = _decisions(y, out)
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


def _areas(y: Array, out: Array) -> Statistic:
    """Area under the ROC curve; with several outputs the mean over classes, each against the rest."""
    table = _table(out).astype(np.float64)
    if table.shape[1] <= 2 and y.ndim == 1:
        if y.min() < 0 or y.max() > 1:
            raise DataError(
                f"labels go from {y.min()} to {y.max()}, auc of one output needs 0 and 1", "mend the labels"
            )
        columns = [(y == 1, table[:, 0] if table.shape[1] == 1 else table[:, 1] - table[:, 0])]
    elif y.shape == table.shape:
        columns = [(y[:, number] > 0.5, table[:, number]) for number in range(table.shape[1])]
    else:
        given, _ = _decisions(y, out)
        columns = [(given == number, table[:, number]) for number in range(table.shape[1])]
    areas = [_area(positive, values) for positive, values in columns]
    return lambda weights: _mean_known(np.stack([area(weights) for area in areas], axis=1))


def _area(positive: Array, values: Array) -> Statistic:
    """Chance that a positive sample has the larger value, ties counting half (Hanley and McNeil 1982)."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    yes = positive[order]

    def statistic(weights: Floats) -> Floats:
        drawn = weights[:, order]
        above = np.add.reduceat(drawn * yes, starts, axis=1)
        below = np.add.reduceat(drawn * ~yes, starts, axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(won / (above.sum(axis=1) * below.sum(axis=1)))

    return statistic


def _mean_known(values: Floats) -> Floats:
    """Mean of each row without its NaNs; NaN for a row of nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=1) / known.sum(axis=1))


def _custom(name: str, function: Callable[..., Any]) -> Metric:
    def pooled(y: Array, out: Array) -> Statistic:
        def one(weights: Floats) -> float:
            rows = np.repeat(np.arange(len(y)), weights.astype(np.int64))
            try:
                return float(function(y[rows], out[rows]))
            except Exception as cause:
                raise DataError(f"metric {name} raised {type(cause).__name__}: {cause}", "mend the function") from cause

        return lambda weights: np.array([one(row) for row in weights])

    better = bool(getattr(function, "higher_is_better", True))
    return Metric(name, better, pooled=pooled, draws=_CUSTOM_DRAWS)


def _same_rate(a: Floats, b: Floats, task: str) -> float:
    if task == "classification":
        a, b = (_table(a), _table(b)) if a.ndim < 3 or max(a.shape[1:-1]) == 1 else (a, b)
    if task in ("classification", "segmentation"):
        return float((classes(a) == classes(b)).mean())
    return float((np.abs(a - b) <= 0.01 * np.ptp(a)).mean())


def _sqnr(a: Floats, b: Floats) -> float:
    noise, signal = float(((a - b) ** 2).sum()), float((a**2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_METRICS = _by_name(
    [
        Metric("accuracy", per_sample=_hits),
        Metric("auc", pooled=_areas),
        Metric("mae", higher_is_better=False, per_sample=_absolute),
        Metric("mean_iou", pooled=_overlap),
        Metric("mse", higher_is_better=False, per_sample=_squared),
        Metric("rmse", higher_is_better=False, pooled=_root),
    ]
)
