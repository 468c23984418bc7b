"""A .deb is what dpkg says it is, and the same bytes wherever it is made."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.package.deb import Control, deb_bytes, gzip_stored

CONTROL = Control("a-model", "1.2.0", "Ann <ann@example.org>", "a model", (("one", "two"), ("three",)), ("python3",))
FILES = {"usr/share/a-model/m.tflite": bytes(range(256)) * 9, "usr/bin/a-model": b"#!/bin/sh\n"}
CHILD = """
import hashlib, os, sys
os.umask(int(sys.argv[1]))
sys.path.insert(0, sys.argv[3])
from test_deb import CONTROL, FILES, deb_bytes
files = {name: FILES[name] for name in sorted(FILES, reverse=sys.argv[2] == "backwards")}
print(hashlib.sha256(deb_bytes(CONTROL, files, {"usr/bin/a-model"})).hexdigest())
"""

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg here: apt install dpkg")


def made(folder: Path, **changes: object) -> Path:
    path = folder / "made.deb"
    path.write_bytes(deb_bytes(CONTROL, FILES, {"usr/bin/a-model"}, **changes))  # type: ignore[arg-type]
    return path


def said(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@needs_dpkg
def test_dpkg_reads_every_field(tmp_path: Path) -> None:
    deb = made(tmp_path)
    wanted = "${Package}|${Version}|${Architecture}|${Maintainer}|${Depends}|${Installed-Size}|${Description}"
    assert said("dpkg-deb", "--show", f"--showformat={wanted}", deb) == (
        "a-model|1.2.0|all|Ann <ann@example.org>|python3|8|a model\n one\n two\n .\n three"
    )


@needs_dpkg
def test_dpkg_lists_folders_owners_modes_and_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    rows = [line.split() for line in said("dpkg-deb", "--contents", made(tmp_path)).splitlines()]
    assert {(row[1], row[3]) for row in rows} == {("root/root", "1984-01-01")}
    assert {row[-1]: row[0] for row in rows} == {
        **dict.fromkeys(("./", "./usr/", "./usr/bin/", "./usr/share/", "./usr/share/a-model/"), "drwxr-xr-x"),
        "./usr/bin/a-model": "-rwxr-xr-x",
        "./usr/share/a-model/m.tflite": "-rw-r--r--",
    }


@needs_dpkg
def test_dpkg_unpacks_the_same_bytes(tmp_path: Path) -> None:
    said("dpkg-deb", "--raw-extract", made(tmp_path, scripts={"postinst": b"#!/bin/sh\n"}), tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    sums = (tmp_path / "out/DEBIAN/md5sums").read_text().splitlines()
    assert sums == [f"{hashlib.md5(FILES[name]).hexdigest()}  {name}" for name in sorted(FILES)]
    assert os.access(tmp_path / "out/DEBIAN/postinst", os.X_OK)


@needs_dpkg
def test_a_damaged_copy_is_not_unpacked(tmp_path: Path) -> None:
    deb = made(tmp_path)
    data = bytearray(deb.read_bytes())
    data[data.index(FILES["usr/share/a-model/m.tflite"]) + 100] ^= 1
    deb.write_bytes(data)
    done = subprocess.run(["dpkg-deb", "--extract", deb, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode
    assert "crc" in done.stderr.lower() or "data check" in done.stderr


@pytest.mark.parametrize(
    ("umask", "order", "zone"), [("0", "forwards", "Pacific/Kiritimati"), ("63", "backwards", "America/Los_Angeles")]
)
def test_no_circumstance_changes_a_byte(umask: str, order: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("TZ", zone)
    words = [sys.executable, "-c", CHILD, umask, order, str(Path(__file__).parent)]
    assert said(*words).strip() == hashlib.sha256(deb_bytes(CONTROL, FILES, {"usr/bin/a-model"})).hexdigest()


def test_the_date_is_that_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    data = deb_bytes(CONTROL, FILES)
    assert data.count(b"1700000000  ") == 3
    start = data.index(b"data.tar.gz") + 60
    with tarfile.open(fileobj=io.BytesIO(data[start:]), mode="r:gz") as inside:
        assert {member.mtime for member in inside} == {1700000000}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"package": "A_model"}, "Policy"),
        ({"package": "x"}, "Policy"),
        ({"version": "v1"}, "digit"),
        ({"version": "1.0\nEssential: yes"}, "digit"),
        ({"synopsis": "a\nEssential: yes"}, "one line"),
        ({"maintainer": ""}, "one line"),
        ({"description": (("a", ""),)}, "one line"),
    ],
)
def test_what_cannot_be_a_field_is_refused(change: dict[str, object], word: str) -> None:
    fields = {name: getattr(CONTROL, name) for name in Control.__struct_fields__} | change
    with pytest.raises(InputError, match=word):
        Control(**fields)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "./a", "a//b", "", "a/", "a\nb", "n" * 101])
def test_names_that_leave_the_root_or_fit_no_tar_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="package"):
        deb_bytes(CONTROL, {name: b""})


@given(st.binary(max_size=300), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_stored_gzip_is_read_by_gzip(data: bytes, blocks: int) -> None:
    whole = data + bytes(0xFFFF * blocks)
    assert gzip.decompress(gzip_stored(whole)) == whole
