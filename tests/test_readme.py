"""The README is true: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import _COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_runs_as_it_stands(digits: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for name in ("digits.keras", "digits.npz"):
        (tmp_path / name).symlink_to(digits / name)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_every_command_is_told_and_no_other() -> None:
    assert set(re.findall(r"`edgekit ([a-z]+)", README)) == set(_COMMANDS)


def test_every_recipe_phrase_is_one() -> None:
    from edgekit.phrase import PRESETS
    from edgekit.recipe import Recipe

    for phrase in re.findall(r"`((?:int8|int16x8|float16|float32|dynamic-int8)[^`]*)`", README):
        assert Recipe.parse(phrase).name == phrase
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", README, re.MULTILINE)) >= set(PRESETS)


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "targets/README.md",
        *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")),
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    """But for the reference, which is made from the code: the site's own test has it."""
    path = ROOT / document
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert link.startswith(("https://", "reference/", "../reference/")) or (path.parent / link).exists(), link


def test_every_extra_that_is_told_exists() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    told = set(re.findall(r"'\.\[(\w+)\]'", README))
    assert told
    assert told <= set(config["options.extras_require"])
