"""Dataset: train, validation, calibration and test parts of the user's data, never mixed.

    dataset = load_dataset("data.npz")            # or a folder, a .csv, module:function, a data.toml
    dataset = match(dataset, inputs, outputs)     # checked against a model
    for inputs in dataset.part("test").batches(64): ...

Formats and keys are described in docs/data.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.data import labels, raw
from edgekit.data.match import TensorLike, match
from edgekit.data.parts import SEVERAL, Dataset, Part, strata
from edgekit.data.raw import Raw, RawPart
from edgekit.data.spec import (
    DataSpec,
    Preprocessing,
    in_memory,
    is_reference,
    overridden,
    read_spec,
    without_folders,
)
from edgekit.data.split import carve
from edgekit.errors import DataError
from edgekit.magic import EMPTY_ZIP, ZIP

__all__ = [
    "DataSpec",
    "Dataset",
    "Part",
    "Preprocessing",
    "TensorLike",
    "load_dataset",
    "load_for",
    "match",
    "refuse_missing",
]


def load_dataset(
    reference: str | Path | Any,
    *,
    overrides: Mapping[str, Any] | None = None,
    allow_code: bool = True,
    trust: bool = False,
) -> Dataset:
    """Load, check and split the data that `reference` names, or that it is: in memory, as a Python function gives them.

    Data in memory are `(x, y)`, a dict with the keys of an `.npz` or of parts, a `tf.data.Dataset`, or a function that
    takes nothing and gives one of these; samples are along axis 0 of each array. `overrides` are keys of `data.toml`
    (`seed`, `images.size`, ...), None meaning "not given". Python functions are run where you give them, and in a
    `data.toml` only with `trust`; `allow_code=False` refuses all of them. Raises DataError for anything that cannot be
    used.
    """
    spec = read_spec(reference, overrides or {}, trust)
    if not allow_code and (spec.code or callable(reference)):
        raise DataError(f"{reference}: would run Python code", "allow it, or save the arrays with numpy.savez")
    return _load(spec, reference)


def load_for(
    inputs: Sequence[TensorLike],
    outputs: Sequence[TensorLike],
    reference: str | Path | Dataset | Any,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Dataset:
    """Data for a model with these inputs and outputs: `load_dataset`, then `match`.

    Images are made in the size and colour of the model's input, unless the settings say another. `trust` lets a
    `data.toml` name Python that is run. Raises DataError, also for overrides that would change a Dataset.
    """
    if isinstance(reference, Dataset):
        _refuse_changes(reference, overrides or {})
        return match(_with_task(reference, overrides or {}), inputs, outputs)
    spec = read_spec(reference, overrides or {}, trust)
    if _form(spec, reference) == "images":
        spec = _fitting(spec, inputs)
    return match(_load(spec, reference), inputs, outputs)


def refuse_missing(
    reference: str | Path | Dataset | Any, overrides: Mapping[str, Any] | None = None, trust: bool = False
) -> None:
    """Raise DataError for data that are not there, of no known form, or a Dataset that the overrides would change.

    It is asked before a model is loaded for nothing.
    """
    if isinstance(reference, Dataset):
        _refuse_changes(reference, overrides or {})
    else:
        _form(read_spec(reference, overrides or {}, trust), reference)


def _refuse_changes(data: Dataset, overrides: Mapping[str, Any]) -> None:
    """Raise DataError for overrides that would change how data were read, which is over.

    Without labels they are those of an autoencoder where the model is one, said or not.
    """
    unsaid = data.spec.task == "auto" and all(part.labels is None for part in data.parts)
    changed = {key: value for key, value in overrides.items() if overridden(data.spec, {key: value}) != data.spec}
    names = [key for key, value in changed.items() if not (unsaid and (key, value) == ("task", "autoencoder"))]
    if names:
        raise DataError(
            f"the Dataset was read with another {', '.join(names)} than is given here, or than the artifact records",
            "give load_dataset(..., overrides=...) the same, or give here what it was given",
        )


def _with_task(data: Dataset, overrides: Mapping[str, Any]) -> Dataset:
    """The Dataset, an autoencoder's where that is said now."""
    task = overrides.get("task") or data.spec.task
    if task == data.spec.task:
        return data
    return replace(data, spec=msgspec.structs.replace(data.spec, task=task), task=task)


def _fitting(spec: DataSpec, inputs: Sequence[TensorLike]) -> DataSpec:
    shape = tuple(inputs[0].shape)
    known = len(inputs) == 1 and len(shape) == 4 and all(size and size > 0 for size in shape[1:])
    if not known or spec.images.size:
        return spec
    _, height, width, channels = shape
    images = msgspec.structs.replace(spec.images, size=(height, width), color="gray" if channels == 1 else "rgb")
    return msgspec.structs.replace(spec, images=images)


def _load(spec: DataSpec, reference: str | Path | Any) -> Dataset:
    data = _read(spec, reference)
    raw.check(data)
    given = {name: part.labels for name, part in data.parts.items()}
    names = labels.class_names(given, spec, data.class_names)
    encoded, tasks = labels.encode(given, spec, names)
    labelled = {name: replace(part, labels=encoded[name]) for name, part in data.parts.items()}
    parts, notes, warnings = _split(labelled, spec)
    classified = [output for output, task in tasks.items() if task in ("classification", "segmentation")]
    named = {names.get(output, spec.classes) for output in classified}  # one set of names, or those of no output
    return _dataset(parts, spec, tasks, named.pop() if len(named) == 1 else (), notes, (*data.warnings, *warnings))


def _read(spec: DataSpec, reference: str | Path | Any) -> Raw:
    kind = _form(spec, reference)
    if kind == "python":
        from edgekit.data.reference import load_given, load_reference

        return load_given(reference) if in_memory(reference) else load_reference(spec.source)
    path = Path(spec.source)
    if kind == "npz":
        from edgekit.data.npz import load_npz

        return load_npz(path)
    if kind == "csv":
        from edgekit.data.csv import load_csv

        return load_csv(path, spec.csv, labelled=spec.task not in ("none", "autoencoder"))
    from edgekit.data.images import load_images

    return load_images(path, spec.images, spec.classes)


def _form(spec: DataSpec, reference: str | Path | Any) -> str:
    """Format of the data. Raises DataError where there are none, or where another format was asked for."""
    found = "python" if in_memory(reference) or is_reference(spec.source) else _format(Path(spec.source))
    if spec.format not in ("auto", found):
        raise DataError(f"{spec.source} is {found}, not {spec.format}", f'say format = "{found}", or nothing')
    return found


def _format(path: Path) -> str:
    """Format of a file or folder, by what is in it. Raises DataError for what is none of them."""
    if not os.path.exists(path):  # unlike Path.exists, False for paths that cannot even be looked up
        raise DataError(f"{path}: no such file or folder", f"give {raw.SUPPORTED}")
    try:
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            tables = any(entry.suffix.lower() in raw.CSV_SUFFIXES for entry in entries)
            return "csv" if tables and not any(entry.is_dir() for entry in entries) else "images"
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as cause:
        raise DataError(f"{path}: {cause.strerror}", "check the file and its permissions") from None
    if not start:
        raise DataError(f"{path}: empty file", f"give {raw.SUPPORTED}")
    if start in (ZIP, EMPTY_ZIP):
        return "npz"
    if path.suffix.lower() in raw.CSV_SUFFIXES:
        return "csv"
    what = "damaged: it does not begin as an archive does" if path.suffix == ".npz" else "not a supported format"
    raise DataError(f"{path}: {what}", f"give {raw.SUPPORTED}")


def _split(parts: dict[str, RawPart], spec: DataSpec) -> tuple[dict[str, RawPart], tuple[str, ...], tuple[str, ...]]:
    """The parts that were given, and those carved from the training samples; notes and warnings about it."""
    given = {("train" if name == "all" else name): part for name, part in parts.items()}
    if "train" not in given:
        return given, (), ()
    source = given.pop("train")
    count = len(next(iter(source.inputs.values())))
    test = 0 if "test" in given else _share(spec.test_fraction, count)
    wanted = {
        "test": test,
        "calibration": spec.calibration_samples,
        "validation": _share(spec.validation_fraction, count - test),
    }
    wanted = {name: samples for name, samples in wanted.items() if name not in given}
    found = carve(_strata(source, count), source.groups, wanted, spec.seed)
    carved = {name: _select(source, positions) for name, positions in found.items() if len(positions)}
    return {**given, **carved}, *_said(found, wanted, count)


def _share(fraction: float, count: int) -> int:
    """A fraction of `count`, but at least one if it is not nothing."""
    return max(1, round(fraction * count)) if fraction else 0


def _said(found: Mapping[str, Any], wanted: Mapping[str, int], count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    notes = [f"{name}: {len(found[name])} of {count} samples carved from train" for name in wanted if len(found[name])]
    warnings = [
        f"too few samples for a {name} part" for name, asked in wanted.items() if asked and not len(found[name])
    ]
    if "test" in wanted and len(found["test"]):
        warnings.append(
            "no test part was given, so one was held out: if the model was trained on it, its accuracy is too good"
        )
    return tuple(notes), tuple(warnings)


def _strata(part: RawPart, count: int) -> Any:
    return strata(tuple(part.labels.values()), count)


def _select(part: RawPart, positions: Any) -> RawPart:
    return RawPart(
        {key: x[positions] for key, x in part.inputs.items()}, {key: y[positions] for key, y in part.labels.items()}
    )


def _dataset(
    parts: dict[str, RawPart],
    spec: DataSpec,
    tasks: labels.Tasks,
    class_names: tuple[str, ...],
    notes: tuple[str, ...],
    warnings: tuple[str, ...],
) -> Dataset:
    keys = tuple(next(iter(parts.values())).inputs)
    if spec.input_names and len(spec.input_names) != len(keys):
        raise DataError(f"input_names has {len(spec.input_names)} names, the data {len(keys)} inputs", "name each one")
    nowhere = msgspec.structs.replace(without_folders(spec), source="", classes=class_names)
    settings = msgspec.json.encode(nowhere, order="deterministic")
    outputs = tuple(next((part.labels for part in parts.values() if part.labels), {}))
    made = {name: _part(name, part, keys, spec.preprocessing) for name, part in parts.items()}
    return Dataset(
        train=made.get("train"),
        validation=made.get("validation"),
        calibration=made.get("calibration"),
        test=made.get("test"),
        spec=spec,
        fingerprint=raw.fingerprint(parts, settings),
        task=next(iter(tasks.values())) if len(set(tasks.values())) == 1 else SEVERAL,
        heads=labels.heads(tasks, spec),
        input_names=spec.input_names or (() if keys == ("",) else keys),
        output_names=() if outputs == ("",) else outputs,
        class_names=class_names,
        warnings=(*warnings, *raw.duplicate_warnings(parts)),
        notes=notes,
    )


def _part(name: str, part: RawPart, keys: tuple[str, ...], preprocessing: Preprocessing) -> Part:
    inputs = tuple(part.inputs[key] for key in keys)
    if len(inputs) == 1:  # of several, those that take integers go without; `match` knows which
        preprocessing.check(inputs[0].shape)
    return Part(name, inputs, tuple(np.asarray(y) for y in part.labels.values()) or None, preprocessing)
