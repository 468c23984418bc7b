"""An artifact around any TFLite file, as `edgekit optimize` would have written it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from msgspec import structs

from edgekit.artifact import Artifact, DataRecord, Manifest, ModelRecord, contract
from edgekit.data.spec import Preprocessing
from edgekit.recipe import Recipe
from edgekit.tflite.inspect import read_contents

MANIFEST = Manifest(
    name="host/int8",
    file="zoo.tflite",
    sha256="a" * 64,
    file_bytes=1,
    deflated_bytes=1,
    numeric="int8",
    target="host",
    target_sha256="",
    recipe=Recipe.parse("int8"),
    model=ModelRecord("zoo", "zoo.keras", "keras", "b" * 64, ()),
    data=DataRecord("c" * 64, "none", {}, Preprocessing(), ()),
    inputs=(),
    outputs=(),
    history=(),
    operators={},
    verification=None,
    findings=(),
    versions={"numpy": "2.4.6", "edgekit": "0.1.0"},
)


def artifact(
    folder: Path, model: bytes, labels: tuple[str, ...] = (), preprocessing: Preprocessing | None = None, **told: Any
) -> Path:
    """The folder of an artifact of these bytes; `told` are other fields of the manifest."""
    inputs, outputs = contract(read_contents(model))
    data = DataRecord("c" * 64, "classification", {}, preprocessing or Preprocessing(), labels)
    facts = {"sha256": hashlib.sha256(model).hexdigest(), "inputs": inputs, "outputs": outputs, "data": data, **told}
    Artifact(structs.replace(MANIFEST, **facts), model).save(folder)
    return folder
