"""docs/data.md: its code runs, and it names every key and every metric."""

import re
from pathlib import Path

import msgspec
import pytest

from edgekit import strict_toml
from edgekit.data.npz import PART_WORDS
from edgekit.data.spec import DataSpec
from edgekit.errors import DataError
from edgekit.metrics import metric_names
from edgekit.strict_toml import tomllib

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def keys(table, prefix=""):
    inner = {name for key, value in table.items() if isinstance(value, dict) for name in keys(value, f"{prefix}{key}.")}
    return {prefix + key for key in table} | inner


def test_the_code_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    exec(code, {})
    promised = re.findall(r"^# (.*)", code, re.MULTILINE)
    assert promised
    assert set(promised) <= set(capsys.readouterr().out.splitlines())


def test_the_example_file_has_every_key():
    (text,) = blocks("toml")
    strict_toml.loads(text, DataSpec, DataError)
    assert keys(tomllib.loads(text)) == keys(msgspec.to_builtins(DataSpec())) - {"format_version"}


@pytest.mark.parametrize("word", [*metric_names(), *PART_WORDS.values()])
def test_every_metric_and_part_is_named(word):
    assert word.replace("top<k>", "top5") in TEXT
