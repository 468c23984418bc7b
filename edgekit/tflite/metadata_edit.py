"""Change metadata field by field: what is not named stays as it is.

Every input and output of the first graph gets an entry, as readers demand: they go by place, not by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct, structs

from edgekit.errors import InputError, ModelError, did_you_mean
from edgekit.tflite.inspect import ModelContents, TensorInfo
from edgekit.tflite.metadata import FileMetadata, named_files
from edgekit.tflite.metadata_schema import (
    AssociatedFile,
    Content,
    FeatureProperties,
    ImageProperties,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    Stats,
    SubGraphMetadata,
    TensorMetadata,
)

LabelKind = Literal["axis", "value"]
ContentKind = Literal["image", "feature"]

_LABEL_TYPES: dict[str, Literal["TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS"]] = {
    "axis": "TENSOR_AXIS_LABELS",
    "value": "TENSOR_VALUE_LABELS",
}
_BRIGHTEST = 255.0

T = TypeVar("T")


class Labels(Struct, frozen=True):
    """Names of classes. `axis`: one for each place of the last axis; `value`: the output holds class numbers."""

    names: tuple[str, ...]
    file: str = "labels.txt"
    kind: LabelKind = "axis"


class Normalization(Struct, frozen=True):
    """x' = (x - mean) / std, before any quantization; one number or one a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Changes(Struct, frozen=True):
    """What to write; None leaves a field as it is. `input` and `output` name a tensor where there are several."""

    name: str | None = None
    description: str | None = None
    author: str | None = None
    license: str | None = None
    version: str | None = None
    min_runtime_version: str | None = None
    labels: Labels | None = None
    normalization: Normalization | None = None
    content: ContentKind | None = None
    input: str | None = None
    output: str | None = None


def read_labels(path: Path) -> tuple[str, ...]:
    """The lines of a label file. Raises InputError for one that is missing, empty, or has an empty line inside."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise InputError(f"{path}: {reason}", "give a text file in UTF-8 with one label a line") from None
    names = tuple(line.strip() for line in lines)
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 1} is empty", "give one label a line, in the model's order")
    return names


def changed(found: FileMetadata, contents: ModelContents, changes: Changes) -> FileMetadata:
    """The metadata with the changes made.

    Raises InputError for labels, means or deviations that do not fit the tensors, or a tensor name that is none.
    """
    old = found.model or ModelMetadata()
    words = ("name", "description", "author", "license", "version")
    told = {word: value for word in words if (value := getattr(changes, word)) is not None}
    graphs = old.subgraph_metadata or (SubGraphMetadata(),)
    graph, files = _labelled(_described(graphs[0], contents, changes), contents, changes, found)
    model = structs.replace(old, subgraph_metadata=(graph, *graphs[1:]), **told)
    before, after = named_files(found.model), named_files(model)
    kept = {name: data for name, data in files.items() if name in after or name not in before}
    runtime = found.min_runtime_version if changes.min_runtime_version is None else changes.min_runtime_version
    return FileMetadata(model, runtime, kept, found.others)


def _described(graph: SubGraphMetadata, contents: ModelContents, changes: Changes) -> SubGraphMetadata:
    """An entry for every input and output, and what is told of one input in its place."""
    inputs = _entries(graph.input_tensor_metadata, contents.inputs, _content)
    outputs = _entries(graph.output_tensor_metadata, contents.outputs, lambda _: Content(FeatureProperties()))
    if changes.normalization or changes.content:
        place = _place(contents.inputs, changes.input, "input")
        inputs = _replaced(inputs, place, _prepared(inputs[place], contents.inputs[place], changes))
    return structs.replace(graph, input_tensor_metadata=inputs, output_tensor_metadata=outputs)


def _entries(
    old: Sequence[TensorMetadata], tensors: Sequence[TensorInfo], content: Callable[[TensorInfo], Content]
) -> tuple[TensorMetadata, ...]:
    if old and len(old) != len(tensors):
        raise ModelError(
            f"the metadata speak of {len(old)} tensors where the graph has {len(tensors)}",
            "they are of another model; start from the model without metadata",
        )
    if old:
        return tuple(old)
    return tuple(TensorMetadata(name=tensor.name, content=content(tensor)) for tensor in tensors)


def _content(tensor: TensorInfo, kind: ContentKind | None = None) -> Content:
    """An image where it is said, or where the shape is `[batch, height, width, 3]`; else plain numbers."""
    channels = tensor.shape[-1] if len(tensor.shape) == 4 else 0
    if kind == "image" and channels not in (1, 3):
        raise InputError(
            f"the input {tensor.name!r} of shape {list(tensor.shape)} is no image",
            "an image has the shape [batch, height, width, 1 or 3]; leave --content image out",
        )
    if kind == "image" or (kind is None and channels == 3):
        return Content(ImageProperties("RGB" if channels == 3 else "GRAYSCALE"))
    return Content(FeatureProperties())


def _prepared(entry: TensorMetadata, tensor: TensorInfo, changes: Changes) -> TensorMetadata:
    if changes.content:
        entry = structs.replace(entry, content=_content(tensor, changes.content))
    if changes.normalization is None:
        return entry
    told = _checked(changes.normalization, tensor)
    kept = tuple(unit for unit in entry.process_units if not isinstance(unit.options, NormalizationOptions))
    units = (ProcessUnit(NormalizationOptions(told.mean, told.std)), *kept)
    image = entry.content is not None and isinstance(entry.content.content_properties, ImageProperties)
    return structs.replace(entry, process_units=units, stats=_range(told) if image else entry.stats)


def _checked(told: Normalization, tensor: TensorInfo) -> Normalization:
    channels = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    for word, values in (("mean", told.mean), ("std", told.std)):
        if len(values) not in (1, channels):
            raise InputError(
                f"--{word} has {len(values)} numbers, the input {tensor.name!r} has {channels} channels",
                "give one number, or one for each channel",
            )
    if 0 in told.std:
        raise InputError("a --std of 0 divides by zero", "give the number by which (x - mean) is divided")
    return told


def _range(told: Normalization) -> Stats:
    """Real values of the input for pixels of 0 to 255."""
    size = max(len(told.mean), len(told.std))
    mean, std = (values * size if len(values) == 1 else values for values in (told.mean, told.std))
    ends = [sorted(((0 - m) / s, (_BRIGHTEST - m) / s)) for m, s in zip(mean, std, strict=True)]
    return Stats(max=tuple(high for _, high in ends), min=tuple(low for low, _ in ends))


def _labelled(
    graph: SubGraphMetadata, contents: ModelContents, changes: Changes, found: FileMetadata
) -> tuple[SubGraphMetadata, dict[str, bytes]]:
    """The graph with the label file of one output in place of its old one, and all files."""
    labels = changes.labels
    if labels is None:
        return graph, found.files
    place = _place(contents.outputs, changes.output, "output")
    _check_labels(labels, contents.outputs[place])
    kind = _LABEL_TYPES[labels.kind]
    entry = graph.output_tensor_metadata[place]
    kept = tuple(file for file in entry.associated_files if file.locale or file.type not in _LABEL_TYPES.values())
    entry = structs.replace(entry, associated_files=(AssociatedFile(labels.file, "Labels of the output.", kind), *kept))
    others = structs.replace(
        graph, output_tensor_metadata=_replaced(graph.output_tensor_metadata, place, TensorMetadata())
    )
    if labels.file in named_files(ModelMetadata(subgraph_metadata=(others,))) or labels.file in [
        one.name for one in kept
    ]:
        raise InputError(f"another file named {labels.file!r} is in use", "give the label file another name")
    outputs = _replaced(graph.output_tensor_metadata, place, entry)
    data = "".join(f"{name}\n" for name in labels.names).encode()
    return structs.replace(graph, output_tensor_metadata=outputs), {**found.files, labels.file: data}


def _check_labels(labels: Labels, tensor: TensorInfo) -> None:
    size = tensor.shape[-1] if tensor.shape else 1
    if labels.kind == "axis" and len(labels.names) != size:
        raise InputError(
            f"{len(labels.names)} labels for the output {tensor.name!r}, whose last axis has {size} places "
            f"(shape {list(tensor.shape)})",
            "give one label for each place, in its order; --label-kind value where the output holds class numbers",
        )


def _place(tensors: Sequence[TensorInfo], name: str | None, side: str) -> int:
    """Which tensor is meant: the named one, or the only one."""
    names = [tensor.name for tensor in tensors]
    if name is None and len(names) == 1:
        return 0
    if name is None:
        raise InputError(f"the model has {len(names)} {side}s: {', '.join(names)}", f"name one with --{side}")
    if name not in names:
        raise InputError(f"the model has no {side} {name!r}", did_you_mean(name, names))
    return names.index(name)


def _replaced(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])
