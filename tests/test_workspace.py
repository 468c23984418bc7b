"""Where results go: nothing of the user's is lost, and what cannot work is refused before any work."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgekit.errors import OutputError
from edgekit.workspace import Workspace, kept_beside, workspace


def write(out: Path, overwrite: bool = False) -> None:
    """What a run does, in short."""
    with workspace(out, overwrite, lambda text: None) as work:
        (work.folder / "run.json").write_text("{}")


@pytest.mark.parametrize(
    "name", ["notes.txt", "host/int8/training.log", "host/int8/x.tflite", "sub/run.json", "deep/er/than/x.tflite"]
)
def test_a_file_of_the_users_in_a_result_is_not_overwritten_with_it(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    write(out)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{Path(name).name}: not part of this result"):
        write(out, overwrite=True)
    assert (out / name).read_text() == "mine"


def test_a_result_is_overwritten_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / "host" / "int8").mkdir(parents=True)
    (tmp_path / "out" / "host" / "int8" / "m.tflite").write_bytes(b"old")
    (tmp_path / "out" / "host" / "int8" / "manifest.json").write_text('{"file": "m.tflite", "sha256": ""}')
    write(tmp_path / "out", overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "run.json"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_put_into_a_result_during_the_work_is_kept_and_so_are_the_stages(
    tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out"
    if overwrite:
        write(out)

    def work() -> None:
        with workspace(out, overwrite, lambda text: None) as work:
            work.remember("count", 1, lambda: 7, int)
            (work.folder / "run.json").write_text("{}")
            out.mkdir(exist_ok=True)
            (out / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match="notes.txt: not part of this" if overwrite else "exists already"):
        work()
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    said: list[str] = []
    with workspace(out, overwrite, said.append) as again:
        assert again.remember("count", 1, lambda: 8, int) == 7
        (again.folder / "run.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["run.json"]


@pytest.mark.parametrize("there", [True, False])
def test_a_linked_folder_stays_a_link(tmp_path: Path, there: bool) -> None:
    link, real = tmp_path / "link", tmp_path / "elsewhere" / "real"
    link.symlink_to(real)
    if there:
        write(real)
    write(link, overwrite=there)
    assert link.is_symlink()
    assert (real / "run.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "link"]


def test_the_working_folder_can_be_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("."), overwrite=True)
    assert (tmp_path / "here" / "run.json").is_file()


def test_a_mount_point_is_refused_before_work_with_a_folder_that_works() -> None:
    assert os.path.ismount("/proc")
    with pytest.raises(OutputError, match="mount point") as caught:
        write(Path("/proc"), overwrite=True)
    assert "-o /proc/result" in caught.value.mend


def test_what_is_kept_beside_a_file_is_there_until_the_body_ends_well(tmp_path: Path) -> None:
    out = tmp_path / "small.keras"

    def interrupted(*checkpoints: str) -> None:
        with kept_beside(out) as kept:
            for name in checkpoints:
                (kept / name).touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir()), "nothing to go on from"
    with pytest.raises(KeyboardInterrupt):
        interrupted("0.checkpoint.npz")
    with kept_beside(out) as kept:
        assert (kept / "0.checkpoint.npz").exists()
        with pytest.raises(OutputError, match="in use by another run"), kept_beside(out):
            pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_beside_a_file_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left") as caught, kept_beside(tmp_path / "small.keras"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "small.keras" in caught.value.problem
    assert "free some space, or name a larger disk by TMPDIR" in caught.value.mend


def test_a_folder_of_the_users_beside_a_result_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "build")
    (tmp_path / "build.old").mkdir()
    (tmp_path / "build.old" / "notes.txt").write_text("mine")
    write(tmp_path / "build", overwrite=True)
    assert (tmp_path / "build.old" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "build.old"]


@pytest.mark.parametrize("damage", [b"", b"\xc1", bytes(40), None])
def test_a_stored_stage_that_was_damaged_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    def result(count: int) -> tuple[int, bytes]:
        work = Workspace(tmp_path, said.append)
        made = work.remember("count", 1, lambda: count, int), work.remember("file", 1, lambda: bytes([count]), bytes)
        for path in work.stages.iterdir():
            path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
        return made

    said: list[str] = []
    assert result(7) == (7, b"\7")
    assert result(8) == (8, b"\10")
    assert said == ["count", "file"] * 2


def test_a_stage_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, seen = Workspace(tmp_path, lambda text: None), list[bool]()
    monkeypatch.setattr(os, "fsync", lambda stream: seen.append(work.path("count", 1).exists()))
    assert work.remember("count", 1, lambda: 7, int) == 7
    assert seen == [False]


def test_a_stage_that_a_full_disk_does_not_take_is_told_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stream: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="No space left") as caught, workspace(out, False, lambda text: None) as work:
        work.remember("count", 1, lambda: 7, int)
    assert "the same command goes on" in caught.value.mend
