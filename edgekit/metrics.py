"""Metrics: how good outputs are, how sure that is, and how much two models differ on the same samples.

Known names: accuracy, top<k> (top5), auc, mae, mse, rmse, mean_iou; or `module:function` taking (y_true, y_pred) and
giving a number. Outputs may be logits or probabilities, of shape `[samples, ...]`; labels are as `load_dataset` gives
them. Both come as tuples with one array for each judged output (`Dataset.judged`).
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

from edgekit import formulas
from edgekit.errors import DataError, did_you_mean
from edgekit.intervals import LEVEL, Floats, Statistic, bootstrap, mean_t, tango, wilson

Array = npt.NDArray[Any]
Pairs = tuple[Sequence[Array], Sequence[Array], Sequence[Array]]
Triple = tuple[Array, Array, Array]

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
    of the worst output; None if there is no noise or no signal.
    """

    rate: float
    max_abs_difference: float
    mean_abs_difference: float
    sqnr_db: float | None


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


def top_k(name: str) -> int | None:
    """The k of `top5`, `top-5` or `top_5`; None for any other metric."""
    found = re.fullmatch(r"top[-_]?([1-9]\d*)", name)
    return int(found[1]) if found else None


def is_share(name: str) -> bool:
    """Whether a metric lies between 0 and 1."""
    return name in ("accuracy", "auc", "mean_iou") or top_k(name) is not None


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
    if k := top_k(name):
        return Metric(f"top{k}", per_sample=lambda y, out: formulas.rank_of_truth(y, out, k) < k)
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
    found: Score = _only(scores(metric, labels, outputs, seed=seed))
    return found


def scores(
    metric: str | Sequence[str],
    labels: Sequence[Array],
    outputs: Sequence[Array],
    names: Sequence[str] = (),
    *,
    seed: int = 0,
) -> tuple[Score, ...]:
    """A score for each judged output, called `<metric>:<output>` where there are several.

    `metric` is one name for all outputs, or one for each.
    """
    rows = zip(_each(metric, len(labels)), _pairs(labels, outputs), strict=True)
    return tuple(
        _score(one, _named(one.name, names, len(labels))[place], y, out, seed)
        for place, (one, (y, out)) in enumerate(rows)
    )


def mean_value(metric: str, labels: Sequence[Array], outputs: Sequence[Array]) -> float:
    """The metric alone, without an interval; over several judged outputs its mean. Raises what `scores` raises."""
    found = load_metric(metric)
    return float(np.mean([_mean(found, y, out) for y, out in _pairs(labels, outputs)]))


def paired_difference(
    metric: str, labels: Sequence[Array], outputs_a: Sequence[Array], outputs_b: Sequence[Array], *, seed: int = 0
) -> Difference:
    """Metric of b minus metric of a for the one judged output; for several use `paired_differences`."""
    found: Difference = _only(paired_differences(metric, labels, outputs_a, outputs_b, seed=seed))
    return found


def paired_differences(
    metric: str | Sequence[str],
    labels: Sequence[Array],
    outputs_a: Sequence[Array],
    outputs_b: Sequence[Array],
    *,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """The difference for each judged output, in their order; `metric` is as for `scores`."""
    pairs = zip(_each(metric, len(labels)), _pairs(labels, outputs_a), _pairs(labels, outputs_b), strict=True)
    return tuple(_difference(one, y, a, b, seed) for one, (y, a), (_, b) in pairs)


def paired_changes(
    metric: str | Sequence[str], before: Pairs, after: Pairs, *, level: float = LEVEL, seed: int = 0
) -> tuple[Difference, ...]:
    """How much more b differs from a `after` than `before`, for each judged output, on the same samples.

    `before` and `after` are (labels, outputs of a, outputs of b); `metric` is as for `scores`. Raises DataError where
    they misfit.
    """
    firsts, seconds = (zip(_pairs(y, a), _pairs(y, b), strict=True) for y, a, b in (before, after))
    return tuple(
        _change(one, (first[0][0], first[0][1], first[1][1]), (second[0][0], second[0][1], second[1][1]), level, seed)
        for one, first, second in zip(_each(metric, len(before[0])), firsts, seconds, strict=True)
    )


def agreement(outputs_a: Sequence[Array], outputs_b: Sequence[Array], task: str | Sequence[str]) -> Agreement:
    """How alike the outputs of a (the reference) and b are; over several outputs the mean rate and the worst of all.

    `task` is one for all outputs, or one for each. Raises DataError where their shapes differ.
    """
    tasks = [task] * len(outputs_a) if isinstance(task, str) else task
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(outputs_a, outputs_b, strict=True)]
    for a, b in pairs:
        if a.shape != b.shape:
            raise DataError(f"outputs of shape {a.shape} and {b.shape} cannot be compared", "give the same samples")
    apart = [np.abs(a - b) for a, b in pairs]
    return Agreement(
        rate=float(np.mean([_same_rate(a, b, one) for (a, b), one in zip(pairs, tasks, strict=True)])),
        max_abs_difference=max(float(x.max(initial=0)) for x in apart),
        mean_abs_difference=float(sum(x.sum() for x in apart) / sum(x.size for x in apart)),
        sqnr_db=min((ratio for a, b in pairs if (ratio := _sqnr(a, b)) is not None), default=None),
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


def _change(metric: Metric, before: Triple, after: Triple, level: float, seed: int) -> Difference:
    """Change of the difference, each triple being labels and the outputs of a and b."""
    count = len(before[0])
    if metric.per_sample is not None:
        of = metric.per_sample
        apart = [of(y, b).astype(np.float64) - of(y, a).astype(np.float64) for y, a, b in (before, after)]
        change = apart[1] - apart[0]
        value, hits = float(change.mean()), of(before[0], before[1]).dtype.kind == "b"
        # one sample more of each sign keeps a width where no hit changes, after Agresti and Min (2005)
        low, high = mean_t(np.append(change, [1, -1]) if hits else change, level)
        return Difference(value, min(low, value), max(high, value), "Student t, paired", count)
    (a1, b1), (a2, b2) = (tuple(_statistic(metric, y, out) for out in (a, b)) for y, a, b in (before, after))

    def moved(weights: Floats) -> Floats:
        return (b2(weights) - a2(weights)) - (b1(weights) - a1(weights))

    value = _value(moved, count, metric.name)
    low, high = bootstrap(moved, count, seed=seed, draws=metric.draws, level=level)
    return Difference(value, min(low, value), max(high, value), f"paired bootstrap, {metric.draws} draws", count)


def _mean(metric: Metric, y: Array, out: Array) -> float:
    if metric.per_sample is not None:
        return float(metric.per_sample(y, out).mean())
    return _value(_statistic(metric, y, out), len(y), metric.name)


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
    if not math.isfinite(value):
        raise DataError(f"metric {name} is {value} on this data", "it may need samples of more than one class")
    return value


def _statistic(metric: Metric, y: Array, out: Array) -> Statistic:
    assert metric.pooled is not None, metric.name
    return metric.pooled(y, out)


def _only(found: Sequence[Any]) -> Any:
    if len(found) != 1:
        raise DataError(f"{len(found)} outputs are judged, not one", "use scores and paired_differences")
    return found[0]


def _each(metric: str | Sequence[str], count: int) -> list[Metric]:
    """The metric of each judged output."""
    names = [metric] * count if isinstance(metric, str) else [*metric]
    if len(names) != count:
        raise DataError(f"{len(names)} metrics for {count} labelled outputs", "give one for each, or one for all")
    return [load_metric(name) for name in names]


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


def _custom(name: str, function: Callable[..., Any]) -> Metric:
    def pooled(y: Array, out: Array) -> Statistic:
        y, out = formulas.alike(y, out)

        def one(weights: Floats) -> float | Exception:
            rows = np.repeat(np.arange(len(y)), weights.astype(np.int64))
            try:
                return float(function(y[rows], out[rows]))
            except Exception as cause:  # code of the user's raises anything
                return cause

        def statistic(weights: Floats) -> Floats:
            found = [one(row) for row in weights]
            causes = [each for each in found if isinstance(each, Exception)]
            if causes and (weights == 1).all():  # the samples as they are; draws may lack a class
                raise DataError(
                    f"metric {name} raised {type(causes[0]).__name__}: {causes[0]}",
                    "correct the function; outputs of one value a sample come in the shape of the labels, "
                    "one-hot labels as class numbers (task = 'regression' leaves them)",
                ) from causes[0]
            return np.array([math.nan if isinstance(each, Exception) else each for each in found])

        return statistic

    better = bool(getattr(function, "higher_is_better", True))
    return Metric(name, better, pooled=pooled, draws=_CUSTOM_DRAWS)


def _same_rate(a: Floats, b: Floats, task: str) -> float:
    if task == "classification":
        a, b = (formulas.flat(a), formulas.flat(b)) if a.ndim < 3 or max(a.shape[1:-1]) == 1 else (a, b)
    if task in ("classification", "segmentation"):
        return float((formulas.classes(a) == formulas.classes(b)).mean())
    return float((np.abs(a - b) <= 0.01 * np.ptp(a)).mean())


def _sqnr(a: Floats, b: Floats) -> float | None:
    noise, signal = float(((a - b) ** 2).sum()), float((a**2).sum())
    return 10 * math.log10(signal / noise) if noise and signal else None


def _by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_METRICS = _by_name(
    [
        Metric("accuracy", per_sample=formulas.hits),
        Metric("auc", pooled=formulas.areas),
        Metric("mae", higher_is_better=False, per_sample=formulas.absolute),
        Metric("mean_iou", pooled=formulas.overlap),
        Metric("mse", higher_is_better=False, per_sample=formulas.squared),
        Metric("rmse", higher_is_better=False, pooled=formulas.root),
    ]
)
