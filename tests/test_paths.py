"""No name that comes from outside (a file, an archive, a storage, a device) leads to another place than it should."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import artifacts
import msgspec
import pytest
import tiny_models
from msgspec import structs

from edgekit.artifact import Artifact, sha256
from edgekit.errors import EdgekitError, ModelError, OutputError, RecipeError, TargetError
from edgekit.model.load import _safe
from edgekit.package.archive import tar_bytes, zip_bytes
from edgekit.package.folder import KIND, MANIFEST, locked, standing, write_package
from edgekit.recipe import Recipe
from edgekit.search.exchange import take
from edgekit.search.shelf import FRONT, Shelf
from edgekit.split.runner.contract import load as load_split
from edgekit.split.runner.problem import Problem
from edgekit.target import load_target
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata

MODEL = tiny_models.negative()
NAMES = (
    *("../x", "..", ".", "", "/tmp/x", "a/../../x", "a/../../../etc/x", "~/x", "./../x"),
    *("..\\x", "a\\..\\..\\x", "C:\\x", "C:x", "\\\\server\\x", "a\0b", "../x\0.tflite"),
)
ELSEWHERE = tuple(name for name in NAMES if name not in ("~/x", "C:x", "a\0b"))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_writes_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    made = Artifact(structs.replace(artifacts.MANIFEST, file=name, sha256=sha256(MODEL)), MODEL)
    (tmp_path / "in").mkdir()
    if name == "C:x":  # a plain name on a system that edgekit runs on
        assert made.save(tmp_path / "in" / "it").parent == tmp_path / "in" / "it"
        return
    with pytest.raises(ModelError, match="no name for a file"):
        made.save(tmp_path / "in" / "it")
    assert tree(tmp_path) == {"in"}


@pytest.mark.parametrize("file", ["../../x", "/tmp/x", "..\\x"])
@pytest.mark.parametrize("damage", [lambda words: words, lambda words: words[:-9], lambda words: b"\xff" + words])
def test_what_a_storage_sends_stays_on_the_shelf(file: str, damage: Any, tmp_path: Path) -> None:
    (tmp_path / "out" / FRONT).mkdir(parents=True)
    manifest = structs.replace(artifacts.MANIFEST, file=file, sha256=sha256(MODEL))
    stored = {".json": damage(msgspec.json.encode(manifest)), ".tflite": MODEL}
    trials: Any = SimpleNamespace(get=lambda name: stored[Path(name).suffix])
    kept = SimpleNamespace(folder="front/int8", point=SimpleNamespace(sha256=sha256(MODEL), recipe="int8"))
    found: Any = SimpleNamespace(front=[kept])
    assert isinstance(take(trials, Shelf(tmp_path / "out"), found), OutputError)
    assert tree(tmp_path) == {"out", f"out/{FRONT}"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_and_a_target_name_no_place(name: str, tmp_path: Path) -> None:
    recipe = Recipe.parse("int8").to_toml().replace('name = "int8"', f"name = {json.dumps(name)}")
    (tmp_path / "r.toml").write_text(recipe)
    try:
        assert not {"/", "\\", ":", "\0"} & {*Recipe.parse(tmp_path / "r.toml").slug}
    except RecipeError:
        assert name != "C:x"
    (tmp_path / "t.toml").write_text(f'name = {json.dumps(name)}\ntitle = "t"\nextends = "host"\n')
    with pytest.raises(TargetError):
        load_target(tmp_path / "t.toml")


@pytest.mark.parametrize("name", NAMES)
def test_a_model_gives_its_artifacts_a_plain_name(name: str) -> None:
    safe = _safe(name)
    assert safe
    assert Path(safe).name == safe
    assert not set(safe) & set("/\\:\0")


def package(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"kind": KIND, "key": "k", "files": files}))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_removes_and_reads_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folder = package(tmp_path / "a" / "b", {name: sha256(b"mine")})
    mine = [tmp_path / "x", tmp_path / "a" / "x"]
    for path in mine:
        path.write_bytes(b"mine")
    if not any(sign in name for sign in ("~", "C:", "\\")) or "\0" in name:
        assert standing(folder, "k") is None
    with locked(folder):
        write_package(folder, {"new": b"new"}, {}, "other")
    assert all(path.read_bytes() == b"mine" for path in mine)


def test_a_link_in_a_package_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_bytes(b"mine")
    folder = package(tmp_path / "p", {"link/kept": sha256(b"mine"), "file": sha256(b"mine")})
    (folder / "link").symlink_to(tmp_path / "mine")
    (folder / "file").symlink_to(tmp_path / "mine" / "kept")
    assert standing(folder, "k") is None
    with locked(folder):
        write_package(folder, {"file": b"mine"}, {}, "other")
        assert not (folder / "file").is_symlink()
        with pytest.raises(OutputError, match="is a link"):
            write_package(folder, {"link/new": b"new"}, {}, "third")
    assert tree(tmp_path / "mine") == {"kept"}
    assert (tmp_path / "mine" / "kept").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_no_archive_is_made_with_such_a_name(name: str, pack: Any) -> None:
    with pytest.raises(EdgekitError):
        pack({name: b"x"})


@pytest.mark.parametrize("name", NAMES[:5])
def test_files_that_a_model_carries_are_read_and_never_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_metadata(write_metadata(MODEL, FileMetadata(files={f"{name}.txt": b"x"})))
    assert set(found.files.values()) == {b"x"}
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("name", ["../x.tflite", "/tmp/x.tflite", "a/x.tflite"])
def test_a_plan_of_a_split_names_files_of_its_folder(name: str, tmp_path: Path) -> None:
    segment = {"file": name, "sha256": "0" * 64, "inputs": [], "outputs": []}
    plan = {"format_version": 1, "model": "m", "inputs": [], "outputs": [], "segments": [segment], "edges": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(Problem, match="damaged"):
        load_split(tmp_path).file(load_split(tmp_path).segments[0])
