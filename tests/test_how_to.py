"""docs/how-to: the commands of each page print what it shows, its recipes parse, and a technique's page is whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from shown import blocks, matches, session, sessions, titled
from test_tutorials import made as made

from edgekit.recipe import Recipe

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))}
NO_MATHEMATICS = {"index", "recommend"}


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if sessions(text)])
def test_commands_print_what_is_shown(page: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "here"))
    for title, text in titled(PAGES[page]):
        Path(title).write_text(text)
    for shown in sessions(PAGES[page]):
        said = session(shown, monkeypatch)
        assert matches(said, shown), f"the page should have:\n{said}"


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "toml")])
def test_recipes_parse(page: str, tmp_path: Path) -> None:
    for text in blocks(PAGES[page], "toml"):
        (tmp_path / "recipe.toml").write_text(text)
        assert Recipe.parse(tmp_path / "recipe.toml").stages


def test_phrases_parse() -> None:
    told = re.findall(r"`(?:-r )?((?:\w+\d\d|qat|small)(?:-\w+)*-(?:qat|int8))`", "\n".join(PAGES.values()))
    assert len(told) > 5
    for phrase in told:
        assert Recipe.parse(phrase, "int8").stages


@pytest.mark.parametrize("page", sorted(PAGES.keys() - NO_MATHEMATICS))
def test_a_technique_has_its_mathematics_and_when_it_pays(page: str) -> None:
    assert re.findall(r"^## (.*)", PAGES[page], re.MULTILINE)[-2:] == ["Mathematics", "When it pays"]
    assert 'class="formula"' in PAGES[page]
