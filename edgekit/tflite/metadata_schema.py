"""The tables of TFLite Metadata, schema 1.5.0, as frozen values: order of fields is their order in the flatbuffer.

Source: `metadata_schema.fbs` (file identifier M001) of TensorFlow Lite Support and MediaPipe. An absent string
is empty, an absent vector has no elements, an absent table is None. A union is a choice of tables, numbered from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

Uint = Annotated[int, Meta(ge=0, lt=2**32)]

AssociatedFileType = Literal[
    "UNKNOWN",
    "DESCRIPTIONS",
    "TENSOR_AXIS_LABELS",
    "TENSOR_VALUE_LABELS",
    "TENSOR_AXIS_SCORE_CALIBRATION",
    "VOCABULARY",
    "SCANN_INDEX_FILE",
]
ColorSpaceType = Literal["UNKNOWN", "RGB", "GRAYSCALE"]
BoundingBoxType = Literal["UNKNOWN", "BOUNDARIES", "UPPER_LEFT", "CENTER"]
CoordinateType = Literal["RATIO", "PIXEL"]
ScoreTransformationType = Literal["IDENTITY", "LOG", "INVERSE_LOGISTIC"]


class AssociatedFile(Struct, frozen=True):
    """A file that is packed behind the model, by the name it has there."""

    name: str = ""
    description: str = ""
    type: AssociatedFileType = "UNKNOWN"
    locale: str = ""
    version: str = ""


class FeatureProperties(Struct, frozen=True, tag_field="kind", tag=True):
    """The tensor holds plain numbers."""


class ImageSize(Struct, frozen=True):
    """Size in pixels where the shape of the tensor leaves it open."""

    width: Uint = 0
    height: Uint = 0


class ImageProperties(Struct, frozen=True, tag_field="kind", tag=True):
    """The tensor holds an image."""

    color_space: ColorSpaceType = "UNKNOWN"
    default_size: ImageSize | None = None


class BoundingBoxProperties(Struct, frozen=True, tag_field="kind", tag=True):
    """The tensor holds boxes; `index` is the order of their four numbers."""

    index: tuple[Uint, ...] = ()
    type: BoundingBoxType = "UNKNOWN"
    coordinate_type: CoordinateType = "RATIO"


class AudioProperties(Struct, frozen=True, tag_field="kind", tag=True):
    """The tensor holds samples of sound; the rate is in hertz."""

    sample_rate: Uint = 0
    channels: Uint = 0


class ValueRange(Struct, frozen=True):
    """First and last dimension that the content takes."""

    min: int = 0
    max: int = 0


class Content(Struct, frozen=True):
    """What a tensor holds."""

    content_properties: FeatureProperties | ImageProperties | BoundingBoxProperties | AudioProperties | None = None
    range: ValueRange | None = None


class NormalizationOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """x' = (x - mean) / std, one number or one a channel; the quantization of the tensor comes after it."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class ScoreCalibrationOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """How scores are transformed before the calibration of the associated file."""

    score_transformation: ScoreTransformationType = "IDENTITY"
    default_score: float = 0.0


class ScoreThresholdingOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """Scores below the threshold are left out."""

    global_score_threshold: float = 0.0


class BertTokenizerOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """Vocabulary of a BERT tokenizer."""

    vocab_file: tuple[AssociatedFile, ...] = ()


class SentencePieceTokenizerOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """Model and vocabulary of a SentencePiece tokenizer."""

    sentencePiece_model: tuple[AssociatedFile, ...] = ()  # noqa: N815 - the name in the schema
    vocab_file: tuple[AssociatedFile, ...] = ()


class RegexTokenizerOptions(Struct, frozen=True, tag_field="kind", tag=True):
    """Delimiter and vocabulary of a tokenizer by regular expression."""

    delim_regex_pattern: str = ""
    vocab_file: tuple[AssociatedFile, ...] = ()


class ProcessUnit(Struct, frozen=True):
    """A step before or after the model."""

    options: (
        NormalizationOptions
        | ScoreCalibrationOptions
        | ScoreThresholdingOptions
        | BertTokenizerOptions
        | SentencePieceTokenizerOptions
        | RegexTokenizerOptions
        | None
    ) = None


class Stats(Struct, frozen=True):
    """Largest and smallest real value of a tensor, one number or one a channel."""

    max: tuple[float, ...] = ()
    min: tuple[float, ...] = ()


class TensorGroup(Struct, frozen=True):
    """Tensors that belong together, by name."""

    name: str = ""
    tensor_names: tuple[str, ...] = ()


class TensorMetadata(Struct, frozen=True):
    """What an input or output is, and what is done before or after it."""

    name: str = ""
    description: str = ""
    dimension_names: tuple[str, ...] = ()
    content: Content | None = None
    process_units: tuple[ProcessUnit, ...] = ()
    stats: Stats | None = None
    associated_files: tuple[AssociatedFile, ...] = ()


class CustomMetadata(Struct, frozen=True):
    """Bytes of somebody's own."""

    name: str = ""
    data: bytes = b""


class SubGraphMetadata(Struct, frozen=True):
    """Inputs and outputs of a graph, in the order of the graph."""

    name: str = ""
    description: str = ""
    input_tensor_metadata: tuple[TensorMetadata, ...] = ()
    output_tensor_metadata: tuple[TensorMetadata, ...] = ()
    associated_files: tuple[AssociatedFile, ...] = ()
    input_process_units: tuple[ProcessUnit, ...] = ()
    output_process_units: tuple[ProcessUnit, ...] = ()
    input_tensor_groups: tuple[TensorGroup, ...] = ()
    output_tensor_groups: tuple[TensorGroup, ...] = ()
    custom_metadata: tuple[CustomMetadata, ...] = ()


class ModelMetadata(Struct, frozen=True):
    """The root: what the model is, who made it, and its graphs."""

    name: str = ""
    description: str = ""
    version: str = ""
    subgraph_metadata: tuple[SubGraphMetadata, ...] = ()
    author: str = ""
    license: str = ""
    associated_files: tuple[AssociatedFile, ...] = ()
    min_parser_version: str = ""


Version = tuple[int, int, int]

# Version of the schema that added a table, a field, or a kind of file; all else is of 1.0.0.
_TABLE_SINCE: dict[type[Struct], Version] = {
    BertTokenizerOptions: (1, 1, 0),
    SentencePieceTokenizerOptions: (1, 1, 0),
    TensorGroup: (1, 2, 0),
    RegexTokenizerOptions: (1, 2, 1),
    AudioProperties: (1, 3, 0),
    CustomMetadata: (1, 5, 0),
}
_FIELD_SINCE: dict[tuple[type[Struct], str], Version] = {
    (SubGraphMetadata, "input_process_units"): (1, 1, 0),
    (SubGraphMetadata, "output_process_units"): (1, 1, 0),
    (AssociatedFile, "version"): (1, 4, 1),
}
_FILE_SINCE: dict[str, Version] = {"VOCABULARY": (1, 0, 1), "SCANN_INDEX_FILE": (1, 4, 0)}


def tables(value: Any) -> Iterator[Struct]:
    """A table and all tables in it, at any depth."""
    if isinstance(value, tuple):
        for item in value:
            yield from tables(item)
    elif isinstance(value, Struct):
        yield value
        for item in structs.astuple(value):
            yield from tables(item)


def min_parser_version(metadata: ModelMetadata) -> str:
    """The oldest version of the schema that knows all that is filled in, as `1.0.0`."""
    newest: Version = (1, 0, 0)
    for table in tables(metadata):
        kind = type(table)
        newest = max(newest, _TABLE_SINCE.get(kind, newest))
        for field in kind.__struct_fields__:
            if getattr(table, field):
                newest = max(newest, _FIELD_SINCE.get((kind, field), newest))
        if isinstance(table, AssociatedFile):
            newest = max(newest, _FILE_SINCE.get(table.type, newest))
    return ".".join(map(str, newest))
