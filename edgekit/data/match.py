"""Where data and model meet: shapes, names, types and label ranges are checked once, with a mend for each misfit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import Preprocessing
from edgekit.errors import DataError, did_you_mean

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class UndecidedTask(DataError):  # noqa: N818 - it says what the data are
    """Data that may be read in two ways."""


class TensorLike(Protocol):
    """An input or output of a model: `shape` has the batch first; None or -1 is an open size.

    A tensor with a `scale` that is not None is quantized: it stands for real numbers whatever its type.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def shape(self) -> Sequence[int | None]: ...  # noqa: D102

    @property
    def dtype(self) -> Any: ...  # noqa: D102


def match(dataset: Dataset, inputs: Sequence[TensorLike], outputs: Sequence[TensorLike]) -> Dataset:
    """The data set with inputs and labels in the order and shape of the model's.

    Inputs and labels go by name where all names fit (those of a file's signature before those of its tensors), else by
    order, with a warning where that had to decide between several. A missing channel axis at the end is added and
    noted. Without labels, an output shaped like the input makes it an autoencoder.
    Raises DataError naming both shapes, or the range of labels that the outputs cannot express.
    """
    first = dataset.parts[0]
    given = not first.input_types  # by the user; else the names are those of a model that it was matched to before
    order = _order(dataset.input_names, [x.shape[1:] for x in first.inputs], inputs, given)
    _refuse_preprocessing(first.preprocessing, inputs)
    fits = [_fit(first.inputs[index], tensor, first.preprocessing) for index, tensor in zip(order, inputs, strict=True)]
    notes = tuple(fit.note for fit in fits if fit.note)
    parts = {part.name: _arranged(part, order, fits, inputs) for part in dataset.parts}
    matched = replace(
        dataset,
        train=parts.get("train"),
        validation=parts.get("validation"),
        calibration=parts.get("calibration"),
        test=parts.get("test"),
        input_names=tuple(tensor.name for tensor in inputs),
        warnings=_joined(dataset.warnings, _by_order(dataset.input_names, inputs, "inputs") if given else ()),
        notes=(*dataset.notes, *(note for note in notes if note not in dataset.notes)),
    )
    return _with_outputs(matched, outputs, given)


@dataclass(frozen=True)
class _Fit:
    """What makes raw samples of an input fit: an axis to add or to drop, the type the model takes, and a note."""

    add_axis: bool
    drop_axis: bool
    dtype: str
    note: str


def _order(names: Sequence[str], shapes: list[Shape], tensors: Sequence[TensorLike], given: bool) -> list[int]:
    """Position in the data for each input of the model."""
    if len(shapes) != len(tensors):
        theirs = ", ".join(f"{tensor.name} {_shown(tensor.shape)}" for tensor in tensors)
        ours = ", ".join(
            f"{name or 'x'} {shape}" for name, shape in zip(names or [""] * len(shapes), shapes, strict=True)
        )
        raise DataError(
            f"the data has {len(shapes)} inputs ({ours}), the model {len(tensors)} ({theirs})",
            "give one array for each, named x_train.<input name>",
        )
    for called in _called(tensors):
        for own in (list(names), list(map(plain_name, names))):
            if len(set(called)) == len(called) and set(own) == set(called):
                return [own.index(name) for name in called]
    if given and (pair := _left_over(names, tensors)):
        return [pair.ours.index(name if name in pair.ours else pair.name) for name in pair.theirs]
    if given:
        _refuse_stray(names, tensors, "input")
    return list(range(len(tensors)))


class _Pair(NamedTuple):
    """The one name of the data that the model has not, and the one of the model's that is left for it."""

    ours: list[str]
    theirs: list[str]
    name: str
    free: str


def _left_over(names: Sequence[str], tensors: Sequence[TensorLike]) -> _Pair | None:
    """What belongs together as all other names, one at least, are the model's; None where that leaves no one pair."""
    for called in _called(tensors):
        for own in (list(names), list(map(plain_name, names))):
            stray, free = {*own} - {*called}, {*called} - {*own}
            if len({*own}) == len({*called}) == len(tensors) > 1 == len(stray) == len(free):
                return _Pair(own, called, stray.pop(), free.pop())
    return None


def _called(tensors: Sequence[TensorLike]) -> list[list[str]]:
    """What tensors are called: by a signature that names them all, in the file, and there without what surrounds it."""
    aliases, names = [getattr(tensor, "alias", "") for tensor in tensors], [tensor.name for tensor in tensors]
    return [*([aliases] if all(aliases) else []), names, list(map(plain_name, names))]


def _known(tensors: Sequence[TensorLike]) -> set[str]:
    return {name for names in _called(tensors) for name in names}


def _refuse_stray(names: Sequence[str], tensors: Sequence[TensorLike], what: str) -> None:
    """Raise DataError where some names are the model's and one is not: by order, arrays would change their places."""
    stray = [name for name in map(plain_name, names) if name not in _known(tensors)]
    if stray and len(stray) < len(names):
        theirs = list(map(plain_name, _called(tensors)[0]))
        raise DataError(
            f"the data calls an {what} {stray[0]!r}, the model has {', '.join(theirs)}",
            did_you_mean(stray[0], theirs),
        )


def _by_order(names: Sequence[str], tensors: Sequence[TensorLike], what: str) -> tuple[str, ...]:
    """What to know where one name was taken for the one left of the model, or where none is its, so order decides."""
    if pair := _left_over(names, tensors):
        return (f"of the {what} {pair.name!r} is taken for {pair.free!r}, the only one of the model that is left",)
    if len(names) < 2 or all(map(str.isdigit, names)) or {*names, *map(plain_name, names)} & _known(tensors):
        return ()
    theirs = ", ".join(_called(tensors)[0])
    return (f"the {what} {', '.join(names)} are taken in this order: the model calls its own {theirs}",)


def _joined(said: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """What was said, and what is new of the rest."""
    return tuple(dict.fromkeys((*said, *more)))


def plain_name(name: str) -> str:
    """A tensor's name without what converters put around it."""
    return re.sub(r"^serving_default_|:\d+$", "", name).rpartition("/")[2]


def _refuse_preprocessing(preprocessing: Preprocessing, tensors: Sequence[TensorLike]) -> None:
    """Raise DataError for preprocessing that no input gets, because all take integers."""
    if preprocessing == Preprocessing() or "float32" in map(_type, tensors):
        return
    what = f"input {tensors[0].name!r} takes {_type(tensors[0])}"
    if preprocessing.mean or preprocessing.scale:
        raise DataError(f"{what}, so mean and scale do not apply", "leave preprocessing out")
    raise DataError(f"{what}, so preprocessing.layout does not apply", "save the data with its channels last")


def _fit(x: Array, tensor: TensorLike, preprocessing: Preprocessing) -> _Fit:
    dtype, theirs = _type(tensor), tuple(tensor.shape)[1:]
    if dtype == "float32":
        preprocessing.check(x.shape)
    else:
        preprocessing = Preprocessing()
    ours = preprocessing.apply(x[:1]).shape[1:]
    if _same(ours, theirs):
        return _Fit(False, False, dtype, "")
    if _same((*ours, 1), theirs) and preprocessing.layout == "channels_last":
        note = f"input {tensor.name}: samples {ours} got a channel axis at the end to fit {_shown(theirs)}"
        return _Fit(True, False, dtype, note)
    if ours and ours[-1] == 1 and _same(ours[:-1], theirs) and preprocessing.layout == "channels_last":
        note = f"input {tensor.name}: samples {ours} lost their last axis to fit {_shown(theirs)}"
        return _Fit(False, True, dtype, note)
    raise DataError(
        f"samples have shape {ours}, input {tensor.name!r} of the model takes {_shown(theirs)}",
        _mend(ours, theirs),
    )


def _mend(ours: Shape, theirs: Sequence[int | None]) -> str:
    """What most likely makes one shape the other."""
    if len(ours) == len(theirs) > 1:
        if _same((*ours[1:], ours[0]), theirs):
            return 'the data has its channels first: preprocessing.layout = "channels_first"'
        if _same(ours[:-1], theirs[:-1]) and {ours[-1], theirs[-1]} == {1, 3}:
            return f'for images: images.color = "{"gray" if theirs[-1] == 1 else "rgb"}"'
        if ours[-1] == theirs[-1] and len(ours) == 3:
            return f"for images: images.size = [{theirs[0]}, {theirs[1]}]"
    sizes = [size for size in theirs if size and size > 0]
    if len(sizes) == len(theirs) and np.prod(ours) == np.prod(sizes):
        return f"reshape the samples to {_shown(theirs)} before saving them"
    if _same(ours[1:], theirs):
        return "each sample is a whole batch here; a tf.data.Dataset: data.unbatch(), or batch without drop_remainder"
    return "give data of the shape the model was trained on"


def _arranged(part: Part, order: list[int], fits: list[_Fit], tensors: Sequence[TensorLike]) -> Part:
    inputs = []
    for index, fit, tensor in zip(order, fits, tensors, strict=True):
        x = part.inputs[index]
        x = x[..., None] if fit.add_axis else x[..., 0] if fit.drop_axis else x
        if fit.dtype != "float32":
            _check_integers(part, x, tensor.name, fit.dtype)
        inputs.append(x)
    return replace(part, inputs=tuple(inputs), input_types=tuple(fit.dtype for fit in fits))


def _type(tensor: TensorLike) -> str:
    """`float32`, or the integer type of an input that takes plain integers (tokens, raw pixels).

    Raises DataError where it takes no numbers, as strings.
    """
    try:
        dtype = np.dtype(tensor.dtype)
    except TypeError:
        raise DataError(
            f"input {tensor.name!r} takes {tensor.dtype}s, which edgekit does not feed",
            "`edgekit inspect` shows what the model takes; leave what turns that into numbers out of the file",
        ) from None
    plain = dtype.kind in "iub" and getattr(tensor, "scale", None) is None
    return dtype.name if plain else "float32"


def _check_integers(part: Part, x: Array, name: str, dtype: str) -> None:
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if x.dtype.kind == "f" and not (x == np.round(x)).all():
        raise DataError(f"input {name!r} takes {dtype}, the {part.name} data has fractions", "give whole numbers")
    if x.min() < low or x.max() > high:
        raise DataError(
            f"input {name!r} takes {dtype}, the data goes from {x.min()} to {x.max()}",
            f"give values that {dtype} holds",
        )


def _with_outputs(dataset: Dataset, outputs: Sequence[TensorLike], given: bool) -> Dataset:
    labelled = next((part for part in dataset.parts if part.labels is not None), None)
    if dataset.task == "autoencoder" or (labelled is None and dataset.spec.task == "auto"):
        return _as_autoencoder(dataset, outputs)
    if labelled is None or labelled.labels is None:
        return dataset
    chosen = _labelled_outputs(dataset, len(labelled.labels), outputs, given)
    _refuse_either(dataset, outputs)
    placed = replace(dataset, labelled_outputs=chosen)
    for part in dataset.parts:
        for y, index in zip(part.labels or (), chosen, strict=False):
            _check_labels(part.name, y, outputs[index], placed.task_of(index))
            if placed.task_of(index) == "classification":
                metric = placed.head(index).metric if placed.heads else placed.metric
                _refuse_steps(y, outputs[index], metric)
                _refuse_undecided(y, outputs[index], metric)
    names = tuple(outputs[index].name for index in chosen)
    classified = [outputs[index] for index in chosen if placed.task_of(index) in ("classification", "segmentation")]
    few = [said for output in classified if (said := _few_classes(len(dataset.class_names), output))]
    ordered = _by_order(dataset.output_names, outputs, "labels") if given else ()
    warnings = _joined(dataset.warnings, [*few, *ordered])
    return replace(dataset, labelled_outputs=chosen, output_names=names, warnings=warnings)


def _few_classes(named: int, output: TensorLike) -> str:
    """What to know where the data names fewer classes than the output has places: a folder may hold but some."""
    places = (tuple(output.shape)[1:] or (1,))[-1] or 0
    if not 0 < named < places:
        return ""
    return (
        f"the data has {named} class{'es' * (named > 1)}, the output {places} places: they are taken for places 0 to "
        f"{named - 1}; give classes = [...] with all names"
    )


def _as_autoencoder(dataset: Dataset, outputs: Sequence[TensorLike]) -> Dataset:
    """An autoencoder if the output is shaped like the input; an error only if one was asked for."""
    first = dataset.parts[0]
    ours = [x.shape[1:] for x in next(first.batches(1))]
    if len(ours) == len(outputs) == 1 and _same(ours[0], tuple(outputs[0].shape)[1:]):
        told = () if dataset.task == "autoencoder" else (_AUTOENCODER,)
        warnings = _joined(dataset.warnings, told)
        return replace(dataset, task="autoencoder", warnings=warnings, labelled_outputs=(0,))
    if dataset.task == "autoencoder":
        found = ", ".join(_shown(output.shape[1:]) for output in outputs)
        raise DataError(f"no autoencoder: inputs {ours}, outputs {found}", 'give labels, or task = "none"')
    return dataset


_AUTOENCODER = (
    "no labels, and the output is shaped like the input: taken for an autoencoder, judged by mse; say "
    'task = "autoencoder" if it is one, task = "none" if not'
)


def _refuse_either(dataset: Dataset, outputs: Sequence[TensorLike]) -> None:
    """Raise DataError where labels of 0 and 1 may be two classes, or anomalies that an autoencoder is to find."""
    ours = [x.shape[1:] for x in next(dataset.parts[0].batches(1))]
    rebuilt = len(ours) == 1 and ours == [tuple(output.shape)[1:] for output in outputs] and np.prod(ours[0]) > 2
    if not rebuilt or dataset.heads or (dataset.spec.task, dataset.task) != ("auto", "classification"):
        return
    if all(y.ndim == 1 and y.max() <= 1 for part in dataset.parts for y in part.labels or ()):
        raise UndecidedTask(
            "the output is shaped like the input, and the labels are 0 and 1",
            'say task = "autoencoder", or task = "classification"',
        )


def _labelled_outputs(dataset: Dataset, count: int, outputs: Sequence[TensorLike], given: bool) -> tuple[int, ...]:
    """Position of the output that each label belongs to."""
    names, ours = [output.name for output in outputs], dataset.output_names
    for theirs in _called(outputs):
        if ours and set(ours) <= set(theirs):
            return tuple(theirs.index(name) for name in ours)
    if given and (pair := _left_over(ours, outputs)):
        return tuple(pair.theirs.index(name if name in pair.theirs else pair.free) for name in pair.ours)
    if given:
        _refuse_stray(ours, outputs, "output")
    if count == len(outputs):
        return tuple(range(count))
    raise DataError(
        f"labels {', '.join(dataset.output_names) or 'without a name'} and outputs {', '.join(names)} do not meet",
        f"name the labels after the outputs, for example y_test.{names[0]}",
    )


def _check_labels(part: str, y: Array, output: TensorLike, task: str) -> None:
    shape = tuple(output.shape)[1:]
    if task in ("classification", "segmentation"):
        classes = shape[-1] if shape else 1
        several = task == "classification" and y.ndim == len(shape) + 1 and y.shape[-1] > 1  # a row has several ones
        if several and not _same(y.shape[1:], shape):
            raise DataError(
                f"labels have shape {y.shape[1:]}, output {output.name!r} {_shown(shape)}",
                "give a class number a sample, or a 0 or 1 for each value of the output",
            )
        if task == "segmentation" and not _same(y.shape[1:], shape[:-1]):
            quantities = 'if these are quantities: task = "regression"'
            raise DataError(
                f"masks have shape {y.shape[1:]}, output {output.name!r} {_shown(shape)}",
                quantities if _same(y.shape[1:], shape) else "resize the masks",
            )
        most = 1 if several else max(classes - 1, 1) if classes and classes > 0 else None
        if most is not None and y.max() > most:
            raise DataError(
                f"{part} has labels {y.min()} to {y.max()}, output {output.name!r} has {classes} value(s)",
                "divide the masks by 255" if _black_and_white(y) else _label_mend(int(y.min()), int(y.max()), most),
            )
    elif task == "regression" and not _same(y.shape[1:], shape) and not _same((*y.shape[1:], 1), shape):
        classes_each = _same(y.shape[1:], shape[:-1]) and bool((y == np.round(y)).all())
        raise DataError(
            f"labels have shape {y.shape[1:]}, output {output.name!r} {_shown(shape)}",
            'if each is the number of a class: task = "classification"' if classes_each else "reshape the labels",
        )


def _refuse_steps(y: Array, output: TensorLike, metric: str | None) -> None:
    """Raise DataError for class numbers that are not one for each answer of the output, by a metric of edgekit."""
    answers = tuple(output.shape)[1:-1]
    one_answer = y.size == len(y) and all(size in (1, None, -1) for size in answers)
    if ":" in (metric or "") or y.ndim == len(output.shape) or one_answer or _same(y.shape[1:], answers):
        return
    raise DataError(
        f"labels have shape {y.shape[1:]}, output {output.name!r} {_shown(output.shape[1:])}",
        "give a class for each step, or end the model in one answer a sample",
    )


def _refuse_undecided(y: Array, output: TensorLike, metric: str | None) -> None:
    """Raise DataError for labels and outputs `[samples, values]`, each a question of its own, and a metric of one."""
    from edgekit.metrics import is_share

    decides = metric is not None and metric != "auc" and is_share(metric)
    if decides and y.ndim == len(output.shape) == 2 and (y.sum(axis=1) != 1).any():
        raise DataError(
            f"labels have a 0 or 1 for each value of output {output.name!r}, and {metric} judges one class a sample",
            'give metric = "auc"',
        )


def _black_and_white(y: Array) -> bool:
    return y.ndim > 2 and bool(((y == 0) | (y == 255)).all())


def _label_mend(low: int, high: int, most: int) -> str:
    if low == 1 and high == most + 1:
        return "number the classes from 0: subtract 1 from the labels"
    return "give labels this model was trained on" if most > 1 else 'if these are quantities: task = "regression"'


def _same(ours: Sequence[int], theirs: Sequence[int | None]) -> bool:
    """Whether two sample shapes agree where both are known."""
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(size is None or size < 0 or have == size for have, size in pairs)


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if size is None or size < 0 else str(size) for size in shape) + ")"
