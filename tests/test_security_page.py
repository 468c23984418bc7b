"""SECURITY.md: each claim names tests, and they are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda one: Path(one).stem)
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_each_thing_that_cannot_be_done_names_its_test() -> None:
    section = PAGE.partition("## What a hostile file cannot do")[2].partition("## What a hostile file can do")[0]
    claims = section.split("\n**")[1:]
    assert len(claims) >= 6
    assert all(re.search(r"`tests/[\w/]+\.py::\w+`", claim) for claim in claims)
    assert PAGE.count("`tests/") == PAGE.count(".py::")


WITHOUT = (
    "import subprocess, sys; subprocess.Popen = None; from edgekit.cli import cli; "
    "cli.main(sys.argv[1:], standalone_mode=False); "
    "print([name for name in sys.modules if 'interpreter' in name or name in ('tensorflow', 'tflite_micro')])"
)


@pytest.mark.parametrize(
    "words",
    [
        "inspect m.tflite",
        "check m.tflite -t raspberry-pi-4",
        "memory m.tflite",
        "metadata show m.tflite",
        "rewrite m.tflite --target raspberry-pi-4 -o new.tflite",
        "diff m.tflite other.tflite -o m.delta",
    ],
)
def test_commands_that_run_no_model(words: str, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 64), operators=6))
    (tmp_path / "other.tflite").write_bytes(tiny_models.negative((1, 32)))
    argv = [sys.executable, "-c", WITHOUT, *words.split()]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
