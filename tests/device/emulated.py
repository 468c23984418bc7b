"""A Raspberry Pi stand-in: a Debian of another architecture under user-mode emulation, with a real sshd in it.

It proves behaviour, never speed or memory: the emulator's own are in every number.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.device.address import SshAddress
from edgekit.device.remote import RemoteOptions
from edgekit.device.ssh import SshDevice

SUITE = "bookworm"
PACKAGES = (
    "python3-minimal,python3-distutils,openssh-server,dash,base-passwd,bash,coreutils,procps,passwd,libc-bin,"
    "sed,grep,tar,gzip,findutils,libstdc++6,zlib1g"
)
_QEMU = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}


class Reached:
    """What a configuration of ssh reaches as host `pi`."""

    config: Path

    def device(self, say: Callable[[str], None] = lambda text: None, **options: object) -> SshDevice:
        return SshDevice(SshAddress("pi"), RemoteOptions(**options), config=self.config, say=say)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Board(Reached):
    """A stand-in: its root folder, the port of its sshd, and the ssh configuration that reaches it as host `pi`."""

    root: Path
    port: int

    @property
    def config(self) -> Path:  # type: ignore[override]
        return self.root.parent / "config"

    @property
    def cache(self) -> Path:
        return self.root / "home/pi/.cache/edgekit"

    def processes(self, sshd: bool = False) -> list[int]:
        """Processes inside of it, without sshd's or with them."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._holds(pid, sshd)]

    def _holds(self, pid: int, sshd: bool) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            inside = Path(f"/proc/{pid}/root").resolve() == self.root
            return inside and (sshd or b"sshd" not in words) and bool(words)
        except OSError:
            return False

    def boot(self) -> None:
        """Start its sshd, and wait until it answers."""
        log = self.root.parent / "log"
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", _MOUNTED, "sh", str(self.root)]
        with log.open("wb") as sink:
            server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=sink, start_new_session=True)
        await_ssh(self.port, server, log)

    def power_off(self) -> None:
        """End all of its processes at once, as a lost power does; nothing can clean up."""
        while pids := self.processes(sshd=True):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def skip_if_impossible(architecture: str) -> None:
    """Skip by name where a tool, a right or the kernel's part of the emulation is missing."""
    skip_without("mmdebstrap util-linux openssh-client", "mmdebstrap", "unshare", "ssh-keygen")
    if not Path("/proc/sys/fs/binfmt_misc", _QEMU[architecture]).exists():
        pytest.skip(f"the kernel does not start {architecture} programs: apt install qemu-user-static binfmt-support")


def skip_without(packages: str, *tools: str) -> None:
    """Skip by name for anybody but root, and where a tool is missing that these packages have."""
    if os.getuid() != 0:
        pytest.skip("an emulated board needs root (chroot, mount)")
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"an emulated board needs {tool}: apt install {packages}")


@contextmanager
def memory_folder(path: Path) -> Iterator[Path]:
    """A folder in memory, where thousands of small files come and go without waiting for a disk."""
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "mode=755,size=2g", "tmpfs", str(path)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here, not even by root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def emulated(architecture: str, folder: Path, packages: str = "", setting: str = "") -> Iterator[Board]:
    """Bring a board up, and take it down again with everything it wrote."""
    skip_if_impossible(architecture)
    with memory_folder(folder / "root") as root:
        install(architecture, root, PACKAGES + packages)
        port = configure(root, folder, setting)
        board = Board(root, port)
        try:
            board.boot()
            yield board
        finally:
            board.power_off()


_MOUNTED = """set -e
mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; mount -t devpts devpts "$1/dev/pts"
mount -t tmpfs tmpfs "$1/tmp"; mkdir -p "$1/run/sshd"
exec chroot "$1" /usr/sbin/sshd -D -e -o ListenAddress=127.0.0.1"""


def install(architecture: str, root: Path, packages: str, suites: Sequence[str] = (SUITE,), *words: str) -> None:
    """Unpack Debian packages into a new root folder; skip where they cannot be had."""
    start = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--architectures={architecture}"]
    sources = [f"deb {_mirror()} {suite} main" for suite in suites] if _mirror() else []
    done = subprocess.run(
        [*start, f"--include={packages}", *words, SUITE, str(root), *sources], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no packages for another machine: {done.stderr[-300:]}")


def _mirror() -> str:
    """The mirror that apt uses here; empty where that is not known, and mmdebstrap then takes its own."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"]
    done = subprocess.run([*words, "Component: main"], capture_output=True, text=True)
    return (done.stdout.split() or [""])[0]


def configure(root: Path, folder: Path, setting: str) -> int:
    """Users, keys and sshd's settings; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    etc, home = root / "etc", root / "home/pi"
    users = (root / "usr/share/base-passwd/passwd.master").read_text().replace("root:*", "root:x")
    sshd = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    (etc / "passwd").write_text(f"{users}{sshd}pi:x:1000:1000::/home/pi:/bin/bash\n")
    (etc / "group").write_text((root / "usr/share/base-passwd/group.master").read_text() + "pi:x:1000:\n")
    (etc / "shadow").write_text("".join(f"{name}:*:19000::::::\n" for name in ("root", "sshd", "pi")))
    for key in (etc / "ssh/ssh_host_ed25519_key", folder / "key"):
        key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (etc / "ssh/sshd_config").write_text(
        f"Port {port}\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM no\n"
        f"PasswordAuthentication no\nPidFile none\n{setting}"
    )
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(folder / "key.pub", home / ".ssh/authorized_keys")
    for path in (home, *home.rglob("*")):
        os.chown(path, 1000, 1000)
    known = " ".join((etc / "ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\n")
    (folder / "config").write_text(
        f"Host pi\n  HostName 127.0.0.1\n  Port {port}\n  User pi\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n  UserKnownHostsFile {folder}/known_hosts\n"
    )
    return port


def await_ssh(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until sshd says its name; an open port alone may be the emulator's."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.skip(f"the emulated board does not start here: {log.read_text(errors='replace')[-300:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            if probe.recv(4) == b"SSH-":
                return
        time.sleep(0.1)
    pytest.skip("the emulated board does not answer")
