"""What labels mean: class numbers, class names, one-hot rows, masks, or quantities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit.data.spec import DataSpec, Head
from edgekit.errors import DataError, did_you_mean

Array = npt.NDArray[Any]
Columns = dict[str, Array]
Tasks = dict[str, str]
Names = dict[str, tuple[str, ...]]


def encode(labels: dict[str, Columns], spec: DataSpec, names: Names) -> tuple[dict[str, Columns], Tasks]:
    """Labels as the metrics want them, by part and output, and the task of each output (of "" where there is none).

    Classes become int64 class numbers `[samples]` or `[samples, steps]`, masks int64 `[samples, height, width]`,
    quantities float32.
    Raises DataError for negative, fractional, out of range or unknown classes, for labels that are text in some parts
    only, for labels of several kinds that are not among the heads, and for a head that has no labels.
    """
    outputs = _by_output(labels)
    if unknown := sorted(spec.heads.keys() - outputs.keys()):
        raise DataError(f"heads: no labels are called {unknown[0]!r}", did_you_mean(unknown[0], outputs))
    if not outputs:
        return labels, {"": "none" if spec.task == "auto" else spec.task}
    for output, columns in outputs.items():
        if len(set(map(_is_text, columns))) > 1:
            raise DataError(
                f"labels {output or 'y'} are text in some parts and numbers in others", "write them alike in all"
            )
    tasks = {output: _kind(columns, _asked(spec, output)) for output, columns in outputs.items()}
    if len(set(tasks.values())) > 1 and not spec.heads:
        raise DataError(
            f"the outputs have labels of different kinds: {tasks}",
            "give task = ..., or say each: heads.NAME.task = ... (docs/data.md)",
        )
    encoded = {
        part: {
            output: _encoded(f"labels {output or 'y'} of {part}", columns[output], tasks[output], names[output])
            for output in outputs
            if output in columns
        }
        for part, columns in labels.items()
    }
    return encoded, tasks


def _asked(spec: DataSpec, output: str) -> str:
    head = spec.heads.get(output, Head())
    return spec.task if head.task == "auto" else head.task


def heads(tasks: Tasks, spec: DataSpec) -> tuple[Head, ...]:
    """Every labelled output with its task and its metric, in the order of the labels; empty where none was named."""
    from edgekit.metrics import default_metric, load_metric

    found = []
    for output, task in tasks.items() if spec.heads else ():
        head = spec.heads.get(output, Head())
        metric = (default_metric(task) or "mae") if head.metric == "auto" else load_metric(head.metric).name
        found.append(msgspec.structs.replace(head, task=task, metric=metric))
    return tuple(found)


def class_names(labels: dict[str, Columns], spec: DataSpec, found: tuple[str, ...]) -> Names:
    """Names of each output's classes: of the specification, of its text labels, or of the loader."""
    return {output: spec.classes or _words(columns) or found for output, columns in _by_output(labels).items()}


def _words(columns: Sequence[Array]) -> tuple[str, ...]:
    """The words of text labels, sorted (as numbers if all are)."""
    words = {str(word) for y in columns if _is_text(y) for word in np.unique(y.astype(str))}
    numbers = all(re.fullmatch("-?[0-9]{1,18}", word) for word in words)
    return tuple(sorted(words, key=int) if numbers else sorted(words))


def _by_output(labels: dict[str, Columns]) -> dict[str, list[Array]]:
    """The labels of each output in all parts that have any."""
    found: dict[str, list[Array]] = {}
    for columns in labels.values():
        for output, y in columns.items():
            found.setdefault(output, []).append(y)
    return found


def _kind(columns: Sequence[Array], asked: str) -> str:
    """Task that these labels speak of, unless one was asked for."""
    if asked != "auto":
        return asked
    if any(map(_is_text, columns)):
        return "classification"
    lines = columns[0].ndim == 3 and all(y.dtype.kind in "biu" for y in columns)  # masks of a line of pixels, as likely
    if not lines and all(map(_is_one_hot, columns)):
        return _ONE_HOT[columns[0].ndim]
    rank = 1 if all(y.ndim == 1 or y.shape[1:] == (1,) for y in columns) else columns[0].ndim
    if rank == 1:
        return "classification" if all(map(_whole, columns)) and _is_numbering(columns) else "regression"
    whole = all(y.dtype.kind in "biu" for y in columns)
    masks = rank >= 3 and (whole or (rank >= 4 and columns[0].shape[-1] == 1 and all(map(_is_binary, columns))))
    return "segmentation" if masks else "regression"


def _is_binary(y: Array) -> bool:
    """Zeros and ones only; the first sample is looked at first."""
    return all(bool(((x == 0) | (x == 1)).all()) for x in (y[:1], y))


def _is_numbering(columns: Sequence[Array]) -> bool:
    """Integers count as class numbers; floats only if they number 0, 1, 2 ... without a gap."""
    if all(y.dtype.kind in "biu" for y in columns):
        return True
    values = np.unique(np.concatenate([y.ravel() for y in columns]))
    return bool(np.array_equal(values, np.arange(len(values))))


def _encoded(name: str, y: Array, task: str, names: tuple[str, ...]) -> Array:
    if task in ("regression", "none"):
        return _quantities(name, y)
    if task == _ONE_HOT.get(y.ndim) and _is_one_hot(y):
        y = y.argmax(axis=-1)
    if _is_text(y):
        if y.size != len(y):
            raise DataError(f"{name} are text of shape {y.shape}", "give one class name a sample")
        return _numbered(name, y.astype(str).ravel(), names)
    if y.ndim > 1 and y.shape[-1] == 1:
        y = y[..., 0]
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name} have values of type {y.dtype}", "give class numbers or class names")
    if not _whole(y):
        wrong = y[~(np.isfinite(y) & (y == np.round(y)))].ravel()
        raise DataError(
            f"{name}: {len(wrong)} are no whole numbers, the first is {wrong[0]}",
            'give class numbers 0, 1, 2 ..., or say task = "regression"',
        )
    _check_range(name, y, names)
    return y.astype(np.int64)


def _check_range(name: str, y: Array, names: tuple[str, ...]) -> None:
    if y.min() < 0:
        raise DataError(f"{name} go from {y.min():g} to {y.max():g}", "number the classes 0, 1, 2 ...")
    if names and y.max() >= len(names):
        raise DataError(
            f"{name} go up to {y.max():g}, but there are {len(names)} class names", "number the classes from 0"
        )


def _quantities(name: str, y: Array) -> Array:
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name} have values of type {y.dtype}", 'give numbers, or say task = "classification"')
    wrong = ~np.isfinite(y.astype(np.float64))
    if count := int(np.count_nonzero(wrong)):
        index = [int(i) for i in np.unravel_index(int(wrong.argmax()), y.shape)]
        raise DataError(f"{name}: {count} are NaN or infinite, the first at {index}", "remove these samples")
    return y.astype(np.float32)


def _numbered(name: str, words: Array, names: tuple[str, ...]) -> Array:
    order = {word: number for number, word in enumerate(names)}
    if unknown := sorted({str(word) for word in np.unique(words)} - order.keys()):
        raise DataError(f"{name}: {unknown[0]!r} is not among the classes", did_you_mean(unknown[0], names))
    return np.array([order[word] for word in words.tolist()], np.int64)


_ONE_HOT = {2: "classification", 3: "classification", 4: "segmentation"}
"""Task that one-hot labels speak of, by their number of axes: a row each sample, each step, each pixel."""


def _is_one_hot(y: Array) -> bool:
    """Rows of zeros with a single one, along the last axis; a single column does not count."""
    if y.ndim not in _ONE_HOT or y.shape[-1] < 2 or y.dtype.kind not in "biuf":
        return False
    return all(bool(((x == 0) | (x == 1)).all() and (x.sum(axis=-1) == 1).all()) for x in (y[:1], y))


def _is_text(y: Array) -> bool:
    return y.dtype.kind in "US"


def _whole(y: Array) -> bool:
    return y.dtype.kind in "biu" or bool((np.isfinite(y) & (y == np.round(y))).all())
