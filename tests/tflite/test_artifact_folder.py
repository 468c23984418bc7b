"""Whoever takes a `.tflite` takes the folder of an artifact, and says what to give instead of any other folder."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from run_examples import float_file, int8_file, manifest

from edgekit import check_model, inspect_model, load_model, measure, package_model
from edgekit.artifact import Artifact
from edgekit.cli import cli
from edgekit.errors import ModelError
from edgekit.package.source import open_source
from edgekit.search.exchange import take
from edgekit.search.shelf import Shelf
from edgekit.tflite.artifact_folder import tflite_path
from edgekit.tflite.flatbuffer import is_tflite, read_bytes


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run with two artifacts."""
    for phrase, file in (("int8", int8_file()), ("float32", float_file())):
        Artifact(manifest("host", phrase, file, None), file).save(tmp_path / "out/host" / phrase)
    return tmp_path / "out"


def test_the_folder_stands_for_its_file(out: Path) -> None:
    folder = out / "host/float32"
    path = folder / "digits-float32.tflite"
    assert tflite_path(folder) == tflite_path(path) == path
    assert is_tflite(folder)
    assert bytes(read_bytes(folder)) == open_source(folder).model == float_file()
    assert inspect_model(folder) == inspect_model(path)
    assert check_model(folder, "host") == check_model(path, "host")
    assert (load_model(folder).name, load_model(folder).kind) == ("digits-float32", "tflite")
    assert measure(folder).model.sha256 == measure(path).model.sha256


def test_an_artifact_is_kept_and_read_by_a_path_of_text(out: Path) -> None:
    made = Artifact.load(str(out / "host/float32"))
    assert made.save(str(out / "again")) == out / "again/digits-float32.tflite"
    assert Artifact.load(out / "again") == made


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "HERE"),
        ("check", "HERE", "-t", "host"),
        ("memory", "HERE"),
        ("profile", "HERE"),
        ("benchmark", "HERE", "HERE", "--seconds", "0.01"),
        ("compare", "HERE", "HERE", "--processes", "6"),
        ("estimate", "HERE", "-t", "host"),
        ("rewrite", "HERE", "-o", "OUT.tflite"),
        ("vectors", "HERE", "-o", "OUT.npz"),
        ("metadata", "show", "HERE"),
    ],
)
def test_every_command_takes_the_folder(out: Path, words: tuple[str, ...]) -> None:
    names = {"HERE": str(out / "host/float32")}
    done = CliRunner().invoke(cli, [names.get(word, word.replace("OUT", str(out / "made"))) for word in words])
    assert not done.exit_code, done.output


def test_a_folder_of_artifacts_names_them(out: Path) -> None:
    for folder in (out, out / "host"):
        with pytest.raises(ModelError) as caught:
            read_bytes(folder)
        assert caught.value.mend == f"give one of its artifacts: {out / 'host/float32'}, {out / 'host/int8'}"


def test_other_folders_are_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no manifest\.json in it"):
        read_bytes(tmp_path / "empty")
    damaged = Path(shutil.copytree(out / "host/int8", tmp_path / "damaged"))
    for text in ("[]", "{", json.dumps({"file": "digits-int8.tflite"}), json.dumps({"file": 1, "sha256": ""})):
        (damaged / "manifest.json").write_text(text)
        with pytest.raises(ModelError, match="not the manifest of an artifact"):
            read_bytes(damaged)


def test_a_package_is_told_from_an_artifact(out: Path, tmp_path: Path) -> None:
    package_model([out / "host/float32"], tmp_path / "package", kind="linux")
    with pytest.raises(ModelError, match="package: this is a package") as caught:
        open_source(tmp_path / "package")
    assert caught.value.mend == "give the .tflite in it, or an artifact folder"


def test_keys_that_a_later_release_adds_are_skipped(out: Path) -> None:
    described = out / "host/int8/manifest.json"
    made = Artifact.load(described.parent)
    described.write_text(json.dumps({**json.loads(described.read_text()), "energy": 1}))
    assert Artifact.load(described.parent) == made
    assert open_source(described.parent).artifact() == made.manifest


@pytest.mark.parametrize(
    ("changes", "writer"),
    [
        ({"format_version": 2}, "edgekit 0.0.1 (format 2)"),
        ({"format_version": 2, "versions": {}, "history": "new"}, "edgekit of another release (format 2)"),
        ({"history": "new", "versions": {"edgekit": "99.10.0"}}, "edgekit 99.10.0 (format 1)"),
    ],
)
def test_the_artifact_of_a_newer_edgekit_is_refused_naming_both(
    out: Path, changes: dict[str, object], writer: str
) -> None:
    described, here = out / "host/int8/manifest.json", metadata.version("edgekit")
    facts = {**json.loads(described.read_text()), "versions": {"edgekit": "0.0.1"}, **changes}
    described.write_text(json.dumps(facts))
    point: Any = SimpleNamespace(recipe="int8", sha256=facts["sha256"])
    stored = {".json": described.read_bytes(), ".tflite": int8_file()}
    trials: Any = SimpleNamespace(get=lambda name: stored[Path(name).suffix])
    found: Any = SimpleNamespace(front=[SimpleNamespace(folder="front/int8", point=point)])
    for read in (
        lambda: Artifact.load(described.parent),
        lambda: open_source(described.parent).artifact(),
        lambda: take(trials, Shelf(out / "search"), found),
    ):
        with pytest.raises(ModelError) as caught:
            read()
        assert caught.value.problem.endswith(f": written by {writer}, this is {here} (format 1)")
        assert caught.value.mend == "upgrade edgekit here"


def test_an_older_artifact_that_is_damaged_is_none(out: Path) -> None:
    described = out / "host/int8/manifest.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "history": "new"}))
    with pytest.raises(ModelError, match="not an artifact"):
        Artifact.load(described.parent)


@pytest.mark.parametrize("name", ["../digits-int8.tflite", "/etc/passwd"])
def test_no_file_outside_of_the_folder_is_read(out: Path, name: str) -> None:
    described = out / "host/int8/manifest.json"
    described.write_text(json.dumps({"file": name, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match=str(out / "host/int8")):
        read_bytes(out / "host/int8")


def test_a_changed_or_lost_file_is_refused(out: Path) -> None:
    path = out / "host/int8/digits-int8.tflite"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="changed since its manifest was written"):
        read_bytes(path.parent)
    path.unlink()
    with pytest.raises(ModelError, match="No such file"):
        read_bytes(path.parent)
