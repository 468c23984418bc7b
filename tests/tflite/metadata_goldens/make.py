"""How the golden was made, in an environment of its own: Python 3.11, tflite-support 0.4.4, numpy<2.

    python make.py PLAIN.tflite written_by_tflite_support.tflite

PLAIN is the file of `tiny_models.negative((1, 4))`. It fills tables of every version of the schema up to 1.3.0.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
from tflite_support import metadata
from tflite_support import metadata_schema_py_generated as schema


def made(kind: str, **fields: Any) -> Any:
    table = getattr(schema, f"{kind}T")()
    for name, value in fields.items():
        setattr(table, name, value)
    return table


def unit(kind: str, **fields: Any) -> Any:
    return made("ProcessUnit", optionsType=getattr(schema.ProcessUnitOptions, kind), options=made(kind, **fields))


def content(kind: str, **fields: Any) -> Any:
    number = getattr(schema.ContentProperties, kind)
    return made("Content", contentPropertiesType=number, contentProperties=made(kind, **fields))


def model_metadata() -> Any:
    labels = made("AssociatedFile", name="labels.txt", description="d", type=2)
    german = made("AssociatedFile", name="labels_de.txt", type=2, locale="de")
    vocabulary = made("AssociatedFile", name="vocab.txt", type=5)
    image = content("ImageProperties", colorSpace=1, defaultSize=made("ImageSize", width=3, height=5))
    image.range = made("ValueRange", min=-1, max=2)
    entry = made(
        "TensorMetadata",
        name="in",
        description="what comes in",
        dimensionNames=["batch", "numbers"],
        content=image,
        processUnits=[
            unit("NormalizationOptions", mean=[1.0, 2.5], std=[0.5]),
            unit("ScoreCalibrationOptions", scoreTransformation=2, defaultScore=0.25),
        ],
        stats=made("Stats", max=[4.0], min=[-4.0]),
    )
    output = made(
        "TensorMetadata",
        name="out",
        content=content("AudioProperties", sampleRate=16000, channels=2),
        associatedFiles=[labels, german],
        processUnits=[unit("ScoreThresholdingOptions", globalScoreThreshold=0.5)],
    )
    graph = made(
        "SubGraphMetadata",
        name="graph",
        inputTensorMetadata=[entry],
        outputTensorMetadata=[output],
        inputProcessUnits=[unit("RegexTokenizerOptions", delimRegexPattern="[^a-z]+", vocabFile=[vocabulary])],
        outputTensorGroups=[made("TensorGroup", name="group", tensorNames=["out"])],
    )
    words = {"name": "golden", "version": "v1", "author": "a", "license": "Apache-2.0"}
    return made("ModelMetadata", **words, subgraphMetadata=[graph])


def main() -> None:
    builder = flatbuffers.Builder(0)
    builder.Finish(model_metadata().Pack(builder), metadata.MetadataPopulator.METADATA_FILE_IDENTIFIER)
    populator = metadata.MetadataPopulator.with_model_buffer(Path(sys.argv[1]).read_bytes())
    populator.load_metadata_buffer(bytes(builder.Output()))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("labels.txt", "labels_de.txt", "vocab.txt")]
        for path, text in zip(paths, ("a\nb\nc\nd\n", "e\nf\ng\nh\n", "x\n"), strict=True):
            path.write_text(text)
        populator.load_associated_files([str(path) for path in paths])
        populator.populate()
    Path(sys.argv[2]).write_bytes(populator.get_model_buffer())


if __name__ == "__main__":
    main()
