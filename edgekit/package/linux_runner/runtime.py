"""The TFLite runtime of this Python, or how to get one."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from .problem import RUNTIME, Problem

MODULES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
# libedgetpu is built for tflite-runtime; that ai-edge-litert loads it is not known.
_ORDER = {"edgetpu": ("tflite-runtime", "ai-edge-litert")}


@dataclass(frozen=True)
class Runtime:
    """A runtime that was imported; `module` has Interpreter and load_delegate."""

    name: str
    version: str
    numpy: str
    module: Any

    def __str__(self) -> str:
        python = ".".join(map(str, sys.version_info[:3]))
        return f"{self.name} {self.version}, numpy {self.numpy}, Python {python}, {platform.machine()}"


def open_runtime(unit: str) -> Runtime:
    """Import the runtime that suits a unit best. Raises Problem with the commands to install one."""
    numpy = numpy_version()
    faults = []
    for name in _ORDER.get(unit, tuple(MODULES)):
        if util.find_spec(MODULES[name]) is None:
            continue
        version = _version(name)
        if name == "tflite-runtime" and int(numpy.split(".")[0]) >= 2:
            faults.append(f"tflite-runtime {version} does not work with numpy {numpy}")
            continue
        try:
            return Runtime(name, version, numpy, importlib.import_module(f"{MODULES[name]}.interpreter"))
        except ImportError as cause:
            faults.append(f"{name} {version} cannot be imported: {cause}")
    raise _missing("; ".join(faults) or "no TFLite runtime is installed", unit)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def environment() -> Path:
    """Where the README puts the virtual environment with the runtime."""
    return Path("/opt") / (__package__ or "")


def enter_environment(words: Sequence[str]) -> None:
    """Go on with `words` in that environment where it exists: a runtime beside the system's Python may be a broken one.

    A Python of any other environment was chosen, so it goes on itself.
    """
    python = environment() / "bin/python3"
    if not python.exists() or sys.prefix != sys.base_prefix or sys.executable == str(python):
        return
    print(f"with {python}, which was made for this program", file=sys.stderr)
    os.execv(python, [str(python), *words])


def requirements(unit: str, python: tuple[int, int], narrow: bool) -> tuple[str, ...]:
    """What pip has to install; `narrow` is a system of 32 bits. Empty if no runtime has a build for such a Python.

    Source: the wheels of ai-edge-litert 2.3.0 and tflite-runtime 2.14.0 (the last) in the package index.
    """
    litert = ("ai-edge-litert",) if python >= (3, 10) and not narrow else ()
    old = ("tflite-runtime==2.14.0", "numpy<2") if python <= (3, 11) else ()
    return (old or litert) if unit == "edgetpu" else (litert or old)


def installing(unit: str) -> str:
    """The commands that install a runtime for this Python, or what to use instead."""
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    if platform.machine() not in ("aarch64", "x86_64", "armv7l", "armv8l"):
        return f"no runtime has a build for {platform.machine()}: build one from its sources"
    words = requirements(unit, sys.version_info[:2], sys.maxsize < 2**32)
    if not words:
        return f"use a system of 64 bits: no runtime has a build of 32 bits for {python}"
    place, quoted = environment(), " ".join(f"'{word}'" if "<" in word else word for word in words)
    make = f"sudo python3 -m venv --system-site-packages {place}"
    return f"{make} && sudo {place}/bin/python3 -m pip install {quoted}"


def numpy_version() -> str:
    """Version of numpy, which all else here needs. Raises Problem if it cannot be imported."""
    try:
        import numpy as np
    except ImportError as cause:
        problem = f"{sys.executable}: numpy cannot be imported: {cause}"
        raise Problem(problem, f"sudo apt install python3-numpy, or {installing('cpu')}", RUNTIME) from None
    return str(np.__version__)


def _missing(what: str, unit: str) -> Problem:
    return Problem(f"{sys.executable}: {what}", installing(unit), RUNTIME)
