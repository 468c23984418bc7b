"""Which runtime a device can take, and the wheels of it, resolved on this machine for the device's Python."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.device.cache import cache_folder, writing
from edgekit.device.printable import printable
from edgekit.errors import MissingDependency

RuntimeName = Literal["auto", "ai-edge-litert", "tflite-runtime"]

_LITERT_GLIBC = 27  # of the wheels of ai-edge-litert 2.3.0
_OLDEST_GLIBC = 17  # of any manylinux tag for Arm: 2.17
_PACKAGES = {"ai-edge-litert": "ai-edge-litert numpy", "tflite-runtime": "tflite-runtime 'numpy<2'"}
_PYTHONS = {"ai-edge-litert": "Python 3.10 or newer", "tflite-runtime": "Python 3.11 or older"}
_ARCHITECTURES = ("aarch64", "armv7l", "x86_64")


@dataclass(frozen=True)
class Wheels:
    """A runtime with what it needs, as files; `name` is that of the folder they are unpacked into."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Needs:
    """What a device has, and which runtime is wanted there.

    `python` is (3, 11), `packages` {name: version} of the runtimes and numpy found, `glibc` None on another C library.
    """

    python: tuple[int, int]
    machine: str
    bits: int
    glibc: str | None
    packages: Mapping[str, str]
    runtime: RuntimeName = "auto"

    @property
    def architecture(self) -> str:
        """As wheels call it: a 64-bit Arm kernel may carry a 32-bit system."""
        return "armv7l" if self.machine == "aarch64" and self.bits == 32 else self.machine

    @property
    def tag(self) -> str:
        """What compiled packages depend on."""
        return f"cp{self.python[0]}{self.python[1]}-{self.architecture}"

    @property
    def old_numpy(self) -> bool:
        """True if there is a numpy that tflite-runtime works with."""
        return self.packages.get("numpy", "").split(".")[0] in ("0", "1")

    def met(self) -> bool:
        """True if nothing has to be installed."""
        usable = {"ai-edge-litert": "numpy" in self.packages, "tflite-runtime": self.old_numpy}
        return any(name in self.packages and usable[name] for name in usable if self.runtime in ("auto", name))

    def met_by(self, folders: Iterable[str]) -> str | None:
        """A folder, unpacked before, that has the runtime; the preferred runtime first."""
        for runtime in self.candidates():
            wanted = re.compile(rf"{runtime}-[0-9A-Za-z.]+-{re.escape(self.tag)}")
            for name in folders:
                if wanted.fullmatch(name):
                    return name
        return None

    def candidates(self) -> list[str]:
        """Runtimes that have wheels for such a device, the preferred one first.

        Source: the files of ai-edge-litert 2.3.0 and tflite-runtime 2.14.0 (the last one) in the package index.
        """
        found = []
        if self.architecture in ("aarch64", "x86_64") and self.python >= (3, 10):
            found.append("ai-edge-litert")
        if self.architecture in _ARCHITECTURES and self.python <= (3, 11):
            found.append("tflite-runtime")
        return [name for name in found if self.runtime in ("auto", name)]


def resolve_wheels(needs: Needs, device: str) -> Wheels:
    """Wheels of the first runtime that can be had, from this user's cache or through pip.

    Raises MissingDependency, with what pip said, if there is none; OutputError if the cache cannot be written.
    """
    problem = f"{device} has no usable TFLite runtime"
    if needs.glibc is None:
        raise MissingDependency(f"{problem}, and none has wheels for its C library", "use a system with glibc")
    said = []
    for runtime in needs.candidates():
        kept = cache_folder() / "wheels" / f"{runtime}-{needs.tag}-glibc{needs.glibc}"
        failure = None if kept.is_dir() else _download(runtime, needs, kept)
        if failure is None:
            files = tuple(sorted(kept.glob("*.whl")))
            return Wheels(f"{runtime}-{_version(runtime, files)}-{needs.tag}", files)
        said.append(f"{runtime}: {failure}")
    if any("No module named pip" in failure for failure in said):
        raise MissingDependency(
            f"{problem}, and this Python has no pip to fetch one: {sys.executable}",
            "install pip here: `python3 -m ensurepip`, or `uv pip install pip`",
        )
    what = f"Python {needs.python[0]}.{needs.python[1]} on {needs.architecture} with glibc {needs.glibc}"
    if not said:
        raise MissingDependency(f"{problem}, and none has wheels for {what}", _mend(needs))
    raise MissingDependency(f"{problem}; pip found no wheels for {what}:\n  " + "\n  ".join(said), _mend(needs))


def _mend(needs: Needs) -> str:
    if needs.architecture == "armv7l":
        numpy = needs.candidates() and not needs.old_numpy
        install = "`sudo apt install python3-numpy` there and run again, or " if numpy else ""
        return f"{install}use the 64-bit system; on 32 bits only tflite-runtime runs, with Python 3.11 or older"
    if _minor(needs.glibc) < _LITERT_GLIBC:
        return f"upgrade its system: glibc {needs.glibc} is older than 2.{_LITERT_GLIBC}, which ai-edge-litert needs"
    if needs.architecture not in _ARCHITECTURES:
        return f"use a board with {', '.join(_ARCHITECTURES)}"
    if not needs.candidates():
        return (
            f"leave {needs.runtime} out (--runtime, or the devices file): it has wheels for {_PYTHONS[needs.runtime]}"
        )
    return f"there, {own_environment(needs.candidates()[0])}; or connect this machine to a package index and run again"


def own_environment(runtime: str) -> str:
    """What to do on a device for a runtime there: Debian's own Python takes packages of Debian only."""
    place = "~/edgekit-rt"
    make = f"python3 -m venv {place} && {place}/bin/pip install {_PACKAGES[runtime]}"
    return f'`{make}`, and `python = "{place}/bin/python"` in the devices file'


def _requirements(runtime: str, needs: Needs) -> list[str]:
    if runtime == "ai-edge-litert":
        return [runtime]
    # The index has no 32-bit wheel of numpy: the system's own serves.
    return ["--no-deps", runtime] if needs.architecture == "armv7l" and needs.old_numpy else [runtime, "numpy<2"]


def _download(runtime: str, needs: Needs, kept: Path) -> str | None:
    """Let pip download into `kept`, whole or not at all; gives what pip said if it failed."""
    with writing(kept.parent) as parent, tempfile.TemporaryDirectory(dir=parent) as folder:
        wheels = Path(folder, "wheels")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", ".".join(map(str, needs.python))),
            *(word for platform in _platforms(needs) for word in ("--platform", platform)),
            *("--dest", str(wheels), *_requirements(runtime, needs)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            _settle(wheels, kept)
            return None
    lines = [line for line in printable(done.stderr).splitlines() if "ERROR" in line or "No module" in line]
    return (lines or done.stderr.splitlines() or ["pip failed"])[-1].strip()


def _settle(made: Path, kept: Path) -> None:
    """Give a whole folder its name, unless another run was quicker."""
    try:
        made.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def _platforms(needs: Needs) -> list[str]:
    """Platform tags that the device's glibc satisfies, newest first."""
    minors = range(_minor(needs.glibc), _OLDEST_GLIBC - 1, -1)
    return [*(f"manylinux_2_{minor}_{needs.architecture}" for minor in minors), f"manylinux2014_{needs.architecture}"]


def _minor(glibc: str | None) -> int:
    """The 36 of `2.36`; the oldest of any wheel where it is not told."""
    found = re.match(r"2\.(\d{1,3})", glibc or "")
    return int(found[1]) if found else _OLDEST_GLIBC


def _version(runtime: str, files: Iterable[Path]) -> str:
    """Version in the file name of the runtime's wheel."""
    stem = runtime.replace("-", "_") + "-"
    return next((file.name[len(stem) :].partition("-")[0] for file in files if file.name.startswith(stem)), "unknown")
