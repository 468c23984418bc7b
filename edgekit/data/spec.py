"""DataSpec: what `data.toml` says about a data set, as one frozen value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edgekit import python_reference, strict_toml
from edgekit.errors import DataError, did_you_mean

Format = Literal["auto", "npz", "images", "csv", "python"]
Task = Literal["auto", "classification", "regression", "segmentation", "autoencoder", "none"]
MEMORY = "memory"
"""Source of data that have no place: they were given themselves."""
_HEAD = re.compile(r"heads\.(?P<name>.+)\.(?P<leaf>[^.]*)")
Fraction = Annotated[float, Meta(ge=0, lt=1)]
LOSSES = r"^(auto|crossentropy|mse|mae|[^:]+:[^:]+)$"


class Preprocessing(Struct, frozen=True, forbid_unknown_fields=True):
    """How a raw sample becomes a model input: `x' = (x - mean) * scale`, then channels last.

    It is recorded in the artifact, because whoever runs the file has to do the same.
    """

    mean: Annotated[tuple[float, ...], Meta(description="Taken off: one number, or one a channel.")] = ()
    scale: Annotated[tuple[float, ...], Meta(description="Multiplied with: one number, or one a channel.")] = ()
    layout: Annotated[
        Literal["channels_last", "channels_first"],
        Meta(description="Where the raw data has its channels; the model always gets them last."),
    ] = "channels_last"

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.mean, *self.scale))):
            raise ValueError("mean and scale must be finite numbers")
        if 0 in self.scale:
            raise ValueError("a scale of 0 erases the input; to divide by 255 write 0.00392156862745098")

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the raw data, the sample axis being 0."""
        return 1 if self.layout == "channels_first" else -1

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise DataError where raw data of `shape` (sample axis first) has another number of channels."""
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            channels = shape[self.channel_axis] if len(shape) > 1 else 1
            if len(values) not in (0, 1, channels):
                raise DataError(
                    f"preprocessing.{name} has {len(values)} numbers, the data {channels} channels (shape {shape})",
                    "give one number, or one for each channel",
                )

    def apply(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Model input, float32, for raw data `[samples, ...]`."""
        result = np.asarray(x).astype(np.float32, copy=False)
        if self.mean:
            result = result - self._along_channels(self.mean, result.ndim)
        if self.scale:
            result = result * self._along_channels(self.scale, result.ndim)
        return np.moveaxis(result, 1, -1) if self.layout == "channels_first" and result.ndim > 2 else result

    def _along_channels(self, values: tuple[float, ...], rank: int) -> npt.NDArray[np.float32]:
        numbers = np.asarray(values, np.float32)
        after = rank - 2 if self.layout == "channels_first" else 0
        return numbers.reshape(-1, *[1] * after) if len(numbers) > 1 else numbers


class Images(Struct, frozen=True, forbid_unknown_fields=True):
    """How image files become arrays."""

    size: Annotated[tuple[int, int] | None, Meta(description="[height, width]; needed where the files differ.")] = None
    color: Annotated[Literal["rgb", "gray"], Meta(description="Three channels, or one.")] = "rgb"
    fit: Annotated[
        Literal["stretch", "crop"], Meta(description="Stretch to the size, or crop the middle to its aspect first.")
    ] = "stretch"

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError("size must be [height, width], both at least 1")


class Csv(Struct, frozen=True, forbid_unknown_fields=True):
    """How the rows of a table become samples."""

    label: Annotated[str, Meta(description="Column of the label: name, or number from 0; the last if empty.")] = ""
    header: Annotated[Literal["auto", "yes", "no"], Meta(description="Whether line 1 names the columns.")] = "auto"
    delimiter: Annotated[str, Meta(max_length=1, description="One character; found by itself if empty.")] = ""
    ignore: Annotated[tuple[str, ...], Meta(description="Columns that are neither input nor label.")] = ()
    group: Annotated[str, Meta(description="Rows with the same value here never go to different parts.")] = ""
    id: Annotated[str, Meta(description="Time series: rows with the same value here are one recording.")] = ""
    window: Annotated[int, Meta(ge=0, description="Time series: rows a sample; 0 for none.")] = 0
    stride: Annotated[int, Meta(ge=0, description="Rows from one window to the next; 0 means `window`.")] = 0

    def __post_init__(self) -> None:
        if self.stride and not self.window:
            raise ValueError("stride needs window")


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """One of several labelled outputs: what its labels mean, how it is judged, how much it counts in training."""

    task: Annotated[
        Literal["auto", "classification", "regression", "segmentation"],
        Meta(description="What the labels of this output mean; `auto` looks at them."),
    ] = "auto"
    metric: Annotated[str, Meta(description="Name of a metric or `module:function`; `auto` goes by task.")] = "auto"
    loss: Annotated[
        str, Meta(pattern=LOSSES, description="Loss of this output in training; `auto` is the recipe's.")
    ] = "auto"
    loss_weight: Annotated[float, Meta(gt=0, description="Factor of this output in the loss of training.")] = 1.0


class DataSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Where data is and how to read it. `data.toml` is its text form; every key has a default."""

    source: Annotated[str, Meta(description="File, folder (relative to this file) or `module:function`.")] = ""
    format: Format = "auto"
    task: Annotated[Task, Meta(description="What the labels mean; `auto` looks at them.")] = "auto"
    metric: Annotated[str, Meta(description="Name of a metric or `module:function`; `auto` goes by task.")] = "auto"
    seed: Annotated[int, Meta(ge=0, description="Seed of every split.")] = 0
    test_fraction: Annotated[Fraction, Meta(description="Held out for the test, where no test part is given.")] = 0.2
    validation_fraction: Annotated[Fraction, Meta(description="Of all samples that are not test.")] = 0.1
    calibration_samples: Annotated[int, Meta(ge=1, description="At most a quarter of what is not test.")] = 200
    classes: Annotated[tuple[str, ...], Meta(description="Names of the classes, in the order of the outputs.")] = ()
    input_names: Annotated[tuple[str, ...], Meta(description="Names of the inputs, in the order of the data.")] = ()
    heads: Annotated[
        dict[str, Head],
        Meta(description="Outputs by the names of their labels, where they differ in task, metric or weight."),
    ] = {}
    preprocessing: Preprocessing = Preprocessing()
    images: Images = Images()
    csv: Csv = Csv()
    format_version: Literal[1] = 1

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes has a name twice")
        if self.heads and self.metric != "auto":
            raise ValueError("give each of the heads its metric, or one metric and no heads")

    @property
    def code(self) -> tuple[str, ...]:
        """References to Python in it, which would be run."""
        return (*filter(is_reference, (self.source,)), *(name for name in self.named if ":" in name))

    @property
    def named(self) -> tuple[str, ...]:
        """All metrics and losses in it."""
        return (self.metric, *(name for head in self.heads.values() for name in (head.metric, head.loss)))


def in_memory(reference: Any) -> bool:
    """Whether data are given themselves, or as a function, and not by where they are."""
    return not isinstance(reference, str | os.PathLike)


def read_spec(reference: str | Path | Any, overrides: Mapping[str, Any], trust: bool = False) -> DataSpec:
    """The specification of a reference: that of a `data.toml`, or the defaults; then the overrides.

    Keys of `overrides` are those of `data.toml`, dots for tables (`images.size`, `heads.NAME.task`); None leaves a key
    as it is.
    Raises DataError for unknown keys and values that do not fit, and for Python that a file names, unless `trust`.
    """
    text = MEMORY if in_memory(reference) else str(reference)
    if not text.endswith(".toml"):
        return overridden(DataSpec(source=text), overrides)
    path = Path(text)
    spec = strict_toml.load(path, DataSpec, DataError)
    if spec.code and not trust:
        raise DataError(
            f"{path}: names {spec.code[0]!r}, and loading runs no code from a file",
            "only if you trust where the file comes from: --trust (trust=True); else name it yourself, as the data "
            "or as an option",
        )
    if not spec.source or spec.source.endswith(".toml"):
        found = f"source = {spec.source!r}" if spec.source else "no source"
        raise DataError(f"{path}: {found}", "point source at an .npz, a folder, a .csv or module:function")
    if not is_reference(spec.source):
        spec = msgspec.structs.replace(spec, source=str(path.parent / spec.source))
    return overridden(_with_code(spec, lambda file: path.parent / file), overrides)


def without_folders(spec: DataSpec) -> DataSpec:
    """The specification with the names of files of Python alone: it is the same wherever they lie."""
    return _with_code(spec, lambda file: Path(file.name))


def _with_code(spec: DataSpec, moved: Callable[[Path], Path]) -> DataSpec:
    """The specification with other paths of the `file.py:function` that it names."""

    def placed(name: str) -> str:
        file, _, function = name.rpartition(":")
        return f"{moved(Path(file))}:{function}" if file.endswith(".py") else name

    heads = {
        name: msgspec.structs.replace(head, metric=placed(head.metric), loss=placed(head.loss))
        for name, head in spec.heads.items()
    }
    return msgspec.structs.replace(spec, source=placed(spec.source), metric=placed(spec.metric), heads=heads)


def is_reference(text: str) -> bool:
    """Whether this is a `module:function` or `file.py:function`, not a path."""
    return python_reference.split(text) is not None


def overridden(spec: DataSpec, overrides: Mapping[str, Any]) -> DataSpec:
    """The specification with the overrides; raises DataError as `read_spec` does."""
    data = msgspec.to_builtins(spec)
    known = {f"{table}.{key}" for table, keys in data.items() if isinstance(keys, dict) for key in keys} | data.keys()
    known |= {f"heads.NAME.{key}" for key in Head.__struct_fields__}
    for key, value in overrides.items():
        head = _HEAD.fullmatch(key)
        if (f"heads.NAME.{head['leaf']}" if head else key) not in known:
            raise DataError(f"unknown data option {key!r}", did_you_mean(key, known))
        if value is not None:
            name, _, leaf = key.rpartition(".")
            if head:
                table = data["heads"].setdefault(head["name"], msgspec.to_builtins(Head()))
            else:
                table = data[name] if name else data
            plain = plain_option(key, value)
            number_as_text = isinstance(table.get(leaf), str) and isinstance(plain, int)
            table[leaf] = str(plain) if number_as_text else plain
    try:
        return msgspec.convert(data, DataSpec, strict=False)
    except msgspec.ValidationError as cause:
        quoted = """write a list, and in a shell quote it: 'classes=["cat", "dog"]'"""
        mend = quoted if "Expected `array" in str(cause) else "correct this value"
        raise DataError(f"data options: {cause}", mend) from None


def plain_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of data in numbers, text, lists and tables, without those that are None. Raises DataError."""
    return {key: plain_option(key, value) for key, value in (options or {}).items() if value is not None}


def plain_option(key: str, value: Any) -> Any:
    """The value of an option in numbers, text, lists and tables. Raises DataError for what is none of them."""
    try:
        return msgspec.to_builtins(value, enc_hook=_of_numpy)
    except TypeError:
        names = "name a function as text, module:function ('__main__:name' in a notebook)"
        mend = names if callable(value) else "give numbers, text or a list"
        raise DataError(f"data option {key}: {type(value).__name__} is no value of it", mend) from None


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError
