"""`edgekit metadata` as a user calls it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from artifacts import artifact

from edgekit.dataset import Preprocessing
from edgekit.package.description import describe
from edgekit.tflite.metadata import read_metadata

Cli = Callable[..., subprocess.CompletedProcess[str]]
PLAIN = tiny_models.negative((1, 4))
NAMES = ("ant", "bee", "cow", "doe")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(PLAIN)
    return path


def _artifact(folder: Path, names: tuple[str, ...] = NAMES, preprocessing: Preprocessing | None = None) -> Path:
    return artifact(folder, PLAIN, names, preprocessing)


def test_what_is_set_is_shown_and_the_model_is_untouched(model: Path, edgekit_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    words = ("--labels", "labels.txt", "--mean", "127.5", "--std", "127.5,1,2,3", "--licence", "MIT", "--name", "Zoo")
    done = edgekit_cli("metadata", "set", "m.tflite", "-o", "app.tflite", *words)
    assert not done.returncode, done.stderr
    shown = edgekit_cli("metadata", "show", "app.tflite")
    assert shown.stdout == done.stdout
    assert "license: MIT" in shown.stdout
    assert "(x - 127.5) / [127.5, 1, 2, 3]" in shown.stdout
    assert model.read_bytes() == PLAIN
    found = json.loads(edgekit_cli("metadata", "show", "app.tflite", "--json").stdout)
    assert found["model"]["name"] == "Zoo"
    assert list(found["files"]) == ["labels.txt"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "m.tflite", "--overwrite"], 3, "is the model itself"),
        (["-o", "there.tflite"], 3, "exists already"),
        (["-o", "no/folder.tflite"], 3, "no such folder"),
        (["-o", "out.tflite", "--mean", "1"], 3, "--mean and --std belong together"),
        (["-o", "out.tflite", "--mean", "a", "--std", "1"], 2, "'a' is no number"),
        (["-o", "out.tflite", "--mean", "nan", "--std", "1"], 2, "'nan' is not finite"),
        (["-o", "out.tflite", "--labels", "none.txt"], 3, "No such file"),
        (["-o", "out.tflite", "--labels", "there.tflite"], 3, "1 labels for the output 't1'"),
        (["-o", "out.tflite", "--from", "none"], 3, "not an artifact"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], code: int, said: str, model: Path, edgekit_cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "there.tflite").write_text("kept")
    done = edgekit_cli("metadata", "set", model.name, *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "there.tflite").read_text() == "kept"
    assert not (tmp_path / "out.tflite").exists()


def test_an_artifact_gives_its_name_preprocessing_and_classes(model: Path, edgekit_cli: Cli, tmp_path: Path) -> None:
    folder = _artifact(tmp_path / "built", preprocessing=Preprocessing(mean=(8.0,), scale=(0.0625,)))
    done = edgekit_cli("metadata", "set", model.name, "-o", "app.tflite", "--from", folder, "--mean", "9")
    assert not done.returncode, done.stderr
    found = read_metadata((tmp_path / "app.tflite").read_bytes())
    assert found.model is not None
    assert found.model.name == "zoo"
    assert found.files == {"labels.txt": b"ant\nbee\ncow\ndoe\n"}
    assert "(x - 9) / 16" in done.stdout


def test_classes_without_a_place_in_the_output_are_told(tmp_path: Path) -> None:
    found = describe(_artifact(tmp_path / "built", names=("no", "yes")))
    assert found.changes.labels is None
    assert found.notes == ("the 2 class names are left out: the output has 4 places",)


def test_an_artifact_without_data_gives_its_name_alone(tmp_path: Path) -> None:
    found = describe(artifact(tmp_path / "other", PLAIN, data=None))
    assert (found.changes.name, found.changes.normalization) == ("zoo", None)
    assert "made without data" in found.notes[0]
