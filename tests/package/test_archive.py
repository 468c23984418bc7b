"""The bytes of an archive follow from its contents and SOURCE_DATE_EPOCH, and from nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError, OutputError
from edgekit.package.archive import EARLIEST, archive_bytes, archive_suffix, source_date_epoch, tar_bytes, zip_bytes

FILES = {"b/größe.txt": b"two", "a.bin": bytes(range(256)) * 40, "b/" + "long" * 60 + ".txt": b"", "run.sh": b"#!"}
SUFFIXES = (".zip", ".tar", ".tar.gz")

CHILD = """
import os, sys, hashlib
os.umask(int(sys.argv[1]))
from edgekit.package.archive import archive_bytes
files = {"b/gr\\u00f6\\u00dfe.txt": b"two", "a.bin": bytes(range(256)) * 40}
files |= {"b/" + "long" * 60 + ".txt": b"", "run.sh": b"#!"}
order = sorted(files, reverse=sys.argv[2] == "backwards")
for suffix in (".zip", ".tar", ".tar.gz"):
    print(hashlib.sha256(archive_bytes(suffix, {name: files[name] for name in order}, {"run.sh"})).hexdigest())
"""


@pytest.mark.parametrize(
    ("umask", "order", "zone", "locale", "seed"),
    [("0", "forwards", "Pacific/Kiritimati", "C", "1"), ("63", "backwards", "America/Los_Angeles", "C.UTF-8", "2")],
)
def test_no_other_circumstance_changes_a_byte(
    umask: str, order: str, zone: str, locale: str, seed: str, tmp_path: Path
) -> None:
    surroundings = {"TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    kept = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    words = [sys.executable, "-c", CHILD, umask, order]
    done = subprocess.run(words, env=kept | surroundings, cwd=tmp_path, capture_output=True, text=True, check=True)
    here = [hashlib.sha256(archive_bytes(suffix, FILES, {"run.sh"})).hexdigest() for suffix in SUFFIXES]
    assert done.stdout.split() == here


def test_members_have_one_date_fixed_modes_and_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with zipfile.ZipFile(io.BytesIO(zip_bytes(FILES, {"run.sh"}))) as archive:
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert {info.filename: oct(info.external_attr >> 16) for info in archive.infolist()}["run.sh"] == "0o100755"
        assert archive.namelist() == sorted(FILES)
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(FILES, {"run.sh"}))) as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(1700000000, 0, 0, "", "")}
    assert [m.name for m in members if m.mode == 0o755] == ["run.sh"]


def test_the_date_is_in_the_bytes_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in SUFFIXES:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        dated = archive_bytes(suffix, FILES)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EARLIEST))
        assert archive_bytes(suffix, FILES) != dated
        monkeypatch.delenv("SOURCE_DATE_EPOCH")
        assert len(archive_bytes(suffix, FILES)) == pytest.approx(len(dated), abs=20)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc.é", min_size=3, max_size=5), st.binary(max_size=600), max_size=4))
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    files = {f"f/{name}x": data for name, data in files.items()}
    with zipfile.ZipFile(io.BytesIO(zip_bytes(files))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(files, compressed=True))) as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == files  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a//b", "a/./b", "a\\b", "C:x", "a\nb", "folder/"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(InputError, match="no name for a file"):
            archive_bytes(suffix, {name: b""})


def test_names_that_differ_by_case_alone_are_refused() -> None:
    with pytest.raises(InputError, match="one file where case"):
        zip_bytes({"A.txt": b"", "a.txt": b""})
    with pytest.raises(InputError, match="not in the archive"):
        zip_bytes({"A.txt": b""}, {"run.sh"})


@pytest.mark.parametrize(("text", "seconds"), [("", EARLIEST), ("0", EARLIEST), ("1700000000", 1700000000)])
def test_the_date_is_that_of_the_environment(text: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert source_date_epoch() == seconds


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "99999999999", "١"])
def test_a_date_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        source_date_epoch()


def test_the_suffix_says_the_kind() -> None:
    assert [archive_suffix(Path(name)) for name in ("a.ZIP", "a.b.tar.gz", "a.tgz", "a.npz")] == [
        ".zip", ".tar.gz", ".tgz", ""]  # fmt: skip
    with pytest.raises(OutputError, match="no archive"):
        archive_bytes(".rar", {})
