"""A whole arm64 machine that starts Debian from its disk: its kernel, its memory and its power are its own.

What the kernel says of memory, heat and other work is that of a machine; how long things take is the emulator's.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulated import PACKAGES, Reached, await_ssh, configure, install, memory_folder, skip_without

CORES, MEMORY_BYTES = 2, 512 * 2**20
_DISK_BYTES = 2**30
_DRIVERS = ("virtio_mmio", "virtio_blk", "virtio_net")
_TOOLS = (
    "qemu-system-aarch64",
    "mmdebstrap",
    "ssh",
    "ssh-keygen",
    "mke2fs",
    "depmod",
    "modprobe",
    "cpio",
    "gzip",
    "setpriv",
)

_FIRST = """#!/bin/busybox sh
for driver in {drivers}; do busybox insmod /$driver; done
busybox mount -t devtmpfs devtmpfs /dev
until [ -b /dev/vda ]; do busybox sleep 0.1; done
busybox mount -t ext4 /dev/vda /disk
exec busybox switch_root /disk /bin/busybox init
"""
_INITTAB = """::sysinit:/etc/start
::respawn:/usr/sbin/sshd -D -e
"""
_START = """#!/bin/sh
for type in proc:/proc sysfs:/sys devtmpfs:/dev tmpfs:/run tmpfs:/tmp; do
    busybox mount -t ${type%:*} none ${type#*:}
done
mkdir /dev/pts /run/sshd
busybox mount -t devpts devpts /dev/pts
busybox ip link set lo up
busybox ip link set eth0 up
busybox ip addr add 10.0.2.15/24 dev eth0
"""


@dataclass(frozen=True)
class Machine(Reached):
    """A machine that runs, under an emulator whose end is that of its power."""

    config: Path
    folder: Path
    port: int
    emulator: subprocess.Popen[bytes]

    def root(self, command: str, timeout: float = 60) -> str:
        """What a command of the superuser prints there."""
        words = ["ssh", "-F", str(self.config), "-l", "root", "pi", command]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=timeout).stdout

    def processes(self) -> list[str]:
        """Command lines of the user's processes, without sshd's."""
        return [line for line in self.root("ps -u pi -o args= || true").splitlines() if "sshd" not in line]

    def runs(self) -> list[str]:
        """Folders that sessions have there."""
        return self.root("ls /home/pi/.cache/edgekit/runs").split()

    def boot(self) -> str:
        """Name of the time since its start."""
        return self.root("cat /proc/sys/kernel/random/boot_id").strip()

    def reset(self) -> None:
        """Start it again at once: what was not on its disk is lost."""
        self.root("(sleep 1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")

    def await_start(self) -> None:
        """Wait for its sshd."""
        await_ssh(self.port, self.emulator, self.folder / "console")


@contextmanager
def whole_machine(folder: Path) -> Iterator[Machine]:
    """Build the disk, switch the machine on, and take all of it away at the end."""
    skip_without("qemu-system-arm mmdebstrap openssh-client e2fsprogs kmod cpio", *_TOOLS)
    with memory_folder(folder / "memory") as memory:
        root = memory / "root"
        install("arm64", root, f"{PACKAGES},linux-image-cloud-arm64,busybox-static")
        port = configure(root, folder, "")
        kernel = _kernel(root, memory)
        _disk(root, memory / "disk")
        with (folder / "console").open("wb") as console:
            emulator = subprocess.Popen(
                _qemu(kernel, memory, port), stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        machine = Machine(folder / "config", folder, port, emulator)
        try:
            machine.await_start()
            yield machine
        finally:
            emulator.kill()
            emulator.wait()


def _kernel(root: Path, memory: Path) -> Path:
    """Take the kernel out of the root folder, and put the drivers that find the disk into `memory`/first."""
    kernel = shutil.move(next((root / "boot").glob("vmlinuz-*")), memory / "kernel")
    release = next((root / "lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", root, release], check=True)
    wanted = ["modprobe", "-d", root, "-S", release, "--show-depends", "--all", *_DRIVERS]
    lines = subprocess.run(wanted, check=True, capture_output=True, text=True).stdout.splitlines()
    drivers = dict.fromkeys(Path(line.split()[1]) for line in lines)
    first = memory / "first"
    for name in ("bin", "dev", "disk"):
        (first / name).mkdir(parents=True)
    for file, place in [(root / "bin/busybox", "bin"), *((driver, ".") for driver in drivers)]:
        shutil.copy(file, first / place)
    _program(first / "init", _FIRST.format(drivers=" ".join(driver.name for driver in drivers)))
    pack = "find . | cpio --quiet -o -H newc | gzip -1 > ../initrd"
    subprocess.run(["sh", "-c", pack], cwd=first, check=True)
    return Path(kernel)


def _disk(root: Path, image: Path) -> None:
    """A file system of what the machine needs when it is up."""
    for folder in ("boot", "lib/modules", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / folder)
    (root / "etc/inittab").write_text(_INITTAB)
    _program(root / "etc/start", _START)
    (root / "root/.ssh").mkdir(mode=0o700)
    shutil.copy(root / "home/pi/.ssh/authorized_keys", root / "root/.ssh")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, f"{_DISK_BYTES // 1024}k"], check=True)
    shutil.rmtree(root)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _qemu(kernel: Path, memory: Path, port: int) -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # whatever ends the tests ends the machine
        *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-display", "none", "-serial", "stdio"),
        *("-smp", str(CORES), "-m", f"{MEMORY_BYTES // 2**20}M"),
        *("-kernel", str(kernel), "-initrd", str(memory / "initrd")),
        *("-append", "console=ttyAMA0 quiet panic=1 psi=1"),
        *("-drive", f"if=none,id=disk,format=raw,file={memory / 'disk'}", "-device", "virtio-blk-device,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{port}"),
        *("-device", "virtio-net-device,netdev=net"),
    ]
