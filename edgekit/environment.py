"""The environment that edgekit runs in: what is here, what is missing, and what mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgekit.versions import version

STEADY_CLOCK = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


class Found(Struct, frozen=True):
    """One thing looked for. `ok`: here; `absent`: not here, and only needed for what it says; `fault`: broken."""

    state: Literal["ok", "absent", "fault"]
    name: str
    found: str
    needed_for: str
    mend: str = ""


_PACKAGES = (
    ("numpy", "everything", "pip install edgekit"),
    ("tensorflow", "optimize", "pip install 'edgekit[convert]'"),
    ("keras", "optimize", "pip install 'edgekit[convert]'"),
    ("litert-quantizer", "optimize (engine litert)", "pip install 'edgekit[convert]'"),
    ("tensorflow-model-optimization", "recipes with engine=tfmot", "pip install 'edgekit[tfmot]'"),
    ("pillow", "folders of images", "pip install 'edgekit[images]'"),
    ("cyclonedx-python-lib", "package, sbom", "pip install 'edgekit[package]'"),
    ("py-minisign", "signatures of packages", "pip install 'edgekit[package]'"),
    ("bsdiff4", "diff, patch", "pip install 'edgekit[package]'"),
    ("tflite-micro", "memory --record, arenas of firmware", "pip install 'edgekit[firmware]'"),
    ("ethos-u-vela", "compiling for Ethos-U", "pip install 'edgekit[firmware]'"),
    ("optuna", "search", "pip install 'edgekit[search]'"),
    ("psycopg", "search on PostgreSQL", "pip install 'edgekit[search]'"),
)
_TOOLS = (
    ("ssh", "benchmarks on a Pi", "apt install openssh-client"),
    ("adb", "benchmarks on a phone", "apt install adb"),
    ("edgetpu_compiler", "compiling for Coral", "see coral.ai/docs/edgetpu/compiler"),
)


def examine() -> list[Found]:
    """Look at Python, packages, runtimes, tools and the machine; imports none of the heavy ones."""
    return [
        _python(),
        *(_package(*row) for row in _PACKAGES),
        *_runtimes(),
        *(_tool(*row) for row in _TOOLS),
        *_machine(),
    ]


def usable_cores() -> int:
    """How many cores this process may run on; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _python() -> Found:
    return Found("ok", "python", f"{platform.python_version()} on {platform.machine()}", "everything")


def _package(name: str, needed_for: str, mend: str) -> Found:
    found = version(name)
    return Found("ok", name, found, needed_for) if found else Found("absent", name, "-", needed_for, mend)


def _runtimes() -> list[Found]:
    mend = "pip install 'edgekit[runtime]'"
    names = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
    here = {name: version(name) for name, module in names.items() if importlib.util.find_spec(module)}
    if not here:
        return [Found("absent", "a runtime", "-", "benchmark, compare, evaluate", mend)]
    found = [Found("ok", name, str(number), "benchmark, compare, evaluate") for name, number in here.items()]
    if "tflite-runtime" in here and int((version("numpy") or "1").split(".")[0]) >= 2:
        found.append(Found("fault", "tflite-runtime", "with numpy 2", "benchmark", "pip install 'numpy<2'"))
    return found


def _tool(name: str, needed_for: str, mend: str) -> Found:
    place = shutil.which(name)
    return Found("ok", name, place, needed_for) if place else Found("absent", name, "-", needed_for, mend)


def _machine() -> list[Found]:
    found = [Found("ok", "cores", str(usable_cores()), "benchmark")]
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.is_file():
        name = governor.read_text().strip()
        mend = "" if name == "performance" else f"{STEADY_CLOCK}, for steady latencies"
        found.append(Found("ok", "cpu governor", name, "benchmark", mend))
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        found.append(Found("fault", "KERAS_BACKEND", backend, "optimize", "unset KERAS_BACKEND"))
    return found
