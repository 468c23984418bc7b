"""Verify: a package as its maker made it passes, and whatever was done to it is named."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from edgekit.cli import main
from edgekit.errors import InputError
from edgekit.package import package_files
from edgekit.package.archive import archive_bytes, zip_bytes
from edgekit.package.build import KINDS, package_model
from edgekit.package.folder import SIGNATURE, digest, write_package
from edgekit.package.golden import golden_vectors
from edgekit.package.signature import new_key, sign_folder
from edgekit.package.verify_package import PackageCheck, verify_package
from edgekit.package.verify_run import run_package

MODEL = tiny_models.negative((1, 4))
Cli = Callable[..., subprocess.CompletedProcess[str]]


def made(folder: Path, files: dict[str, bytes], units: tuple[str, ...] = ("cpu",), **told: Any) -> Path:
    """A package of these files, as a kind of package would have it written."""
    folder.mkdir(exist_ok=True)
    variants = [{"unit": unit, "file": "m.tflite", "sha256": digest(MODEL)} for unit in units]
    facts = {"format_version": 1, "for": "linux", "name": "m", "version": "1.0.0", "variants": variants, **told}
    write_package(folder, files, facts, "key")
    return folder


@pytest.fixture(scope="module")
def vectors() -> bytes:
    return golden_vectors(MODEL).to_json()


@pytest.fixture
def package(tmp_path: Path, vectors: bytes) -> Path:
    return made(tmp_path / "p", {"m.tflite": MODEL, "data/golden.json": vectors})


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "k.key", tmp_path / "k.pub", None)
    return tmp_path / "k.key"


def contents(package: Path, prefix: str = "") -> dict[str, bytes]:
    files = [path for path in package.rglob("*") if path.is_file()]
    return {prefix + path.relative_to(package).as_posix(): path.read_bytes() for path in files}


def found(check: PackageCheck) -> list[tuple[str, str]]:
    return [(one.code, one.subject) for one in check.findings]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])
@pytest.mark.parametrize("prefix", ["", "p/"])
def test_a_folder_and_every_archive_of_it_pass(suffix: str, prefix: str, package: Path, tmp_path: Path) -> None:
    whole = verify_package(package)
    assert whole.passed
    assert whole.signature.state == "absent"
    assert whole.manifest is not None
    assert set(whole.manifest.files) == {"m.tflite", "data/golden.json"}
    archive = tmp_path / f"p{suffix}"
    archive.write_bytes(archive_bytes(suffix, contents(package, prefix)))
    assert verify_package(archive).manifest == whole.manifest
    assert verify_package(archive).passed


def test_archives_of_the_usual_tools_pass(package: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-C", package, "-czf", tmp_path / "dot.tar.gz", "."], check=True)
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "top.tar", "p"], check=True)
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
    for name in ("dot.tar.gz", "top.tar", "d.zip"):
        assert verify_package(tmp_path / name).passed, name


def test_each_thing_done_to_a_file_is_named(package: Path) -> None:
    (package / "m.tflite").write_bytes(MODEL[:-1] + b"x")
    (package / "data/golden.json").rename(package / "data/other.json")
    assert found(verify_package(package)) == [
        ("missing", "data/golden.json"),
        ("changed", "m.tflite"),
        ("unlisted", "data/other.json"),
    ]


def test_links_are_not_followed(package: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (package / "m.tflite").rename(tmp_path / "elsewhere" / "m.tflite")
    (package / "m.tflite").symlink_to(tmp_path / "elsewhere" / "m.tflite")
    (package / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(package / "pipe")
    assert found(verify_package(package)) == [
        ("refused", "folder"),
        ("refused", "m.tflite"),
        ("refused", "pipe"),
        ("missing", "m.tflite"),
    ]


def test_a_key_demands_its_signature(package: Path, key: Path, tmp_path: Path) -> None:
    public = str(tmp_path / "k.pub")
    assert found(verify_package(package, public)) == [("not-signed", SIGNATURE)]
    sign_folder(package, key)
    assert verify_package(package, public).signature.state == "valid"
    assert verify_package(package, public).passed
    assert verify_package(package).signature.state == "unchecked"
    new_key(tmp_path / "o.key", tmp_path / "o.pub", None)
    assert found(verify_package(package, str(tmp_path / "o.pub"))) == [("signature", SIGNATURE)]


def test_a_package_that_is_made_anew_has_no_signature_of_the_old_one(package: Path, key: Path, vectors: bytes) -> None:
    files = {"m.tflite": MODEL, "data/golden.json": vectors}
    sign_folder(package, key)
    made(package, files)
    assert (package / SIGNATURE).is_file()
    made(package, files, version="2.0.0")
    assert not (package / SIGNATURE).exists()


def test_a_manifest_that_was_made_to_fit_is_found_by_the_key_alone(package: Path, key: Path, tmp_path: Path) -> None:
    sign_folder(package, key)
    changed = MODEL + b"x"
    text = (package / "manifest.json").read_text().replace(digest(MODEL), digest(changed))
    (package / "m.tflite").write_bytes(changed)
    (package / "manifest.json").write_text(text)
    assert verify_package(package).passed
    check = verify_package(package, str(tmp_path / "k.pub"))
    assert found(check) == [("signature", SIGNATURE)]
    assert check.manifest is None


def with_manifest(package: Path, text: str | bytes) -> Path:
    (package / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return package


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"kind": "edgekit package"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"kind": "edgekit package", "kind": "edgekit package"}',
        b'{"kind": ' + b"9" * 100_000 + b"}",
        b" " * (17 << 20),
    ],
    ids=["empty", "binary", "list", "object", "short", "deep-list", "deep-object", "twice", "long-number", "huge"],
)
def test_a_manifest_that_is_none_is_a_clear_error(text: bytes, package: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        verify_package(with_manifest(package, text))


@pytest.mark.parametrize(("word", "value"), [("for", "fridge"), ("format_version", 2)])
def test_an_unknown_kind_or_format_is_refused(word: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known is format 1"):
        verify_package(made(tmp_path / "p", {"m.tflite": MODEL}, **{word: value}))


@pytest.mark.parametrize("name", ["../m.tflite", "/etc/passwd", "a/../m.tflite", "./m.tflite", "a//b", ""])
def test_names_of_a_manifest_that_lead_elsewhere_are_not_read(name: str, package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_bytes())
    manifest["files"][name] = digest(b"")
    check = verify_package(with_manifest(package, json.dumps(manifest)))
    assert found(check) == [("manifest", name)]


def test_a_package_is_not_found_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "x.zip").write_text("x")
    (tmp_path / "x.tar.gz").write_text("x")
    (tmp_path / "empty.zip").write_bytes(zip_bytes({}))
    for name in (".", "x.txt", "x.zip", "x.tar.gz", "empty.zip", "nothing", "nothing.zip"):
        with pytest.raises(InputError):
            verify_package(tmp_path / name)


def zipped(path: Path, entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b", "m.tflite", "./m.tflite", "a/../../evil", ".", "a\0b"])
def test_names_in_a_zip_that_lead_elsewhere_or_twice(name: str, package: Path, tmp_path: Path) -> None:
    known = name if "\0" not in name else "Zq0w"  # which zipfile itself would cut off
    archive = zipped(tmp_path / "p.zip", [*contents(package).items(), (known, b"x")])
    archive.write_bytes(archive.read_bytes().replace(b"Zq0w", b"a\0bc"))
    assert [code for code, _ in found(verify_package(archive))] == ["refused"]


def test_an_entry_without_a_name(package: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "p.zip", [*contents(package).items(), ("Q", b"x")])
    data = bytearray(archive.read_bytes())
    start = data.rindex(b"PK\x01\x02")
    assert data[start + 46 : start + 47] == b"Q"
    data[start + 28 : start + 30], data[start + 30 : start + 32] = b"\0\0", b"\1\0"  # its letter is an extra field now
    archive.write_bytes(data)
    assert found(verify_package(archive)) == [("refused", "")]


def test_links_and_devices_in_a_tar(package: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(package, "p")
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(f"p/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    names = [("refused", "device"), ("refused", "hard"), ("refused", "link")]
    assert found(verify_package(tmp_path / "p.tar")) == names


def test_what_lies_beside_the_package_is_named(package: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "p.zip", [*contents(package, "p/").items(), ("__MACOSX/p/._m", b"x")])
    assert found(verify_package(archive)) == [("refused", "__MACOSX/p/._m")]


def test_bombs_stop_early(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is made small here; the bombs keep their proportions."""
    monkeypatch.setattr(package_files, "_LEAST_ROOM", 1 << 20)
    zeros = bytes(20 << 20)
    bomb = zipped(tmp_path / "b.zip", [*contents(package).items(), ("zeros", zeros)], zipfile.ZIP_DEFLATED)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(zeros, mtime=0))
    for path in (bomb, tmp_path / "b.tar.gz"):
        with pytest.raises(InputError, match="far more than its own size"):
            verify_package(path)


def test_a_zip_that_lies_about_its_sizes(package: Path, tmp_path: Path) -> None:
    files = contents(package)
    path = zipped(tmp_path / "p.zip", [*files.items()], zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    sizes = len(MODEL).to_bytes(4, "little")
    assert data.count(sizes) >= 2
    path.write_bytes(data.replace(sizes, (len(MODEL) - 8).to_bytes(4, "little")))
    with pytest.raises(InputError):
        verify_package(path)


def test_every_cut_of_an_archive_is_a_clear_error_or_a_finding(package: Path, tmp_path: Path) -> None:
    for suffix in (".zip", ".tar", ".tar.gz"):
        whole = archive_bytes(suffix, contents(package))
        end = whole.rstrip(b"\0")  # a tar ends in zeros, of which some may go
        path = tmp_path / f"cut{suffix}"
        for length in range(0, len(end), max(1, len(end) // 40)):
            path.write_bytes(whole[:length])
            with suppress(InputError):
                assert not verify_package(path).passed


def test_too_many_files_are_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_files, "_MOST_FILES", 2)
    with pytest.raises(InputError, match="more than 2 files"):
        verify_package(package)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_verifies_and_runs(kind: str, tmp_path: Path) -> None:
    (tmp_path / "zoo.tflite").write_bytes(MODEL)
    out = package_model([tmp_path / "zoo.tflite"], tmp_path / "out", kind=kind).folder
    check = verify_package(out)
    assert check.passed
    assert check.manifest is not None
    assert check.manifest.kind == kind
    (done,) = run_package(out, check.manifest)
    assert done.reason == ("its self-test in C runs them" if kind == "firmware" else "")
    assert (kind == "firmware") if done.check is None else done.check.passed


def debian(files: dict[str, bytes]) -> bytes:
    """As deb(5) has it: headers of 60 bytes, odd members padded."""
    members = {"debian-binary": b"2.0\n", "control.tar": b"odd", "data.tar.gz": archive_bytes(".tar.gz", files)}
    entries = (
        f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        for name, data in members.items()
    )
    return b"!<arch>\n" + b"".join(entries)


@pytest.mark.parametrize("place", ["", ".zip", ".tar", ".tar.gz", ".aar", ".deb"])
def test_the_golden_vectors_run_wherever_the_model_lies(place: str, vectors: bytes, tmp_path: Path) -> None:
    files = {"assets/m.tflite": MODEL, "assets/golden.json": vectors, "contract.json": b"{}"}
    packed = debian(files) if place == ".deb" else archive_bytes(place.replace(".aar", ".zip") or ".tar", files)
    check = verify_package(made(tmp_path / "p", {f"m{place}": packed} if place else files))
    assert check.passed
    assert check.manifest is not None
    (done,) = run_package(tmp_path / "p", check.manifest)
    assert done.check is not None
    assert done.check.passed
    assert done.check.samples == 3


def test_a_model_that_computes_something_else_fails(vectors: bytes, tmp_path: Path) -> None:
    wrong = json.loads(vectors)
    wrong["outputs"][0][0][0] += 1
    check = verify_package(made(tmp_path / "p", {"m.tflite": MODEL, "g.json": json.dumps(wrong).encode()}))
    assert check.manifest is not None
    (done,) = run_package(tmp_path / "p", check.manifest)
    assert done.check is not None
    assert not done.check.passed


@pytest.mark.parametrize("name", ["m.zip", "m.aar", "m.deb", "m.tar", "m.tar.gz"])
def test_a_damaged_archive_inside_is_a_clear_error(name: str, tmp_path: Path) -> None:
    check = verify_package(made(tmp_path / "p", {name: b"!<arch>\nno archive"}))
    assert check.manifest is not None
    with pytest.raises(InputError, match=name):
        run_package(tmp_path / "p", check.manifest)


def test_what_cannot_be_run_is_said(vectors: bytes, tmp_path: Path) -> None:
    check = verify_package(made(tmp_path / "p", {"m.tflite": MODEL}))
    assert check.manifest is not None
    (done,) = run_package(tmp_path / "p", check.manifest)
    assert (done.check, done.reason) == (None, "its golden vectors cannot be taken out of this package")
    files = {"m.tflite": MODEL, "g.json": vectors}
    check = verify_package(made(tmp_path / "q", files, units=("edgetpu", "cpu")))
    assert check.manifest is not None
    coral, cpu = run_package(tmp_path / "q", check.manifest)
    assert (coral.check, coral.reason) == (None, "it is for the Edge TPU")
    assert cpu.check is not None


@pytest.fixture
def edgekit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process, in an empty folder: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["edgekit", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_the_command_says_it_and_ends_as_gates_do(
    package: Path, key: Path, tmp_path: Path, edgekit: Callable[..., tuple[int, str, str]]
) -> None:
    sign_folder(package, key)
    code, said, _ = edgekit("verify", "p", "--key", "k.pub", "--run")
    assert code == 0
    assert "p: what was signed\n" in said
    assert "cpu m.tflite: passed, 3 samples on local" in said
    assert edgekit("verify", "p")[1].startswith("p: what its manifest says\n")
    (package / "m.tflite").write_bytes(b"\x1b[31m")
    code, said, _ = edgekit("verify", "p", "--run", "--json")
    told = json.loads(said)
    assert (code, told["passed"], told["runs"]) == (1, False, [])
    assert [one["subject"] for one in told["check"]["findings"]] == ["m.tflite"]
    bare = made(tmp_path / "bare", {"m.tflite": MODEL})
    assert edgekit("verify", bare)[0] == 0
    code, said, mend = edgekit("verify", bare, "--run")
    assert (code, "not run, its golden vectors" in said, "nothing that could be run" in mend) == (1, True, True)
    assert edgekit("verify", bare, "--device", "pi4")[0] == 2
    assert edgekit("verify", "nothing")[0] == 3


def test_a_hostile_name_drives_no_terminal(package: Path, edgekit_cli: Cli) -> None:
    (package / "\x1b]0;owned\x07").write_bytes(b"")
    done = edgekit_cli("verify", package)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_a_sparse_file_in_a_tar_is_refused(package: Path, tmp_path: Path) -> None:
    """Its size is what it claims, and no byte of it is there."""
    with tarfile.open(tmp_path / "p.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(package, "p")
        entry = tarfile.TarInfo("p/sparse")
        entry.size = 512
        entry.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": str(1 << 20),
            "GNU.sparse.map": "0,512",
        }
        archive.addfile(entry, io.BytesIO(bytes(512)))
    assert found(verify_package(tmp_path / "p.tar")) == [("refused", "sparse")]
