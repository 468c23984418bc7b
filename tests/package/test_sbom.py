"""The bill of materials says what the manifest says, validates against its schema, and is the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from artifacts import MANIFEST, artifact
from tiny_models import negative

from edgekit.artifact import DataRecord
from edgekit.data.spec import Preprocessing
from edgekit.errors import MissingDependency
from edgekit.package.build import package_model
from edgekit.package.sbom import sbom

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")


def _read(licence: str | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sbom(MANIFEST, licence))
    return document


def test_it_names_the_model_its_sources_and_its_tools() -> None:
    found = _read("Apache-2.0")
    model = found["metadata"]["component"]
    assert (model["name"], model["type"]) == ("zoo.tflite", "machine-learning-model")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    sources = [f"data-{'c' * 64}", f"source-model-{'b' * 64}"]
    assert sorted(one["bom-ref"] for one in found["components"]) == sources
    assert {one["type"]: one["hashes"][0]["content"][0] for one in found["components"]} == {
        "machine-learning-model": "b",
        "data": "c",
    }
    tools = {one["purl"] for one in found["metadata"]["tools"]["components"]}
    assert tools == {"pkg:pypi/numpy@2.4.6", "pkg:pypi/edgekit@0.1.0"}
    assert {"ref": "model", "dependsOn": sources} in found["dependencies"]


def test_a_package_names_the_data_of_each_of_its_models(tmp_path: Path) -> None:
    for unit in "cd":
        artifact(tmp_path / unit, negative(), data=DataRecord(unit * 64, "none", {}, Preprocessing(), ()))
    out = package_model([f"gpu={tmp_path / 'c'}", f"cpu={tmp_path / 'd'}"], tmp_path / "out", kind="ios").folder
    found = json.loads((out / "sbom.cdx.json").read_bytes())["components"]
    assert sorted(one["hashes"][0]["content"] for one in found if one["type"] == "data") == ["c" * 64, "d" * 64]


def test_a_licence_that_spdx_does_not_know_is_a_name() -> None:
    assert _read("ours alone")["metadata"]["component"]["licenses"] == [{"license": {"name": "ours alone"}}]
    assert "licenses" not in _read()["metadata"]["component"]


def test_the_bytes_follow_from_the_artifact_and_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert sbom(MANIFEST) == sbom(MANIFEST)
    assert _read()["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_it_is_valid_by_the_schema() -> None:
    from cyclonedx.exception import MissingOptionalDependencyException
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    try:
        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom(MANIFEST, "Apache-2.0").decode())
    except MissingOptionalDependencyException:
        pytest.skip("cyclonedx-python-lib is installed without [json-validation]")
    assert fault is None


def test_without_the_library_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.package.sbom.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="cyclonedx-python-lib"):
        sbom(MANIFEST)
