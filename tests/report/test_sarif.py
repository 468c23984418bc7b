"""SARIF of what was checked: the laws of the format, the official model where it is installed, and what CI needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.check.check import CheckResult, MemoryUse
from edgekit.cli.check import command
from edgekit.errors import GateError, OutputError
from edgekit.finding import Finding
from edgekit.forecast.placement import Forecast, Placement
from edgekit.report.sarif import sarif
from edgekit.source_check import check_model

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
SHARED = pytest.mark.skipif(not FILES, reason="the shared models are not here")
TARGETS = ("android-gpu", "coral-usb", "cortex-m4", "raspberry-pi-4")
SOURCE = "https://example.org/rules : the second sentence"
MEMORY = MemoryUse(1, 1, 1, 0)


def found(*findings: Finding, target: str = "board", forecasts: tuple[Forecast, ...] = ()) -> CheckResult:
    return CheckResult(target, "int8", MEMORY, findings, forecasts)


def run_of(log: dict[str, Any]) -> dict[str, Any]:
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def laws(log: dict[str, Any], results: list[CheckResult]) -> None:
    """What SARIF 2.1.0 asks of the objects that are used here (sections 3.13 to 3.52)."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    run = run_of(log)
    driver = run["tool"]["driver"]
    assert driver["name"] == "edgekit"
    assert driver["version"]
    codes = [rule["id"] for rule in driver["rules"]]
    assert len(set(codes)) == len(codes)
    for rule in driver["rules"]:
        assert rule["name"].isalnum()
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["fullDescription"]["text"].endswith(".")
        assert rule["help"]["text"]
        assert urlparse(rule.get("helpUri", SOURCE)).scheme in ("http", "https")
    assert len(run["results"]) == sum(len(result.findings) for result in results)
    for result in run["results"]:
        assert codes[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["index"] == 0
        assert all(one["fullyQualifiedName"].startswith("#") for one in place.get("logicalLocations", []))
        assert place["physicalLocation"]["region"] == {"startLine": 1}
        assert list(result["partialFingerprints"]) == ["edgekitFinding/v1", "primaryLocationLineHash"]
    prints = [result["partialFingerprints"]["edgekitFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    assert json.loads(json.dumps(log)) == log


@SHARED
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whole_files_keep_the_laws_of_the_format(path: Path) -> None:
    results = [check_model(path, target) for target in TARGETS]
    log = sarif(results, path)
    laws(log, results)
    assert log == sarif(results, path)


@SHARED
def test_the_official_schema_accepts_it() -> None:
    model = pytest.importorskip("pydantic_sarif.model", reason="pydantic-sarif, made of the schema, is not installed")
    path = next(path for path in FILES if path.stem == "nmp")
    log = sarif([check_model(path, target) for target in TARGETS], path)
    (kind,) = [one for one in vars(model).values() if getattr(one, "__name__", "").startswith("StaticAnalysisResults")]
    assert kind.model_validate(log).version.value == "2.1.0"


def test_levels_rules_and_mends() -> None:
    first = Finding("warn", "unsupported-operator", "ROUND x1 (#3)", "not there", "replace it", SOURCE)
    second = Finding("error", "unsupported-operator", "SIN x1 (#4)", "not there either", "leave it out", SOURCE)
    run = run_of(sarif([found(first, second, Finding("info", "streams", "parameters", "many"))], "m.tflite"))
    one, other = run["tool"]["driver"]["rules"]
    assert (one["id"], one["name"], one["helpUri"]) == (
        "unsupported-operator",
        "UnsupportedOperator",
        "https://example.org/rules",
    )
    assert one["help"]["text"] == "Replace it. Leave it out."
    assert one["defaultConfiguration"]["level"] == "error"
    assert "helpUri" not in other
    assert [result["level"] for result in run["results"]] == ["warning", "error", "note"]
    assert run["results"][0]["message"]["text"] == "board: ROUND x1 (#3): not there. Mend: Replace it."
    assert run["results"][0]["locations"][0]["logicalLocations"] == [{"name": "#3", "fullyQualifiedName": "#3"}]


def test_all_operators_of_a_forecast_are_named_and_not_only_the_first_four() -> None:
    placed = tuple(Placement(i, "ROUND", False, "unsupported-operator", "it has none") for i in range(9))
    placed += (Placement(9, "SIN", False, "unsupported-operator", "none"),)
    one = Finding("warn", "unsupported-operator", "ROUND x9 (#0, #1, #2, #3, ...)", "not on it: it has none")
    run = run_of(sarif([found(one, forecasts=(Forecast("gpu", placed, 0),))], "m.tflite"))
    named = run["results"][0]["locations"][0]["logicalLocations"]
    assert named == [{"name": "ROUND", "fullyQualifiedName": f"#{i} ROUND"} for i in range(9)]


def test_a_fingerprint_lasts_over_other_numbers_and_tells_targets_and_twins_apart() -> None:
    def prints(*results: CheckResult) -> list[str]:
        return [one["partialFingerprints"]["edgekitFinding/v1"] for one in run_of(sarif(results, "m"))["results"]]

    small = Finding("error", "too-large", "file", "300 KiB, and the flash is 256 KiB")
    large = Finding("error", "too-large", "file", "512 KiB, and the flash is 256 KiB")
    assert prints(found(small)) == prints(found(large))
    assert prints(found(small)) != prints(found(small, target="other"))
    first, second = prints(found(small, large))
    assert (first.partition(":")[0], first[-2:], second[-2:]) == (second.partition(":")[0], ":1", ":2")


def test_the_file_is_named_from_the_working_folder_where_it_lies_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (artifact,) = run_of(sarif([], inside / "models" / "a b%.tflite"))["artifacts"]
    assert artifact["location"] == {"uri": "models/a%20b%25.tflite", "uriBaseId": "%SRCROOT%"}
    (artifact,) = run_of(sarif([], tmp_path / "out.tflite"))["artifacts"]
    assert unquote(urlparse(artifact["location"]["uri"]).path) == str((tmp_path / "out.tflite").resolve())


def test_braces_are_no_placeholders() -> None:
    run = run_of(sarif([found(Finding("warn", "open", "tensor {0}", "x"))], "m.tflite"))
    assert "tensor {{0}}" in run["results"][0]["message"]["text"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    graph = tiny_models.Graph()
    given, made = graph.tensor("given", [1, 4]), graph.tensor("made", [1, 4])
    graph.operator(116, [given], [made])  # ROUND
    path = tmp_path / "tiny.tflite"
    path.write_bytes(graph.bytes([given], [made]))
    return path


def test_the_command_writes_a_file_beside_its_table(model: Path) -> None:
    shown = CliRunner().invoke(command, ["tiny.tflite", "-t", "android-gpu", "--sarif", "found.sarif"])
    assert shown.exit_code == 0
    assert "android-gpu: runs (1 warning" in shown.stdout
    run = run_of(json.loads(Path("found.sarif").read_text()))
    assert run["artifacts"][0]["location"]["uri"] == "tiny.tflite"
    assert run["results"][0]["ruleId"] == "unsupported-operator"


def test_a_dash_prints_it_and_the_gate_still_fails(model: Path) -> None:
    shown = CliRunner().invoke(command, ["tiny.tflite", "-t", "android-gpu", "--sarif", "-", "--fail-on", "warn"])
    assert isinstance(shown.exception, GateError)
    assert json.loads(shown.stdout)["version"] == "2.1.0"


def test_two_printers_and_a_folder_that_is_not_there_are_refused(model: Path) -> None:
    both = CliRunner().invoke(command, ["tiny.tflite", "-t", "host", "--sarif", "-", "--json"])
    assert (both.exit_code, "both print" in both.stderr) == (2, True)
    lost = CliRunner().invoke(command, ["tiny.tflite", "-t", "host", "--sarif", "no/folder.sarif"])
    assert isinstance(lost.exception, OutputError)
