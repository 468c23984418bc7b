"""What is known of a file that whoever runs it has to know too: as a contract, and as TFLite Metadata."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, structs

from edgekit.artifact import Tensor, contract
from edgekit.data.spec import Preprocessing
from edgekit.errors import InputError, ModelError
from edgekit.package.bundle import Contract
from edgekit.package.source import Source, open_source
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata
from edgekit.tflite.metadata_edit import Changes, Labels, Normalization
from edgekit.tflite.metadata_schema import NormalizationOptions, TensorMetadata


class Description(Struct, frozen=True):
    """The metadata to write, and what could not be written, each with its reason."""

    changes: Changes
    notes: tuple[str, ...] = ()


def describe(folder: Path) -> Description:
    """Name, preprocessing and class names of the artifact in `folder`. Raises ModelError if it is none.

    The manifest's `(x - mean) * scale` is written as `(x - mean) / std`.
    """
    source = open_source(folder) if folder.is_dir() else None
    artifact = source.artifact() if source else None
    if source is None or artifact is None:
        raise ModelError(f"{folder}: not an artifact", "give a folder that edgekit optimize wrote")
    name = Path(artifact.file).stem
    if artifact.data is None:
        note = f"{folder}: made without data, so it knows no preprocessing and no classes"
        return Description(Changes(name=name), (note,))
    found, notes = contract_of(source, read_contents(source.model))
    changes, steps = structs.replace(metadata_of(found), name=name), found.preprocessing
    if changes.normalization is None and (steps.mean or steps.scale):
        notes += (
            "mean and scale are left out: TFLite Metadata has them for one input of real numbers, by its last axis",
        )
    return Description(changes, notes)


def contract_of(
    source: Source, contents: ModelContents, labels: tuple[str, ...] = ()
) -> tuple[Contract, tuple[str, ...]]:
    """What an artifact records, or else what the file's metadata say; and what had to be left out, with its reason.

    `labels` are the user's own, and go before. Raises InputError where they do not fit the output, or mean or scale
    the inputs.
    """
    tensors = Contract(*contract(contents))
    artifact = source.artifact()
    if artifact is not None and artifact.data is not None:
        data = artifact.data
        known = structs.replace(tensors, preprocessing=data.preprocessing, labels=data.class_names, task=data.task)
    else:
        known = _from_metadata(tensors, read_metadata(source.model, source.name))
    for tensor in known.inputs:
        _refuse_misfit(known.preprocessing, tensor)
    if labels:
        _refuse_labels(labels, known)
        return structs.replace(known, labels=labels), ()
    if known.labels and len(known.labels) != _places(known):
        names, verb = _count(len(known.labels), "class name"), "is" if len(known.labels) == 1 else "are"
        note = f"the {names} {verb} left out: {_room(known)}"
        return structs.replace(known, labels=()), (note,)
    return known, ()


def in_words(found: Preprocessing) -> str:
    """What is done to a raw sample; empty for nothing."""
    steps = [
        *([f"minus {_numbers(found.mean)}"] if found.mean else []),
        *([f"times {_numbers(found.scale)}"] if found.scale else []),
        *(["from channels first to channels last"] if found.layout == "channels_first" else []),
    ]
    return ", then ".join(steps)


def label_lines(labels: tuple[str, ...]) -> bytes:
    """Each label on a line. Raises InputError for one of several lines."""
    for label in labels:
        if "\n" in label or "\r" in label:
            raise InputError(f"the label {label!r} has a line break", "give each label on one line")
    return ("\n".join(labels) + "\n").encode()


def metadata_of(known: Contract) -> Changes:
    """The labels and the normalization of a contract, where it has them and the metadata have a place for them."""
    told = len(known.inputs) == 1 and _tells(known.inputs[0], known.preprocessing)
    return Changes(
        labels=Labels(known.labels) if known.labels else None,
        normalization=_normalization(known.preprocessing) if told else None,
    )


def _tells(tensor: Tensor, found: Preprocessing) -> bool:
    """Whether the metadata can say it: they normalize real numbers, by the last axis."""
    channels = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    real = tensor.dtype == "float32" or tensor.scale is not None
    return real and all(len(values) in (0, 1, channels) for values in (found.mean, found.scale))


def _normalization(preprocessing: Preprocessing) -> Normalization:
    return Normalization(preprocessing.mean or (0.0,), tuple(1 / scale for scale in preprocessing.scale) or (1.0,))


def _from_metadata(tensors: Contract, found: FileMetadata) -> Contract:
    graph = next(iter(found.model.subgraph_metadata), None) if found.model else None
    if graph is None:
        return tensors
    inputs, outputs = graph.input_tensor_metadata, graph.output_tensor_metadata
    labels = _labels_in(outputs[0], found) if len(outputs) == len(tensors.outputs) == 1 else ()
    preprocessing = _preprocessing_in(inputs[0]) if len(inputs) == len(tensors.inputs) == 1 else Preprocessing()
    return structs.replace(tensors, preprocessing=preprocessing, labels=labels)


def _labels_in(entry: TensorMetadata, found: FileMetadata) -> tuple[str, ...]:
    for file in entry.associated_files:
        if file.type == "TENSOR_AXIS_LABELS" and not file.locale and file.name in found.files:
            return tuple(found.files[file.name].decode("utf-8", "replace").rstrip().splitlines())
    return ()


def _preprocessing_in(entry: TensorMetadata) -> Preprocessing:
    for unit in entry.process_units:
        if isinstance(unit.options, NormalizationOptions):
            try:
                return Preprocessing(unit.options.mean, tuple(1 / value for value in unit.options.std))
            except (ValueError, ZeroDivisionError) as cause:
                raise ModelError(
                    f"the metadata normalize by {unit.options.mean} and {unit.options.std}: {cause}",
                    "write them again: edgekit metadata set --mean --std",
                ) from None
    return Preprocessing()


def _refuse_misfit(found: Preprocessing, tensor: Tensor) -> None:
    if (tensor.dtype != "float32" and tensor.scale is None) or -1 in tensor.shape[-1:]:
        return
    shape = [max(size, 1) for size in tensor.shape]
    channels = next((size for size in reversed(shape[1:]) if size > 1), 1)
    for name, values in (("mean", found.mean), ("scale", found.scale)):
        if len(values) not in (0, 1, shape[-1] if shape else 1, channels):
            raise InputError(
                f"preprocessing.{name} has {len(values)} numbers, and {tensor.name!r} is {shape}",
                "give one number, or one for each channel",
            )


def _refuse_labels(labels: tuple[str, ...], known: Contract) -> None:
    if len(labels) != _places(known):
        raise InputError(
            f"{_count(len(labels), 'label')}, and {_room(known)}",
            "give one label for each place, in its order" if len(known.outputs) == 1 else "leave --labels out",
        )


def _places(known: Contract) -> int:
    """How many labels the output takes; none where there are several outputs."""
    if len(known.outputs) != 1:
        return 0
    return known.outputs[0].shape[-1] if known.outputs[0].shape else 1


def _room(known: Contract) -> str:
    """What there is to take labels, in words."""
    if len(known.outputs) != 1:
        return f"they are of one output, where the model has {len(known.outputs)}"
    return f"the output has {_count(_places(known), 'place')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.9g}" for value in values) + (" by channel" if len(values) > 1 else "")
