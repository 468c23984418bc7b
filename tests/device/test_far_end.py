"""The far end's own text: what a device with any Python from 3.8 on can run."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest

from edgekit.device.channel import BOOTSTRAP, MAGIC, far_end_words

SOURCE = (resources.files("edgekit.agent") / "remote.py").read_text(encoding="utf-8")


def test_it_is_written_for_python_3_8_and_imports_only_the_standard_library() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= set(sys.stdlib_module_names)


def test_the_words_that_start_it_hold_nothing_that_a_login_shell_reads() -> None:
    assert not set(BOOTSTRAP) & set("'`$!\\\n")
    assert far_end_words("python3").startswith("exec python3 -u -c '")


def started(tmp_path: Path, text: str = SOURCE) -> subprocess.Popen[bytes]:
    (tmp_path / "remote.py").write_text(text)
    pipe, env = subprocess.PIPE, {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen([sys.executable, tmp_path / "remote.py"], stdin=pipe, stdout=pipe, stderr=pipe, env=env)


def test_it_ends_with_its_input(tmp_path: Path) -> None:
    out, err = started(tmp_path).communicate(timeout=20)
    assert (out, err) == (MAGIC, b"")


def test_it_ends_when_the_other_side_falls_silent(tmp_path: Path) -> None:
    begin = time.monotonic()
    far_end = started(tmp_path, SOURCE.replace("SILENCE = 60.0", "SILENCE = 0.5"))
    try:
        assert far_end.wait(timeout=20) == 0
        assert time.monotonic() - begin >= 0.5
    finally:
        far_end.communicate()


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_after_a_fault_it_stays_in_step(tmp_path: Path, size: int) -> None:
    requests = [
        {"do": "hello", "cache": str(tmp_path / "cache"), "wait": 0},
        {"do": "put", "sha256": "0000", "keep": True, "size": size},
        {"do": "get", "path": "/none", "most_bytes": 1},
    ]
    hello, put, get = (json.dumps(request).encode() + b"\n" for request in requests)
    out, _ = started(tmp_path).communicate(hello + put + bytes(size) + get, timeout=20)
    answers = out.removeprefix(MAGIC).splitlines()
    assert len(answers) == 3
    assert b"another hash" in answers[1]
    assert b"ENOENT" in answers[2]
    assert not list((tmp_path / "cache/runs").iterdir())
    assert not list((tmp_path / "cache/files").iterdir())


def test_an_upload_that_is_cut_leaves_nothing(tmp_path: Path) -> None:
    hello, put = (
        json.dumps(request).encode() + b"\n"
        for request in (
            {"do": "hello", "cache": str(tmp_path / "cache"), "wait": 0},
            {"do": "put", "sha256": "0" * 64, "keep": True, "size": 1000},
        )
    )
    started(tmp_path).communicate(hello + put + bytes(10), timeout=20)
    assert not [*(tmp_path / "cache/runs").iterdir(), *(tmp_path / "cache/files").iterdir()]


def greeted(tmp_path: Path, text: str = SOURCE, **more: str) -> dict[str, object]:
    """What it says after a `hello`, its session over."""
    hello = {"do": "hello", "cache": str(tmp_path / "cache"), "wait": 0, **more}
    out, _ = started(tmp_path, text).communicate(json.dumps(hello).encode() + b"\n", timeout=20)
    return json.loads(out.removeprefix(MAGIC))  # type: ignore[no-any-return]


def test_what_is_too_old_to_be_listed_goes_too(tmp_path: Path) -> None:
    kept = tmp_path / "cache/files"
    kept.mkdir(parents=True)
    for age, name in enumerate(("new", "old", "older")):
        (kept / name).write_bytes(bytes(60))
        os.utime(kept / name, (1000 - age, 1000 - age))
    text = SOURCE.replace("KEPT_BYTES = 2 << 30", "KEPT_BYTES = 130").replace("[:2000]", "[:1]")
    assert greeted(tmp_path, text)["files"] == ["new"]
    assert {path.name for path in kept.iterdir()} == {"new", "old"}


def test_boards_that_share_a_home_leave_each_other_their_folders(tmp_path: Path) -> None:
    runs, mark = tmp_path / "cache/runs", os.uname().nodename
    runs.mkdir(parents=True)
    for name in (f"{mark}@left", f"{mark}-2@runs", "other@runs"):
        (runs / name).mkdir()
    scratch = Path(str(greeted(tmp_path)["scratch"]))
    assert scratch.parent == runs
    assert scratch.name.startswith(f"{mark}@")
    assert {path.name for path in runs.iterdir()} == {f"{mark}-2@runs", "other@runs"}


def test_the_lock_is_the_one_that_is_named_and_every_user_may_have_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        greeted(tmp_path)
        greeted(tmp_path, lock=str(tmp_path / "phone/lock"))
    finally:
        os.umask(before)
    for path in (tmp_path / "edgekit.lock", tmp_path / "phone/lock"):
        assert path.stat().st_mode & 0o777 == 0o644


def test_what_it_says_is_there_stays_there_for_the_session(tmp_path: Path) -> None:
    kept = tmp_path / "cache/files"
    kept.mkdir(parents=True)
    for age, name in enumerate(("new", "old")):
        (kept / name).write_bytes(bytes(60))
        os.utime(kept / name, (1000 - age, 1000 - age))
    data = bytes(90)
    digest = hashlib.sha256(data).hexdigest()
    hello, put = (
        json.dumps(request).encode() + b"\n"
        for request in (
            {"do": "hello", "cache": str(tmp_path / "cache"), "wait": 0},
            {"do": "put", "sha256": digest, "keep": True, "size": len(data)},
        )
    )
    text = SOURCE.replace("KEPT_BYTES = 2 << 30", "KEPT_BYTES = 100")
    out, _ = started(tmp_path, text).communicate(hello + put + data, timeout=20)
    assert json.loads(out.removeprefix(MAGIC).splitlines()[0])["files"] == ["new"]
    assert {path.name for path in kept.iterdir()} == {"new", digest}
