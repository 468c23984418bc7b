"""`edgekit recommend`: the table for a person, JSON for a script, and limits as a gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit.cli.recommend import command
from edgekit.errors import GateError


def test_the_table_says_what_pays_what_does_not_and_what_to_try(tiny_cnn: Path) -> None:
    done = CliRunner().invoke(command, [str(tiny_cnn / "tiny.keras"), "-t", "cortex-m4"])
    assert done.exit_code == 0, done.output
    assert "prune80" in done.stdout
    assert "does not pay" in done.stdout
    assert "not allowed" in done.stdout
    assert "-r int8 -o build" in done.stdout
    assert "Accuracy was not judged" in done.stdout


def test_limits_that_no_recipe_could_meet_are_a_failed_gate(tiny_cnn: Path) -> None:
    words = [str(tiny_cnn / "tiny.keras"), "-t", "cortex-m4", "--max-bytes", "1K", "--max-ram", "1K", "--json"]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, GateError)
    found = json.loads(done.stdout)
    assert found["limits"] == {"file_bytes": 1024, "seconds": None, "ram_bytes": 1024}
    assert found["suggestions"][0]["meets"]["file"] is False


def test_a_quantized_file_is_held_against_limits_itself(shared_data: Path) -> None:
    path = str(shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite")
    met = CliRunner().invoke(command, [path, "-t", "raspberry-pi-4", "--max-bytes", "1M"])
    assert met.exit_code == 0, met.output
    missed = CliRunner().invoke(command, [path, "-t", "raspberry-pi-4", "--max-bytes", "1K"])
    assert isinstance(missed.exception, GateError)


@pytest.mark.parametrize(
    ("option", "value", "problem"), [("--max-latency", "10", "no time"), ("--max-bytes", "many", "no size")]
)
def test_a_limit_that_is_no_amount_is_wrong_usage(option: str, value: str, problem: str) -> None:
    done = CliRunner().invoke(command, ["model.keras", "-t", "host", option, value])
    assert done.exit_code == 2
    assert problem in done.output
