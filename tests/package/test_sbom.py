"""The bill of materials says what the manifest says, validates against its schema, and is the same every time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from artifacts import MANIFEST

from edgekit.errors import MissingDependency
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
    assert {one["bom-ref"]: one["hashes"][0]["content"][0] for one in found["components"]} == {
        "source-model": "b",
        "data": "c",
    }
    tools = {one["purl"] for one in found["metadata"]["tools"]["components"]}
    assert tools == {"pkg:pypi/numpy@2.4.6", "pkg:pypi/edgekit@0.1.0"}
    assert {"ref": "model", "dependsOn": ["data", "source-model"]} in found["dependencies"]


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
