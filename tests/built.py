"""The wheel and the source archive, built from a clean copy of what is in the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


def tracked() -> set[str]:
    """Files of the repository, by their names there; skips by name where there is none."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository here")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def build(folder: Path) -> None:
    """Both, in `folder`/dist, without a package index; skips by name where setuptools is too old for it."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77: pip install 'edgekit[dev]'")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-c", _BUILD], cwd=folder, check=True, capture_output=True)
