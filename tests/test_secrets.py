"""Passphrases, secret keys and passwords of storages are in nothing that is written, printed or told to a child."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import tiny_models

from edgekit.artifact import Manifest
from edgekit.bench.result import Results
from edgekit.check.check import CheckResult
from edgekit.package.verify_package import PackageManifest
from edgekit.run import Run
from edgekit.search import crew
from edgekit.search.found import Found
from edgekit.search.order import Order
from edgekit.search.shelf import Shelf

pytest.importorskip("minisign", reason="py-minisign is not installed")

ROOT = Path(__file__).parent.parent
PLANTED = "planted-hunter2"
STORAGE = f"postgresql://me:{PLANTED}@127.0.0.1:1/none?password={PLANTED}"


def edgekit(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "edgekit", *words]
    whole = {**os.environ, **env}
    return subprocess.run(argv, cwd=folder, env=whole, capture_output=True, text=True, timeout=300, check=False)


def written(folder: Path, *but: str) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in but)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    return tmp_path


def test_a_passphrase_and_a_secret_key_are_told_to_nobody(place: Path) -> None:
    secret = {"EDGEKIT_KEY_PASSPHRASE": PLANTED}
    made = edgekit(place, "keygen", "k", "--json", **secret)
    assert made.returncode == 0, made.stderr
    key = (place / "k.key").read_text().splitlines()[1]
    words = ["package", "m.tflite", "--for", "firmware", "-o", "p", "--sign", "k.key", "--json"]
    packed = edgekit(place, *words, **secret)
    assert packed.returncode == 0, packed.stderr
    wrong = edgekit(place, *words[:-4], "--sign", "k.key", "-o", "q", EDGEKIT_KEY_PASSPHRASE=f"{PLANTED}-wrong")
    none = edgekit(place, *words[:-4], "--sign", "k.key", "-o", "r")
    checked = edgekit(place, "verify", "p", "--key", "k.pub", "--json", **secret)
    assert (wrong.returncode, none.returncode, checked.returncode) == (3, 3, 0)
    said = "".join(one.stdout + one.stderr for one in (made, packed, wrong, none, checked))
    assert PLANTED not in said
    assert key not in said
    assert PLANTED.encode() not in written(place)
    assert key.encode() not in written(place, "k.key")
    assert (place / "k.key").stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_password_of_a_storage_is_in_no_message_and_no_file(way: str, digits: Path, place: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    given = ["--storage", STORAGE] if way == "option" else []
    env = {} if way == "option" else {"EDGEKIT_STORAGE": STORAGE}
    files = [str(digits / "digits.keras"), "--data", str(digits / "digits.npz")]
    done = edgekit(
        place, "search", *files, "--max-drop", "1%", "--max-bytes", "30K", "--trials", "1", "-o", "out", *given, **env
    )
    assert done.returncode == 3, done.stderr
    assert "storage postgresql://127.0.0.1:1/none cannot be used" in done.stderr
    assert PLANTED not in done.stdout + done.stderr
    assert PLANTED.encode() not in written(place)


def fields(kind: object, seen: set[object]) -> Iterator[str]:
    """Names of the fields of a Struct, and of all Structs in it."""
    for part in (kind, *typing.get_args(kind)):
        if part is not kind:
            yield from fields(part, seen)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
        seen.add(kind)
        for field in msgspec.structs.fields(kind):
            yield field.name
            yield from fields(field.type, seen)


@pytest.mark.parametrize("kind", [Run, Found, Results, Manifest, PackageManifest, CheckResult])
def test_no_file_has_a_place_for_a_secret(kind: type) -> None:
    names = set(fields(kind, set()))
    assert len(names) > 4
    assert not {
        name for word in ("storage", "pass", "secret", "password", "environ", "url") for name in names if word in name
    }


def test_a_worker_is_told_its_storage_on_its_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    real = subprocess.Popen

    def popen(words: list[str], **options: object) -> object:
        started.append(words)
        return real([sys.executable, "-c", "print(input())"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", popen)
    said: queue.SimpleQueue[object] = queue.SimpleQueue()
    worker = crew._Worker(1, said)  # type: ignore[arg-type]
    order = Order("m.keras", "d.npz", str(tmp_path), storage=STORAGE)
    worker.start(order, Shelf(tmp_path))
    worker.end()
    assert started
    assert PLANTED not in " ".join(started[0])


def test_the_benchmark_of_workers_tells_its_storage_on_standard_input() -> None:
    url = f"sqlite:///{PLANTED}/no/such/folder.db"
    words = [sys.executable, str(ROOT / "benchmarks" / "search_workers.py"), "--work", "name", "0", "0.1"]
    done = subprocess.run(words, input=f"{url}\n", capture_output=True, text=True, timeout=120, check=False)
    assert "cannot be used" in done.stderr  # it was read, and not from the command line
