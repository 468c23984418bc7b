"""`edgekit rewrite`: the file, the words, the JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rewriting import names, partitions
from toys import Toy

from edgekit.cli.rewrite import command
from edgekit.errors import ModelError, OutputError, TargetError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    toy = Toy()
    tensors = [toy.tensor((1, 8), "int8", [1 / 128]) for _ in range(4)]
    for index, name in enumerate(("LOGISTIC", "GELU", "LOGISTIC")):
        toy.operator(name, [tensors[index]], [tensors[index + 1]])
    path = tmp_path / "cut.tflite"
    path.write_bytes(toy.bytes(tensors[:1], tensors[-1:]))
    return path


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_file_is_written_and_what_was_done_is_said(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.tflite"
    done = _run(model, "-o", out)
    assert done.exit_code == 0
    assert "1 GELU as float32 between casts: XNNPACK has it in float32 only" in done.stdout
    assert f"{out}: pieces of XNNPACK 2 -> 1" in done.stdout
    assert names(out.read_bytes()) == ["LOGISTIC", "DEQUANTIZE", "GELU", "QUANTIZE", "LOGISTIC"]
    assert partitions(out.read_bytes()) == 1


def test_json_has_the_rules_and_a_file_without_work_stays(model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.tflite", tmp_path / "two.tflite"
    found = json.loads(_run(model, "-o", first, "-t", "raspberry-pi-4", "--json").stdout)
    assert [(each["rule"], each["count"]) for each in found["applied"]] == [("float-island", 1)]
    assert (found["pieces_before"], found["pieces"]) == (2, 1)
    assert "nothing to rewrite" in _run(first, "-o", second).stdout
    assert second.read_bytes() == first.read_bytes()


def test_what_cannot_be_done_is_an_error_and_leaves_no_file(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.tflite"
    assert isinstance(_run(model, "-o", out, "-t", "coral-usb").exception, TargetError)
    assert isinstance(_run(tmp_path / "none.tflite", "-o", out).exception, ModelError)
    assert isinstance(_run(model, "-o", model).exception, OutputError)
    assert not out.exists()
