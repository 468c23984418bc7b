"""A PostgreSQL server of one test: its data in a temporary folder, on a port of its own, ended with it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "o2-hidden-9f"


class Postgres:
    """The server; `url` has the password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the data folder, with one user who needs a password."""
        (self.folder / "password").write_text(PASSWORD)
        words = ["--username=tester", "--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}", "--no-sync"]
        self._run("initdb", "-D", self.folder / "data", *words)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-o", options, "-l", log, "start")

    def stop(self) -> None:
        """Stop the server at once: connections break."""
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "stop")

    def _run(self, tool: str, *words: object) -> None:
        found = tool_path(tool)
        assert found is not None
        command = [*_unprivileged(), found, *map(str, words)]
        with (self.folder / "said").open("w") as said:  # a pipe would be held open by the server
            done = subprocess.run(command, stdout=said, stderr=said, cwd=self.folder, check=False, timeout=120)
        assert done.returncode == 0, (self.folder / "said").read_text()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server. Skips the test where PostgreSQL is not installed."""
    if not (tool_path("initdb") and tool_path("pg_ctl")):
        pytest.skip("no PostgreSQL here: initdb, pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="edgekit-postgres-"))
    server = Postgres(folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _user())
        server.make()
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder)


def tool_path(name: str) -> str | None:
    """A tool of the server: Debian has them outside of PATH, a folder a version."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(filter(None, (shutil.which(name, path=str(place)) for place in places)), None) or shutil.which(name)


def _user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _unprivileged() -> list[str]:
    """The server refuses to be run by root."""
    if os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(_user())
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
