"""`edgekit metadata`: read and write what a TFLite file says of itself to apps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.common import emit, json_option, refuse_place, say
from edgekit.new_file import write_new

if TYPE_CHECKING:
    from edgekit.tflite.metadata import FileMetadata
    from edgekit.tflite.metadata_edit import Changes
    from edgekit.tflite.metadata_schema import TensorMetadata


@click.group("metadata")
def command() -> None:
    """Show or set the TFLite Metadata of a file: names, licence, normalization, labels."""


@command.command("show")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def show(model: Path, as_json: bool) -> None:
    """Show what MODEL, a .tflite file, says of itself, and the files packed in it. Runs nothing."""
    emit(_read(model), as_json, lambda found: render(found, model.name))


@command.command("set")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="The new file.")
@click.option(
    "--from", "artifact", type=click.Path(path_type=Path), help="Artifact folder: name, preprocessing, labels."
)
@click.option("--name", help="Name of the model.")
@click.option("--description", help="What the model does.")
@click.option("--author", help="Who made it.")
@click.option("--licence", "--license", "license", metavar="TEXT", help="Licence of the model.")
@click.option("--version", help="Version of the model.")
@click.option("--mean", metavar="X[,X...]", help="Taken off each raw value: one number, or one a channel.")
@click.option("--std", metavar="X[,X...]", help="What the difference is divided by.")
@click.option("--content", type=click.Choice(["image", "feature"]), help="What the input is.")
@click.option("--input", "input", metavar="NAME", help="The input that is meant, where there are several.")
@click.option("--labels", type=click.Path(path_type=Path), help="Text file with one label a line.")
@click.option("--label-kind", type=click.Choice(["axis", "value"]), default="axis", show_default=True,
              help="One label for each place of the last axis, or for each value of the output.")  # fmt: skip
@click.option("--output", metavar="NAME", help="The output that is meant, where there are several.")
@click.option("--min-runtime-version", metavar="VERSION", help="Oldest TFLite runtime that runs the file.")
@click.option("--overwrite", is_flag=True, help="Replace the new file if it exists.")
@json_option
def set_(model: Path, out: Path, artifact: Path | None, overwrite: bool, as_json: bool, **told: Any) -> None:
    """Write MODEL with metadata to a new file; what is not named stays as MODEL has it.

    \b
    edgekit metadata set m.tflite -o app.tflite --labels labels.txt --mean 127.5 \\
        --std 127.5
    edgekit metadata set m.tflite -o app.tflite --from build/raspberry-pi-4/int8 \\
        --author me
    """
    from edgekit.tflite.flatbuffer import read_bytes
    from edgekit.tflite.inspect import read_contents
    from edgekit.tflite.metadata import read_metadata, write_metadata
    from edgekit.tflite.metadata_edit import changed

    _refuse(model, out, overwrite)
    data = bytes(read_bytes(model))
    changes = _changes(artifact, told)
    made = write_metadata(data, changed(read_metadata(data, str(model)), read_contents(data, str(model)), changes))
    write_new(out, made, overwrite=True)
    say(f"file: {out}")
    emit(read_metadata(made), as_json, lambda found: render(found, out.name))


def _read(path: Path) -> FileMetadata:
    from edgekit.tflite.flatbuffer import read_bytes
    from edgekit.tflite.metadata import read_metadata

    return read_metadata(bytes(read_bytes(path)), str(path))


def _refuse(model: Path, out: Path, overwrite: bool) -> None:
    from edgekit.errors import OutputError

    if out.exists() and model.exists() and out.samefile(model):
        raise OutputError(f"{out} is the model itself", "choose another file with -o")
    refuse_place(out, overwrite)


def _changes(artifact: Path | None, told: dict[str, Any]) -> Changes:
    """What an artifact knows, and over it what was said."""
    from msgspec import structs

    from edgekit.package.description import describe
    from edgekit.tflite.metadata_edit import Changes, Labels, read_labels

    labels, kind = told.pop("labels"), told.pop("label_kind")
    known = Changes()
    if artifact is not None:
        description = describe(artifact)
        known = description.changes
        for note in description.notes:
            say(f"note: {note}")
    if labels is not None:
        told["labels"] = Labels(read_labels(labels), labels.name, kind)
    mean, std = (_numbers(word, told.pop(word)) for word in ("mean", "std"))
    if mean or std:
        told["normalization"] = _normalization(known, mean, std)
    return structs.replace(known, **{key: value for key, value in told.items() if value is not None})


def _normalization(known: Changes, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """Both numbers as said, or one of them as the artifact knows it."""
    from edgekit.errors import InputError
    from edgekit.tflite.metadata_edit import Normalization

    old = known.normalization or Normalization((), ())
    mean, std = mean or old.mean, std or old.std
    if not (mean and std):
        raise InputError("--mean and --std belong together", "give both: x' = (x - mean) / std")
    return Normalization(mean, std)


def _numbers(word: str, text: str | None) -> tuple[float, ...]:
    from math import isfinite

    try:
        found = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number", param_hint=f"--{word}") from None
    if not all(map(isfinite, found)):
        raise click.BadParameter(f"{text!r} is not finite", param_hint=f"--{word}")
    return found


def render(found: FileMetadata, name: str) -> str:
    """The metadata as a person reads them; only what is there."""
    from edgekit.units import format_bytes

    if found.model is None:
        lines = [f"{name}: no TFLite Metadata"]
    else:
        words = ("name", "version", "description", "author", "license", "min_parser_version")
        told = [(word, getattr(found.model, word)) for word in words]
        lines = [f"{name}: TFLite Metadata", *(f"  {word.replace('_', ' ')}: {text}" for word, text in told if text)]
        for graph in found.model.subgraph_metadata:
            lines += [_tensor("in ", entry) for entry in graph.input_tensor_metadata]
            lines += [_tensor("out", entry) for entry in graph.output_tensor_metadata]
    lines += [f"  min runtime version: {found.min_runtime_version}"] if found.min_runtime_version else []
    lines += [f"  file {file}: {format_bytes(len(data))}" for file, data in found.files.items()]
    lines += [f"  file {file}: named, but not packed" for file in found.missing]
    return "\n".join([*lines, *([f"  other entries: {', '.join(found.others)}"] if found.others else [])])


def _tensor(side: str, entry: TensorMetadata) -> str:
    """One line: what the tensor is, how it is prepared, its range and its files."""
    from edgekit.tflite.metadata_schema import ImageProperties, NormalizationOptions

    parts = []
    properties = entry.content.content_properties if entry.content else None
    if isinstance(properties, ImageProperties):
        parts.append(f"image {properties.color_space}")
    elif properties is not None:
        parts.append(type(properties).__name__.removesuffix("Properties").lower())
    for unit in entry.process_units:
        if isinstance(unit.options, NormalizationOptions):
            parts.append(f"(x - {_joined(unit.options.mean)}) / {_joined(unit.options.std)}")
        elif unit.options is not None:
            parts.append(type(unit.options).__name__)
    if entry.stats:
        parts.append(f"from {_joined(entry.stats.min)} to {_joined(entry.stats.max)}")
    parts += [f"{file.type.lower()} {file.name}" for file in entry.associated_files]
    return f"  {side}  {entry.name}: {', '.join(parts) or 'nothing said'}"


def _joined(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"[{', '.join(f'{value:g}' for value in values)}]"
