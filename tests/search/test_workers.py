"""Several workers on one search: each recipe is tried once, lost trials are tried again, outages are waited for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import toy_worker
from postgres import PASSWORD, Postgres, postgres

from edgekit.errors import InputError, MissingDependency, OutputError
from edgekit.search import trials as trials_module
from edgekit.search.database import open_storage, shown
from edgekit.search.patience import Patience
from edgekit.search.storage import LostTurn
from edgekit.search.trials import Trials, local

MOST = 6


class Worker:
    """A worker in a process of its own, and what it said so far."""

    def __init__(self, url: str, seconds: float) -> None:
        script = Path(toy_worker.__file__)
        command = [sys.executable, str(script), url, str(MOST), str(seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.words: list[dict[str, Any]] = []

    def until(self, *keys: str) -> dict[str, Any]:
        """Listen until it says one of these."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.words.append(json.loads(line))
            if set(keys) & set(self.words[-1]):
                return self.words[-1]
        assert self.process.stderr
        pytest.fail(f"the worker ended: {self.process.stderr.read()}")

    def end(self) -> None:
        """Listen to the end, which must be a good one."""
        out, err = self.process.communicate(timeout=300)
        self.words += map(json.loads, out.splitlines())
        assert self.process.returncode == 0, err

    def said(self) -> str:
        """Its lines."""
        return " ".join(word["said"] for word in self.words if "said" in word)


@pytest.fixture
def crew() -> Iterator[Callable[..., Worker]]:
    """Starts workers, and ends those that are left."""
    started: list[Worker] = []

    def start(url: str, seconds: float = 0.2) -> Worker:
        started.append(Worker(url, seconds))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


def _database(server: Postgres, name: str) -> str:
    """A database of its own on the server."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url.removesuffix("postgres") + name


def _counted_once(url: str) -> Trials:
    """The search, in which just as many as asked are finished, none twice."""
    trials = Trials(url, "toy", toy_worker.SPACE, alone=False)
    recipes = Counter(one.recipe for one in trials.finished())
    assert sum(recipes.values()) == MOST
    assert set(recipes.values()) == {1}
    assert {"int8", "float16"} <= set(recipes)
    assert trials.others() == trials.waiting() == 0
    return trials


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_a_killed_workers_trial_is_tried_again_and_nothing_counts_twice(
    kind: str, crew: Callable[..., Worker], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = local(tmp_path) if kind == "sqlite" else _database(request.getfixturevalue("server"), "killed")
    doomed = crew(url, 600)
    lost = doomed.until("begun")
    others = [crew(url), crew(url)]
    others[0].until("done")
    doomed.process.kill()
    for worker in others:
        worker.end()
    assert not any("done" in word for word in doomed.words)
    trials = _counted_once(url)
    assert trials.retried() == 1
    assert lost["recipe"] in {one.recipe for one in trials.finished()}
    assert sum(len([word for word in worker.words if "done" in word]) for worker in others) == MOST


def test_an_outage_is_said_once_and_waited_for(crew: Callable[..., Worker]) -> None:
    with postgres() as server:
        worker = crew(server.url, 1.0)
        worker.until("done")
        worker.until("begun")
        server.stop()
        assert "does not answer" in worker.until("said")["said"]
        time.sleep(2)
        server.start()
        assert "is back" in worker.until("said")["said"]
        worker.end()
        trials = _counted_once(server.url)
        assert trials.retried() == 0
        assert worker.said().count("does not answer") == 1


def test_a_storage_that_is_down_or_refuses_is_an_error_without_the_password(tmp_path: Path) -> None:
    closed = f"postgresql://me:{PASSWORD}@127.0.0.1:1/none"
    with pytest.raises(OutputError, match=r"storage postgresql://127\.0\.0\.1:1/none cannot be used") as caught:
        open_storage(closed)
    assert PASSWORD not in str(caught.value)
    assert "see that it runs" in caught.value.mend
    with pytest.raises(OutputError, match="cannot be used"):
        open_storage(f"sqlite:///{tmp_path}/no/such/folder.db")


def test_workers_that_begin_together_make_one_set_of_tables(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def begin(_: int) -> None:
        together.wait()
        open_storage(local(tmp_path))

    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(begin, range(6)))) == 6


def test_a_wrong_password_is_an_error_that_does_not_say_it(server: Postgres) -> None:
    with pytest.raises(OutputError, match="password authentication failed") as caught:
        open_storage(server.url.replace(PASSWORD, "secret-guess"))
    assert "secret-guess" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "found", "postgresql//me@host/db", "nosuchthing://host/db"])
def test_what_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--storage"):
        open_storage(url)


def test_a_driver_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingDependency, match="no driver for mysql"):
        open_storage("mysql+mysqldb://me@127.0.0.1:1/none")


def test_a_url_is_said_without_user_and_password() -> None:
    assert shown("postgresql://me:secret@db.example:5433/searches?password=other") == (
        "postgresql://db.example:5433/searches"
    )


def test_files_go_through_the_storage_whole(server: Postgres) -> None:
    trials = Trials(_database(server, "files"), "toy", toy_worker.SPACE, alone=False)
    data = bytes(range(256)) * 40_000
    trials.put("a", data)
    trials.put("a", data[::-1])
    trials.put("b", b"b")
    assert trials.get("a") == data[::-1]
    assert trials.get("c") is None
    trials.drop_all_but({"b"}, {"a", "b"})
    assert (trials.get("a"), trials.get("b")) == (None, b"b")


def test_a_trial_that_others_gave_up_for_lost_counts_nowhere(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    url, said = _database(server, "late"), []
    slow = Trials(url, "toy", toy_worker.SPACE, alone=False, say=said.append)
    slow.begin({"model": "toy"}, toy_worker.STARTS)
    quick = Trials(url, "toy", toy_worker.SPACE, alone=False)

    def overtaken(trial: Any) -> tuple[float, ...]:
        monkeypatch.setattr(trials_module, "dead", lambda owner: True)
        assert quick.run(lambda other: toy_worker.objectives(other.recipe)) is not None
        monkeypatch.undo()
        return toy_worker.objectives(trial.recipe)

    assert slow.run(overtaken) is None
    assert "nothing was heard of it" in said[0]
    while not quick.full(3):
        quick.run(lambda other: toy_worker.objectives(other.recipe))
    recipes = [one.recipe for one in quick.finished()]
    assert len(recipes) == len(set(recipes)) == 3
    assert quick.retried() == 1


def test_one_worker_at_a_time_has_the_turn_and_a_lost_one_is_noticed(server: Postgres) -> None:
    import psycopg

    url = _database(server, "turns")
    first, second = (Trials(url, "toy", toy_worker.SPACE, alone=False) for _ in range(2))
    had: list[str] = []

    def other() -> None:
        with second._turn():
            had.append("second")

    with first._turn() as check:
        waiting = threading.Thread(target=other)
        waiting.start()
        time.sleep(0.5)
        check()
        had.append("first")
    waiting.join()
    assert had == ["first", "second"]
    with first._turn() as check:
        with psycopg.connect(url, autocommit=True) as connection:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            assert connection.execute(ended).fetchall() == [(True,)]
        with pytest.raises(LostTurn):
            check()
    with second._turn() as check:
        check()


def test_after_an_outage_nobody_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = open_storage(local(tmp_path)).backend
    patience = Patience("here", lambda text: None)
    patience.begin()
    assert patience.settled
    answers = iter([False, True])

    def asked() -> str:
        if not next(answers):
            with backend.engine.connect() as connection:
                connection.exec_driver_sql("SELECT * FROM nothing")
        return "found"

    monkeypatch.setattr("edgekit.search.patience._PAUSES", (0.01, 0.2))
    assert patience(asked) == "found"
    assert not patience.settled
    time.sleep(0.45)
    assert patience.settled


def test_who_hurries_waits_for_no_storage(tmp_path: Path) -> None:
    backend = open_storage(local(tmp_path)).backend
    patience = Patience("here", lambda text: None)
    patience.begin()
    patience.hurry()
    with pytest.raises(OutputError, match="here does not answer"), backend.engine.connect() as connection:
        patience(lambda: connection.exec_driver_sql("SELECT * FROM nothing"))
