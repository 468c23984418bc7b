"""The examples that are folders: their files as modules, and what the command of their page does."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
KEYWORD, VIBRATION = (ROOT / "examples" / name for name in ("keyword_spotting_firmware", "vibration_pi"))


def module(folder: Path, name: str) -> Any:
    """A file of an example, whose neighbours have names that others may have too."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for new in set(sys.modules) - before:
            if str(folder) in (getattr(sys.modules[new], "__file__", None) or ""):
                del sys.modules[new]


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def played(example: Path, folder: Path, **places: str) -> str:
    """What the command of the page prints, in its short form, with other places for what it names."""
    (command,) = re.findall(r"^python (.*?)(?: +#.*)?$", (example / "README.md").read_text(), re.MULTILINE)
    words = [places.get(word, word) for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:], "--short"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def scores(folder: Path) -> tuple[float, float]:
    """The metric of the float model and of the only artifact of a run."""
    said = json.loads((folder / "run.json").read_text())
    (artifact,) = said["artifacts"]
    return said["reference"]["scores"][0]["value"], artifact["verification"]["scores"][0]["value"]
