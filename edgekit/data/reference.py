"""Data of Python: what `package.module:function` or `path/file.py:function` returns, or what is given in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit import python_reference
from edgekit.data.npz import PART_WORDS, parts_by_key
from edgekit.data.raw import Raw, RawPart, check_memory
from edgekit.errors import DataError

Array = npt.NDArray[Any]

_FORMS = (
    "give (x, y), ((x_train, y_train), (x_test, y_test)), a dict with keys as in an .npz, "
    "a dict of parts, or tf.data.Dataset"
)
_SEED = "give shuffle a seed (image_dataset_from_directory: seed= or shuffle=False)"
_BATCH = 256


def resolve(reference: str) -> Callable[..., Any]:
    """The function that a reference names. Raises DataError where there is none, or importing fails."""
    function = python_reference.resolve(reference, DataError)
    if not callable(function):
        raise DataError(f"{reference}: is {type(function).__name__}, no function", "name a function")
    return function  # type: ignore[no-any-return]


def load_reference(reference: str) -> Raw:
    """Call the function and take what it returns. Raises DataError for what cannot be understood."""
    return _called(resolve(reference), reference, _SEED)


def load_given(given: Any) -> Raw:
    """Take data that are given themselves, or by a function. Raises what `load_reference` raises."""
    if callable(given):
        return _called(given, getattr(given, "__qualname__", "the function given"), _SEED)
    return _called(lambda: given, "the data given", f"give a function that makes it, and there {_SEED}")


def _called(function: Callable[..., Any], source: str, same_order: str) -> Raw:
    try:
        found = function()
        parts = _parts(found, source)  # a pipeline runs the user's code only as it is read
        return Raw(parts, warnings=_disorder(function, found, source, same_order, "test" in parts))
    except DataError:
        raise
    except Exception as cause:
        raise DataError(f"{source} raised {type(cause).__name__}: {cause}", "correct the function") from cause


def _parts(result: Any, source: str) -> dict[str, RawPart]:
    if isinstance(result, Mapping) and result and all(isinstance(key, str) for key in result):
        if all(key in PART_WORDS for key in result):
            parts = {PART_WORDS[key]: _part(value, f"{source}[{key!r}]") for key, value in result.items()}
            if len(parts) < len(result):
                raise DataError(f"{source}: has one part twice", "keep one of val, valid and validation")
            return parts
        return parts_by_key({key: _array(value, source) for key, value in _by_key(result)}, source)
    if isinstance(result, tuple | list) and 2 <= len(result) <= 4 and all(map(_is_part, result)):
        names = {2: ("train", "test"), 3: ("train", "validation", "test")}.get(len(result), ())
        names = names or ("train", "validation", "calibration", "test")
        return {name: _part(value, f"{source} ({name})") for name, value in zip(names, result, strict=True)}
    return {"all": _part(result, source)}


def _by_key(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a dict has by the keys of an `.npz`; of a dict inside it, each under `x_train.NAME`."""
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        else:
            yield key, value


def _is_part(value: Any) -> bool:
    """Whether this is a pair (x, y) or a tf.data.Dataset, and not an array."""
    return _is_tensorflow_data(value) or (isinstance(value, tuple) and len(value) == 2)


def _part(value: Any, source: str) -> RawPart:
    if _is_tensorflow_data(value):
        value = _drained(value, source)
    if isinstance(value, tuple) and len(value) == 2:
        return RawPart(_columns(value[0], source), {} if value[1] is None else _columns(value[1], source))
    if isinstance(value, tuple) or value is None:
        found = "None" if value is None else f"a tuple of {len(value)}"
        raise DataError(f"{source}: {found} is no data", _FORMS)
    return RawPart(_columns(value, source))


def _columns(value: Any, source: str) -> dict[str, Array]:
    if isinstance(value, Mapping):
        return {str(key): _array(item, source) for key, item in value.items()}
    if isinstance(value, tuple | list) and value and all(isinstance(item, np.ndarray) for item in value):
        return {str(index): np.asarray(item) for index, item in enumerate(value)}
    return {"": _array(value, source)}


def _array(value: Any, source: str) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as cause:
        raise DataError(f"{source}: {type(value).__name__} is no array: {cause}", _FORMS) from None
    if array.dtype == object and array.size and all(isinstance(item, str) for item in array.flat):
        return array.astype(str)
    if array.dtype.hasobject:
        raise DataError(f"{source}: {type(value).__name__} is an array of Python objects", _FORMS)
    return array


def _is_tensorflow_data(value: Any) -> bool:
    return hasattr(value, "element_spec") and hasattr(value, "as_numpy_iterator")


def _drained(data: Any, source: str) -> Any:
    """All samples of a tf.data.Dataset as x or (x, y), batched or not."""
    if int(data.cardinality()) == -1:
        raise DataError(f"{source}: a dataset without end", "remove .repeat()")
    spec = data.element_spec
    if isinstance(spec, tuple) and len(spec) != 2:
        raise DataError(f"{source} yields {len(spec)} values a sample", "yield x or (x, y), without sample weights")
    batches = _read(data, source)
    if not batches:
        raise DataError(f"{source}: an empty dataset", "put samples in it")
    return _joined(batches)


def _read(data: Any, source: str) -> list[Any]:
    """All batches. Raises DataError as soon as they are more than this machine can hold."""
    batches: list[Any] = []
    taken = 0
    for batch in _batched(data):
        batches.append(batch)
        taken += sum(np.asarray(array).nbytes for array in _leaves(batch))
        check_memory(source, taken)
    return batches


def _batched(data: Any) -> Iterator[Any]:
    return iter((data if _is_batched(data.element_spec) else data.batch(_BATCH)).as_numpy_iterator())


def _disorder(function: Callable[..., Any], found: Any, source: str, same_order: str, tested: bool) -> tuple[str, ...]:
    """A warning where the samples to train on are others, or in another order, each time.

    Raises DataError unless they are `tested` by a part of its own: one taken out of them would mix between commands.
    Each command calls the function anew, so two calls are compared: what one call returned keeps its order where it is
    cached, and changes it where a seed shuffles it, whenever it is read again.
    """
    if _train(found) is None or _alike(*(_first(_train(function())) for _ in range(2))):
        return ()
    if not tested:
        raise DataError(
            f"{source} gives other samples, or another order, each time",
            f"{same_order}, leave out random changes, or give the parts: {{'train': ..., 'test': ...}}",
        )
    return (
        f"{source}: the train part has other samples, or another order, each time: an interrupted run begins anew, and "
        f"two runs differ; {same_order}",
    )


def _train(found: Any) -> Any:
    """The tf.data.Dataset with the samples to train on; None where they are anything else."""
    if isinstance(found, Mapping):
        found = found.get("train", found.get("training"))
    elif isinstance(found, tuple | list):
        found = next(iter(found), None)
    return found if _is_tensorflow_data(found) else None


def _first(data: Any) -> list[Array]:
    """The arrays of the first batch; none where a generator was used up by an earlier call."""
    return _leaves(next(_batched(data), ()))


def _alike(first: list[Array], second: list[Array]) -> bool:
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f") for a, b in pairs
    )


def _is_batched(spec: Any) -> bool:
    """Whether elements are batches: every first axis is open, or the labels are a plain row as long as x is."""
    leaves = _leaves(spec)
    firsts = {leaf.shape[0] if leaf.shape.rank else "scalar" for leaf in leaves}
    if firsts == {None}:
        return True
    labels = _leaves(spec[1]) if isinstance(spec, tuple) else []
    row_labels = any(leaf.shape.rank == 1 for leaf in labels)
    return row_labels and len(firsts) == 1 and all(leaf.shape.rank > 1 for leaf in _leaves(spec[0]))


def _leaves(spec: Any) -> list[Any]:
    if isinstance(spec, Mapping):
        return [leaf for item in spec.values() for leaf in _leaves(item)]
    return [leaf for item in spec for leaf in _leaves(item)] if isinstance(spec, tuple) else [spec]


def _joined(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Mapping):
        return {key: _joined([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(_joined([batch[index] for batch in batches]) for index in range(len(first)))
    joined = np.concatenate(batches)
    return joined.astype(str) if joined.dtype.hasobject else joined
