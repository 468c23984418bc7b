"""A whole search by several processes and in several folders: however it is killed, nothing is lost or left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from postgres import PASSWORD, postgres

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.search.found import Found
from edgekit.search.run import search_recipes

TRIALS = 6
SETTINGS: dict[str, Any] = {"max_drop": "5%", "max_bytes": "20K", "benchmark": False, "epochs": 1, "seed": 3}


def _command(blobs: Path, out: Path, trials: int = TRIALS) -> list[str]:
    words = ["search", blobs / "blobs.keras", "--data", blobs / "blobs.npz", "--max-drop", "5%", "--max-bytes", "20K"]
    words += ["--no-benchmark", "--epochs", 1, "--seed", 3, "--trials", trials, "--workers", 2, "-o", out, "--json"]
    return [sys.executable, "-m", "edgekit", *map(str, words)]


def _children(parent: int) -> list[int]:
    """Workers of a search."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"edgekit.search.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, IndexError):  # it has just ended
            continue
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _until(true: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def _each_counts_once(found: Found, out: Path, trials: int = TRIALS) -> None:
    assert len({one.recipe for one in found.tried}) == len(found.tried) == trials
    assert found.finished
    for kept in found.front:
        assert Artifact.load(out / kept.folder).manifest.sha256 == kept.point.sha256
        assert kept.test
    assert sorted(path.name for path in (out / "front").iterdir()) == sorted(
        Path(kept.folder).name for kept in found.front
    )
    assert (out / "best").exists()


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_tried_again(blobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = subprocess.Popen(_command(blobs, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stages = out / "work" / "worker1" / "stages"
    (first, *_) = _until(lambda: _children(job.pid))
    before = _until(lambda: stages.exists() and list(stages.iterdir()))
    _until(lambda: len(list(stages.iterdir())) > len(before))  # in the middle of a trial
    os.kill(first, signal.SIGKILL)
    said, noise = job.communicate(timeout=300)
    assert job.returncode == 0, noise
    assert "was ended by signal 9; what it tried is tried again" in noise
    found = msgspec.json.decode(said, type=Found)
    _each_counts_once(found, out)
    assert {"float32", "float16", "dynamic-int8", "int8"} <= {one.recipe for one in found.tried if one.start}


def test_two_folders_share_a_search_and_each_gets_the_whole_front(blobs: Path, tmp_path: Path) -> None:
    with postgres() as server:
        both = {"data": blobs / "blobs.npz", "storage": server.url, **SETTINGS}
        one = search_recipes(blobs / "blobs.keras", out=tmp_path / "one", trials=TRIALS - 2, **both)
        two = search_recipes(blobs / "blobs.keras", out=tmp_path / "two", trials=TRIALS, **both)
    _each_counts_once(two, tmp_path / "two")
    assert {kept.point.recipe for kept in one.front} & {kept.point.recipe for kept in two.front}
    assert two.tried[: TRIALS - 2] == one.tried
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_what_workers_cannot_load_themselves_is_refused(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several workers load model, data and target themselves"):
        search_recipes(object(), data=blobs / "blobs.npz", out=tmp_path / "out", workers=2, **SETTINGS)


def test_one_training_on_several_hosts_is_not_a_search_on_several(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(InputError, match="TF_CONFIG"):
        search_recipes(
            blobs / "blobs.keras", data=blobs / "blobs.npz", out=tmp_path / "out", workers=2, trials=1, **SETTINGS
        )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_workers_end_with_the_search(how: signal.Signals, blobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = subprocess.Popen(_command(blobs, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    crew = _until(lambda: len(found := _children(job.pid)) == 2 and found)
    job.send_signal(how)
    assert job.wait(60) in (130, -signal.SIGKILL)
    _until(lambda: not any(map(_alive, crew)), 30)


@pytest.mark.slow
def test_killed_ten_times_at_random_the_search_or_a_worker_loses_and_doubles_nothing(
    blobs: Path, tmp_path: Path
) -> None:
    out, chance, killed = tmp_path / "out", random.Random(0), {"search": 0, "worker": 0}
    seen: dict[str, int] = {}
    for _ in range(10):
        begun = time.monotonic()
        job = subprocess.Popen(_command(blobs, out, 10_000), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(lambda: len(_children(job.pid)) == 2)  # noqa: B023 - called here
        time.sleep(chance.uniform(0, 2 * (time.monotonic() - begun)))  # as busy as the machine is
        crew = _children(job.pid)
        of_worker = bool(crew) and chance.random() < 0.5
        victim = chance.choice(crew) if of_worker else job.pid
        killed["worker" if of_worker else "search"] += _alive(victim)
        os.kill(victim, signal.SIGKILL)
        time.sleep(chance.uniform(0, 5) if of_worker else 0)
        job.kill()
        job.wait()
        for folder in (out / "front").glob("[!.]*"):
            Artifact.load(folder)
        if (out / "front.json").exists():
            seen |= {one.recipe: one.number for one in _front(out).tried}
    done = subprocess.run(_command(blobs, out, len(seen) + 5), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert sum(killed.values()) == 10, killed
    found = msgspec.json.decode(done.stdout, type=Found)
    _each_counts_once(found, out, max(len(found.tried), len(seen) + 5))
    assert seen.items() <= {one.recipe: one.number for one in found.tried}.items()
    assert found.retried >= 1


def _front(out: Path) -> Found:
    return msgspec.json.decode((out / "front.json").read_bytes(), type=Found)
