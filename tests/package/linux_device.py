"""A package for Linux as a board has it: unpacked, and run by a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models

from edgekit.package.build import Packaged, package_model

LOGISTIC = 14


def curve(shape: Sequence[int] = (1, 4, 6, 3)) -> bytes:
    """A LOGISTIC of int8 values."""
    graph = tiny_models.Graph()
    x, y = (graph.tensor(*facts) for facts in (("x", shape, 9, 0.05, 3), ("y", shape, 9, 1 / 256, -128)))
    graph.operator(LOGISTIC, [x], [y])
    return graph.bytes([x], [y])


def packaged(out: Path, *models: str | Path, **told: Any) -> Packaged:
    """The package in `out`."""
    return package_model(models, out, kind="linux", **told)


@dataclass(frozen=True)
class Board:
    """Where the package's .tar is unpacked, and the name of its module."""

    folder: Path
    module: str

    @property
    def program(self) -> Path:
        return self.folder / self.module

    def run(
        self, *words: object, python: str | Path = sys.executable, env: Mapping[str, str] | None = None, **told: Any
    ) -> subprocess.CompletedProcess[str]:
        """`python3 -m NAME words`, in the unpacked folder and without edgekit's own environment."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(python), "-m", self.module, *map(str, words)]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env={**plain, **(env or {})}, **told
        )

    def said(self, *words: object) -> dict[str, Any]:
        """What it prints as JSON, for a command that has to go well."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def unpacked(made: Packaged, folder: Path) -> Board:
    """The package on a board."""
    (archive,) = made.folder.glob("*.tar")
    with tarfile.open(archive) as found:
        how = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in Python 3.11.2 of Debian 12
        found.extractall(folder, **how)  # type: ignore[arg-type]
    return Board(folder / archive.name.removesuffix(".tar"), made.name)
