"""A full disk, a kill in mid-write, a clock that jumps: nothing half written, a clear error, no deadline moved."""

from __future__ import annotations

import ast
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import artifacts
import pytest
import tiny_models

from edgekit.new_file import new_file, write_new
from edgekit.package.folder import locked, standing, write_package
from edgekit.search.deadline import Deadline

ROOT = Path(__file__).parent.parent
FULL = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60)); "
    "from edgekit.cli import main; sys.argv[0] = 'edgekit'; main()"
)
COMMANDS = {
    "rewrite": "rewrite m.tflite --target raspberry-pi-4 -o out/new",
    "metadata": "metadata set m.tflite -o out/new.tflite --name m",
    "vectors": "vectors m.tflite -o out/new.json",
    "sbom": "sbom artifact -o out/new.json",
    "sarif": "check m.tflite -t raspberry-pi-4 --sarif out/new.sarif",
    "target": "targets new my-board -o out/my-board.toml",
    "package": "package m.tflite --for firmware -o out/new",
    "split": "split m.tflite -n 2 --estimate -o out/new",
    "benchmark": "benchmark m.tflite --runs 3 -o out/new.json",
    "diff": "diff m.tflite other.tflite -o out/new",
    "keygen": "keygen --no-passphrase out/new",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    model = tiny_models.negative((1, 64), operators=6)
    (tmp_path / "m.tflite").write_bytes(model)
    (tmp_path / "other.tflite").write_bytes(tiny_models.negative((1, 32), operators=3))
    artifacts.artifact(tmp_path / "artifact", model)
    (tmp_path / "out").mkdir()
    return tmp_path


def run(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", code, *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told_and_leaves_no_half_file(name: str, place: Path) -> None:
    done = run(place, FULL, *COMMANDS[name].split())
    assert done.returncode == 3, done.stderr
    assert "error: " in done.stderr
    assert "mend: " in done.stderr
    assert "Traceback" not in done.stderr
    assert files(place / "out") == []


def test_a_full_standard_output_is_told(place: Path) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "edgekit", "inspect", "m.tflite", "--json"]
        done = subprocess.run(words, cwd=place, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_a_kill_in_mid_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"old")
    code = f"""
from pathlib import Path
from edgekit.new_file import new_file
with new_file(Path("file"), overwrite=True) as stream:
    stream.write(b"new")
    stream.flush()
    {KILLED}
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
    write_new(tmp_path / "file", b"new", overwrite=True)
    assert (tmp_path / "file").read_bytes() == b"new"


def test_each_file_of_an_artifact_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda stream: begun.append(files(tmp_path)[0].split("/")[-1]))
    artifacts.artifact(tmp_path / "it", tiny_models.negative((1, 64), operators=1))
    assert [name.split(".")[1] for name in begun] == ["zoo", "manifest", "recipe"]
    assert all(name.endswith(".partial") for name in begun)


@pytest.mark.parametrize("after", range(5))
def test_a_package_that_was_killed_in_mid_write_is_made_whole_the_next_time(after: int, tmp_path: Path) -> None:
    made = {f"folder/{number}": bytes([number]) * 9 for number in range(3)}
    code = f"""
from pathlib import Path
from edgekit.package import folder
write, count = folder.write_if_changed, 0
def counted(path, data):
    global count
    if count == {after}:
        {KILLED}
    count += 1
    return write(path, data)
folder.write_if_changed = counted
with folder.locked(Path("p")):
    folder.write_package(Path("p"), {made!r}, {{}}, "key")
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    assert standing(tmp_path / "p", "key") is None
    with locked(tmp_path / "p"):
        write_package(tmp_path / "p", made, {}, "key")
    manifest = standing(tmp_path / "p", "key")
    assert manifest is not None
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}


@pytest.mark.parametrize("after", range(3))
def test_a_package_that_was_killed_inside_of_a_file_leaves_nothing_half_written(after: int, tmp_path: Path) -> None:
    made = {f"folder/{number}": bytes([number]) * 9 for number in range(3)}
    code = f"""
import os
from pathlib import Path
from edgekit.package import folder
left = list(range({after}))
def synced(stream):
    if not left:
        {KILLED}
    left.pop()
os.fsync = synced
with folder.locked(Path("p")):
    folder.write_package(Path("p"), {made!r}, {{}}, "key")
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    assert list((tmp_path / "p").rglob(".*.partial"))
    with locked(tmp_path / "p"):
        write_package(tmp_path / "p", made, {}, "key")
    assert not list((tmp_path / "p").rglob(".*.partial"))


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    with new_file(tmp_path / "pipe") as stream:
        stream.write(b"through")
    assert reader.communicate(timeout=20)[0] == b"through"
    assert (tmp_path / "pipe").is_fifo()
    write_new(Path("/dev/null"), b"nothing", overwrite=True)
    assert Path("/dev/null").is_char_device()


STAMPS = {
    "edgekit/bench/native.py",
    "edgekit/bench/run.py",
}  # `started` of a result: a date to read, not to reckon with
OF_THE_WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def of_the_wall(path: Path) -> list[str]:
    names = (ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
    return [name for name in names if ".".join(name.replace("clocks", "time").split(".")[-2:]) in OF_THE_WALL]


def test_nothing_reckons_with_the_clock_on_the_wall() -> None:
    paths = [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "benchmarks" / "agent").glob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in paths if of_the_wall(path)}
    assert len(paths) > 300
    assert found == STAMPS


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_ends_no_search(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    deadline, real = Deadline(lambda text: None, 60.0), time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    deadline.check()
    assert 0 <= deadline.taken < 30
    assert deadline.left is not None
    assert deadline.left > 30
