"""Stand-ins for devices: an `ssh` that runs what it is told right here, and a real sshd of our own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.device.address import SshAddress
from edgekit.device.remote import RemoteOptions
from edgekit.device.ssh import SshDevice


@dataclass(frozen=True)
class PathSsh:
    """A program called `ssh`, first on PATH, that writes its words to `log` and then does what `script` says."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def says(self, script: str) -> None:
        """`$last` is the remote command."""
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        record = f"printf '%s\\0' \"$@\" > '{self.log}'; printf '%s' $$ > '{self.folder}/pid'\n"
        program.write_text(f"#!/bin/sh\n{record}for last; do :; done\n{script}\n")
        program.chmod(0o755)

    def words(self) -> list[str]:
        return self.log.read_text().split("\0")[:-1]

    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def device(self, **options: object) -> SshDevice:
        settings = {"python": sys.executable, "cache": str(self.cache), "wait": 0.0, **options}
        return SshDevice(SshAddress("board", "pi"), RemoteOptions(**settings))  # type: ignore[arg-type]

    def leftovers(self) -> list[Path]:
        """What a session left in its folder of runs."""
        return list(self.cache.glob("runs/*"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PathSsh:
    """An `ssh` that runs the remote command on this machine."""
    ssh = PathSsh(tmp_path / "ssh")
    (tmp_path / "ssh").mkdir()
    ssh.says('exec sh -c "$last"')
    monkeypatch.setenv("PATH", f"{ssh.folder}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(ssh.folder))
    return ssh


@dataclass(frozen=True)
class Sshd:
    """A real sshd on this machine, and the ssh configuration that reaches it as host `board`."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def device(self, **changes: object) -> SshDevice:
        options = {"python": sys.executable, "cache": str(self.folder / "cache"), "wait": 30.0}
        return SshDevice(SshAddress("board"), RemoteOptions(**options), config=self.config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd with keys of its own, taken down at the end; skipped by name without openssh-server."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd here: apt install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _configure(folder, port)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = (folder / "log").open("wb")
    server = subprocess.Popen([program, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        _await_port(port, server, folder / "log")
        yield Sshd(folder, port)
    finally:
        server.terminate()
        server.wait()
        log.close()


def _configure(folder: Path, port: int) -> None:
    for name in ("host", "key", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_text((folder / "key.pub").read_text())
    (folder / "tmp").mkdir()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"SetEnv TMPDIR={folder}/tmp\n"
    )
    host = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    (folder / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/key\n"
        f"  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {folder}/known_hosts\n"
    )


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not answer here")
