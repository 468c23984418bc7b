"""The same artifact gives the same bytes: in another folder, time zone, locale, umask, and with another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from artifacts import artifact

from edgekit.data.spec import Preprocessing
from edgekit.package.build import KINDS

LABELS = ("ant", "bée", "cow", "doe")
HERE = {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", "HOME": "/", "USER": "ann"}
THERE = {"TZ": "Pacific/Chatham", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "77", "HOME": "/tmp", "USER": "bob"}


def _packaged(kind: str, place: Path, around: dict[str, str], umask: int) -> dict[str, bytes]:
    place.mkdir(parents=True)
    known = Preprocessing(mean=(8.0,), scale=(0.5,))
    artifact(place / "artifact", tiny_models.negative((1, 4)), LABELS, known)
    words = ["package", "artifact", "--for", kind, "-o", "out", "--licence", "MIT"]
    subprocess.run(
        [sys.executable, "-m", "edgekit", *words], cwd=place, env={**os.environ, **around}, umask=umask, check=True
    )
    return {str(path.relative_to(place)): path.read_bytes() for path in (place / "out").rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_artifact_gives_the_same_bytes_everywhere(kind: str, tmp_path: Path) -> None:
    here = _packaged(kind, tmp_path / "here", HERE, 0o022)
    there = _packaged(kind, tmp_path / "there" / "ein Ördner", THERE, 0o077)
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert [name for name, data in here.items() if str(tmp_path).encode() in data] == []


def test_the_date_is_that_of_source_date_epoch(tmp_path: Path) -> None:
    plain = _packaged("firmware", tmp_path / "plain", {}, 0o022)
    dated = _packaged("firmware", tmp_path / "dated", {"SOURCE_DATE_EPOCH": "1700000000"}, 0o022)
    assert b"2023-11-14T22:13:20" in dated["out/sbom.cdx.json"]
    assert b"1980-01-01T00:00:00" in plain["out/sbom.cdx.json"]
