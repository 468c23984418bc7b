"""CONTRIBUTING.md tells a newcomer where things are: each file that it names is there, and what it names in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
MAP = TEXT[TEXT.index("## The map") : TEXT.index("Imports go one way;")]
WALK = TEXT[TEXT.index("## From `edgekit optimize`") : TEXT.index("## Decisions")]
PLACES = re.findall(r"`(edgekit/[\w/]+\.py)`\s+`(\w+)`", WALK)


def test_the_walk_goes_from_the_command_to_the_file() -> None:
    steps = [int(number) for number in re.findall(r"^(\d+)\. `edgekit/", WALK, re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    assert WALK.index("1. `edgekit/cli/optimize.py` `command`") < WALK.index("`edgekit/artifact.py` `Artifact`")
    assert len(PLACES) == len(re.findall(r"`edgekit/", WALK))


@pytest.mark.parametrize(("path", "name"), PLACES, ids="::".join)
def test_what_the_walk_names_is_where_it_says(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert name in defined


def test_each_module_and_package_is_on_the_map() -> None:
    found = [path for path in (ROOT / "edgekit").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    names = {path.stem for path in found if not path.name.startswith("_")}
    assert sorted(names - set(re.findall(r"\w+", MAP))) == []


def test_the_map_has_nothing_that_is_not_there() -> None:
    rows = re.findall(r"^      ([a-z_/ ]+?)(?:  +|$)", MAP, re.MULTILINE)
    listed = [name for row in rows for name in row.split()]
    assert len(listed) > 50
    paths = [ROOT / "edgekit" / (name if name.endswith("/") else f"{name}.py") for name in listed]
    assert [path.name for path in paths if not path.exists()] == []
