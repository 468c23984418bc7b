"""docs/compression.md: every setting with its default, as the code has them, and recipes that parse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from edgekit.recipe import Compression, Recipe
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.step import name_of

TEXT = (Path(__file__).parent.parent / "docs" / "compression.md").read_text()
SCHEMA = msgspec.json.schema(Recipe)["$defs"]
STAGES = (*get_args(Compression), QuantizeAware)
KINDS = (*STAGES, Training)


def table(kind: type) -> str:
    """The settings of a stage, as the page must have them."""
    rows = [_row(name, field) for name, field in SCHEMA[kind.__name__]["properties"].items() if name != "stage"]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows])


def _row(name: str, field: dict[str, Any]) -> str:
    options = [field, *field.get("anyOf", ())]
    words = next((option["description"] for option in options if option.get("description")), "")
    choices = next((option["enum"] for option in options if option.get("enum")), [])
    default = field.get("default", "needed")
    nested = isinstance(default, dict | list | tuple) or default is None
    shown = "" if nested else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    said = " ".join([words, *([f"({', '.join(f'`{choice}`' for choice in choices)})"] if choices else [])])
    return f"| `{name}` | {shown} | {said.strip() or 'a table of its own'} |"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_is_told_as_it_is(kind: type) -> None:
    assert table(kind) in TEXT, f"the page should have:\n{table(kind)}"


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
def test_recipes_parse(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert Recipe.parse(path).compression


def test_phrases_parse() -> None:
    phrases = re.findall(r"edgekit (?:optimize|compress) [^\n]*-r (\S+)", TEXT)
    assert len(phrases) > 3
    for phrase in phrases:
        assert phrase.endswith(".toml") or Recipe.parse(phrase, "float32").compression


def test_the_code_runs_as_it_stands(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(digits / "digits.npz") as arrays:
        np.savez(tmp_path / "digits.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    exec(code, {"__name__": "example"})
    promised = re.findall(r"^# (.*)", code, re.MULTILINE)
    assert promised
    assert set(promised) <= set(capsys.readouterr().out.splitlines())


def test_every_stage_has_its_chapter() -> None:
    assert set(re.findall(r"^## `([a-z_]+)`", TEXT, re.MULTILINE)) == {kind.__struct_config__.tag for kind in STAGES}
    assert name_of(Recipe.parse("prune50-int8").compression[0]) == "prune_weights"
