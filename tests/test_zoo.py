"""Oddities among TFLite files: every target answers or refuses them in words, and says what no runtime opens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from zoo import ZOO

from edgekit.check.advice import words
from edgekit.cli.check import CheckReport, _render, command
from edgekit.errors import EdgekitError
from edgekit.source_check import check_file
from edgekit.target import load_target, target_names
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.memory_savings import savings

UNSOUND = {
    "quantized_dimension_out_of_range": "scales along dimension 7 of 2",
    "quantized_dimension_below_zero": "scales along dimension -3 of 2",
    "more_scales_than_channels": "5 scales along a dimension of 4",
    "fewer_zero_points_than_scales": "4 scales and 2 zero points",
    "infinite_scale": "a scale is negative or no number",
}
RUN = "import sys; from ai_edge_litert.interpreter import Interpreter; Interpreter(sys.argv[1]).allocate_tensors()"


@pytest.mark.parametrize("name", ZOO)
def test_every_target_answers_or_refuses(name: str) -> None:
    file = ZOO[name]()
    savings(read_contents(file), "micro")
    for target in map(load_target, target_names()):
        try:
            told = _render(CheckReport(name, check_file(file, [target])), every=True)
        except EdgekitError as refusal:
            told = str(refusal)
        assert f"{target.name}: " in told or "mend: " in told


@pytest.mark.parametrize("name", ZOO)
def test_scales_that_no_runtime_takes_are_an_error_everywhere(name: str) -> None:
    for result in check_file(ZOO[name](), [load_target(target) for target in ("host", "cortex-m4", "coral-usb")]):
        problems = [finding.problem for finding in result.findings if finding.code == "unsound-scales"]
        assert problems == ([f"{UNSOUND[name]}: runtimes refuse the file"] if name in UNSOUND else [])


@pytest.mark.parametrize("name", [*UNSOUND, "hybrid", "uint8_of_2018", "several_signatures"])
def test_the_runtime_agrees(name: str, tmp_path: Path) -> None:
    """In a child, since some of these files end the interpreter's process."""
    path = tmp_path / "m.tflite"
    path.write_bytes(ZOO[name]())
    done = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, check=False)
    assert bool(done.returncode) == (name in UNSOUND)


def test_what_no_unit_has_is_said_once() -> None:
    (result,) = check_file(ZOO["unresolved_custom_operators"](), [load_target("raspberry-pi-4")])
    assert [finding.code for finding in result.findings if "PosenetDecoderOp" in finding.subject] == ["custom-operator"]


def test_a_name_that_is_no_utf8_gives_json(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.tflite"
    path.write_bytes(ZOO["hybrid"]())
    done = CliRunner().invoke(command, [str(path), "--target", "host", "--json"])
    assert json.loads(done.stdout)["model"] == str(path)


def test_a_budget_given_twice_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(ZOO["hybrid"]())
    line = [str(path), "--target", "host", "--budget", "file=1K", "--budget", "file=2K"]
    assert "given twice" in CliRunner().invoke(command, line).output


def test_what_one_change_saves_is_one_line() -> None:
    (result,) = check_file(ZOO["hybrid"](), [load_target("cortex-m4")])
    assert len(words(result.advice)) < len(result.advice)
