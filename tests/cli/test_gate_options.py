"""`--fail-if` on the command line: exit codes, what is said, and that nothing runs before it is understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner, Result
from msgspec.structs import replace

from edgekit.bench.result import Results
from edgekit.cli import benchmark, compare
from edgekit.errors import EdgekitError, GateError, InputError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.negative((1, 1000), 20))
    return path


@pytest.fixture
def baseline(model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "base.json"
    assert run(model, "--runs", 5, "--processes", 2, "-o", path).exit_code == 0
    return path


def run(*arguments: object, command: object = benchmark.command) -> Result:
    return CliRunner().invoke(command, [str(word) for word in arguments])  # type: ignore[arg-type]


def test_a_limit_far_away_is_kept_and_one_below_is_exceeded(model: Path, baseline: Path) -> None:
    words = (model, "--runs", 5, "--processes", 2, "--baseline", baseline)
    kept = run(*words, "--fail-if", "p50>+100000%", "--fail-if", "size>+0%", "--json")
    assert kept.exit_code == 0, kept.output
    assert [one["outcome"] for one in json.loads(kept.stdout)["verdicts"]] == ["kept", "kept"]
    missed = run(*words, "--fail-if", "p50>1ns", "--fail-if", "size>+0%")
    assert isinstance(missed.exception, GateError)
    assert missed.exception.exit_code == 1
    assert "m.tflite p50>1ns" in str(missed.exception)
    assert "EXCEEDED" in missed.stdout
    assert "kept" in missed.stdout


def test_every_process_is_kept_in_the_file(baseline: Path) -> None:
    assert len(Results.from_json(baseline.read_bytes()).measurements) == 2


def test_an_open_limit_is_told_and_fails_only_if_asked(model: Path, baseline: Path) -> None:
    """The baseline loaded once in a nanosecond and once in a thousand seconds: nothing can be said against it."""
    results = Results.from_json(baseline.read_bytes())
    wide = [replace(one, load_ns=ns) for one, ns in zip(results.measurements, (1, 10**12), strict=True)]
    baseline.write_bytes(Results(tuple(wide)).to_json())
    words = (model, "--runs", 3, "--processes", 2, "--baseline", baseline, "--fail-if", "load>+0%")
    found = run(*words)
    assert found.exit_code == 0
    assert "m.tflite load>+0%: " in found.stderr
    assert "cannot be decided; measure longer" in found.stderr
    assert isinstance(run(*words, "--fail-undecided").exception, GateError)


def test_a_baseline_of_one_process_is_told(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "one.json"
    run(model, "--runs", 3, "-o", base)
    found = run(model, "--runs", 3, "--processes", 1, "--baseline", base, *("--fail-if", "size>+1%") * 2)
    assert "measured in one process for the baseline" in found.stderr
    told = [line for line in found.stderr.splitlines() if line.startswith("warning: ")]
    assert len(set(told)) == len(told), "each is said once"
    assert any(line.startswith("warning: m.tflite: only 3 runs") for line in told), "a short name tells which"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--fail-if", "p95>+5%"], "'p95' is no metric"),
        (["--fail-if", "p90>+5%"], "there is no baseline"),
        (["--fail-if", "p90>+5%", "--baseline", "missing.json"], "missing.json: No such file"),
    ],
)
def test_wrong_limits_are_told_before_anything_runs(words: list[str], error: str) -> None:
    found = run("never-looked-for.tflite", *words)
    assert isinstance(found.exception, InputError)
    assert error in str(found.exception)


def test_what_was_measured_is_shown_though_the_baseline_does_not_fit(model: Path, baseline: Path) -> None:
    found = run(model, "--runs", 3, "--processes", 1, "--threads", 2, "--baseline", baseline, "--fail-if", "size>+1%")
    assert found.exit_code == InputError.exit_code
    assert "error: " in found.stderr
    assert "threads 1, now 2" in found.stderr
    assert "m.tflite" in found.stdout


def test_a_baseline_without_a_limit_is_wrong_usage(baseline: Path) -> None:
    found = run("never-looked-for.tflite", "--baseline", baseline)
    assert found.exit_code == 2
    assert "--fail-if" in found.stderr


def test_compare_speaks_the_same_language(model: Path, tmp_path: Path) -> None:
    larger = tmp_path / "b.tflite"
    larger.write_bytes(tiny_models.negative((1, 1000), 25))
    words = (model, larger, "--processes", 6, "--samples", 1)
    found = run(*words, "--fail-if", "ratio>50", "--fail-if", "size>+1%", "--json", command=compare.command)
    assert isinstance(found.exception, EdgekitError)
    assert found.exception.exit_code == 1
    assert [one["outcome"] for one in json.loads(found.stdout)["verdicts"]] == ["kept", "exceeded"]
    assert "size>+1%" in str(found.exception)


def test_compare_refuses_what_it_does_not_know() -> None:
    found = run("a", "b", "--fail-if", "rato>1", command=compare.command)
    assert isinstance(found.exception, InputError)
    assert "did you mean 'ratio'?" in str(found.exception)
