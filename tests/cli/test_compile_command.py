"""`compile`: what the maker's compiler said, beside the forecast. A script stands in for Coral's: it is not here."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from artifacts import artifact
from click.testing import CliRunner, Result
from msgspec.structs import replace

from edgekit.artifact import DataRecord
from edgekit.cli.compile import command
from edgekit.data.spec import Preprocessing
from edgekit.errors import MissingDependency, OutputError
from edgekit.tflite.graph import read_graph

LOG = """Edge TPU Compiler version 16.0.384591198

Model compiled successfully in 12 ms.
On-chip memory used for caching model parameters: 563.00KiB
On-chip memory remaining for caching model parameters: 7.20MiB
Off-chip memory used for streaming uncached model parameters: 0.00B

Operator                       Count      Status

CONV_2D                        38         Mapped to Edge TPU
ARG_MAX                        1          Operation is working on an unsupported data type
"""


@pytest.fixture
def pair(shared_data: Path) -> tuple[Path, Path]:
    folder = shared_data / "models/coral_pairs"
    name = "deeplabv3_mnv2_dm05_pascal_quant"
    return folder / f"{name}.tflite", folder / f"{name}_edgetpu.tflite"


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def _compiler(folder: Path, made: Path) -> str:
    """Prints a log and gives out a file that the real compiler made of the same model."""
    script = folder / "compiler.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        "words = sys.argv[1:]\n"
        "out = pathlib.Path(words[words.index('-o') + 1])\n"
        f"shutil.copyfile({str(made)!r}, out / (pathlib.Path(words[-1]).stem + '_edgetpu.tflite'))\n"
        f"print({LOG!r})\n"
    )
    return f"{sys.executable} {script}"


def test_the_compilers_answer_and_the_forecast_stand_beside_each_other(pair: tuple[Path, Path], tmp_path: Path) -> None:
    words = (pair[0], "--for", "edgetpu", "--compiler", _compiler(tmp_path, pair[1]), "-o", tmp_path / "out")
    found = _run(*words)
    assert found.exit_code == 0, found.output
    assert "1 piece on the Edge TPU" in found.stdout
    assert "563 KiB on the chip, 0 B streamed" in found.stdout
    assert "the forecast was the same" in found.stdout
    assert (tmp_path / "out" / pair[1].name).read_bytes() == pair[1].read_bytes()
    assert isinstance(_run(*words).exception, OutputError)
    again = json.loads(_run(*words, "--overwrite", "--json").stdout)
    assert again["differences"] == []
    assert again["compilation"]["left"]["ARG_MAX"] == 1


def test_preprocessing_that_stays_behind_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    record = DataRecord("c" * 64, "classification", {}, Preprocessing(scale=(0.5,)), ())
    made = artifact(tmp_path / "a", pair[0].read_bytes(), data=record)
    words = (made, "--for", "edgetpu", "--compiler", _compiler(tmp_path, pair[1]), "-o")
    assert "records preprocessing" in _run(*words, tmp_path / "out").stderr
    assert "records preprocessing" not in _run(*words, made).stderr
    plain = artifact(tmp_path / "b", pair[0].read_bytes(), data=replace(record, preprocessing=Preprocessing()))
    assert "records preprocessing" not in _run(plain, *words[1:], tmp_path / "again").stderr


def test_where_the_compiler_is_not_there_the_mend_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    words = (pair[0], "--for", "edgetpu", "--compiler", "no-such-compiler", "-o", tmp_path)
    assert isinstance(_run(*words).exception, MissingDependency)


@pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None and shutil.which("vela") is None, reason="vela is not installed"
)
def test_a_file_for_an_ethos_u_is_made_by_vela(shared_data: Path, tmp_path: Path) -> None:
    model = shared_data / "models/mlperf_tiny_ic/pretrainedResnet_quant.tflite"
    found = _run(model, "--for", "ethos-u55-128", "-o", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "16 of 16 operators on the ethos-u55-128" in found.stdout
    assert "estimate, no measurement" in found.stdout
    assert [op.name for op in read_graph(tmp_path / "out/pretrainedResnet_quant_vela.tflite").operators] == ["ethos-u"]
    assert "--overwrite" in str(_run(model, "--for", "ethos-u55-128", "-o", tmp_path / "out").exception)
    assert _run(model, "--for", "ethos-u55-64", "-o", tmp_path / "out", "--overwrite").exit_code == 0
    shutil.copyfile(model, made := tmp_path / "made.tflite")
    (tmp_path / "file").touch()
    assert "give a folder" in str(_run(made, "--for", "ethos-u55-64", "-o", tmp_path / "file" / "out").exception)
    assert _run(made, "--for", "ethos-u55-64", "-o", tmp_path / "made").exit_code == 0
