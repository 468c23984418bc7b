"""What is known of a file that whoever runs it has to know too: as a contract, and as TFLite Metadata."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, structs

from edgekit.artifact import contract
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
    return Description(structs.replace(metadata_of(found), name=name), notes)


def contract_of(
    source: Source, contents: ModelContents, labels: tuple[str, ...] = ()
) -> tuple[Contract, tuple[str, ...]]:
    """What an artifact records, or else what the file's metadata say; and what had to be left out, with its reason.

    `labels` are the user's own, and go before. Raises InputError where they do not fit the output.
    """
    tensors = Contract(*contract(contents))
    artifact = source.artifact()
    if artifact is not None and artifact.data is not None:
        data = artifact.data
        known = structs.replace(tensors, preprocessing=data.preprocessing, labels=data.class_names, task=data.task)
    else:
        known = _from_metadata(tensors, read_metadata(source.model, source.name))
    if labels:
        _refuse_labels(labels, known)
        return structs.replace(known, labels=labels), ()
    if known.labels and len(known.labels) != (places := _places(known)):
        note = f"the {len(known.labels)} class names are left out: the output has {places} places"
        return structs.replace(known, labels=()), (note,)
    return known, ()


def metadata_of(known: Contract) -> Changes:
    """The labels and the normalization of a contract, where it has them."""
    real = all(tensor.dtype == "float32" or tensor.scale is not None for tensor in known.inputs)
    return Changes(
        labels=Labels(known.labels) if known.labels else None,
        normalization=_normalization(known.preprocessing) if real and len(known.inputs) == 1 else None,
    )


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


def _refuse_labels(labels: tuple[str, ...], known: Contract) -> None:
    if len(labels) != (places := _places(known)):
        raise InputError(
            f"{len(labels)} labels, and the output has {places} places", "give one label for each place, in its order"
        )


def _places(known: Contract) -> int:
    """How many labels the output takes; none where there are several outputs."""
    if len(known.outputs) != 1:
        return 0
    return known.outputs[0].shape[-1] if known.outputs[0].shape else 1
