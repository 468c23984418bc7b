"""What the report tells people to do next: commands that the tool takes, and never a package of what missed a gate."""

from __future__ import annotations

import importlib
import shlex

import pytest
from msgspec.structs import replace
from run_examples import int8_file, judged, manifest, run_of

from edgekit.gate import Gate
from edgekit.metrics import Score
from edgekit.report import words
from edgekit.report.commands import Step, found_steps, next_steps, reproduce
from edgekit.run import Run

FAMILIES = ("host", "linux", "android", "edgetpu", "microcontroller")


def taken(steps: tuple[Step, ...]) -> list[str]:
    """The commands' names; click refuses a command with a wrong option."""
    for step in steps:
        tool, name, *rest = shlex.split(step.command)
        assert tool == "edgekit"
        importlib.import_module(f"edgekit.cli.{name}").command.make_context(name, rest)
    return [shlex.split(step.command)[1] for step in steps]


def steps_of(run: Run, family: str) -> list[str]:
    one = run.artifacts[0]
    return taken(next_steps(run, one, words.verdict(run, one), family))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_passed_is_measured_and_packaged(family: str) -> None:
    names = steps_of(run_of([manifest("raspberry-pi-4", "int8", int8_file(), judged(0.97, 0.0))]), family)
    assert names[-1] == "package"
    assert names[:-1] == {"edgetpu": ["compile"], "linux": ["benchmark"], "android": ["benchmark"]}.get(family, [])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_missed_a_gate_is_not_packaged(family: str) -> None:
    bad = manifest("raspberry-pi-4", "int8", int8_file(), judged(0.5, -0.4))
    names = steps_of(run_of([bad], gates=(f"{bad.name} loses 0.4 accuracy, more than 0.01",)), family)
    assert names == ["check", "recommend"]


def test_what_was_not_judged_is_judged_first() -> None:
    assert steps_of(run_of([manifest("host", "int8", int8_file(), judged(0.97, 0.0))], None), "host")[0] == "optimize"


def test_a_bound_is_suggested_only_where_a_metric_is_known() -> None:
    one = manifest("host", "int8", int8_file(), None)
    steps = next_steps(run_of([one]), one, words.Verdict("not verified", "warn"), "host")
    assert "--max-drop" not in " ".join(said.command for said in steps)


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        ({"accuracy": 0.97}, "1%"),
        ({"mae": 0.0031}, "0.000031"),
        ({"mse": 12000.0}, "120"),
        ({"accuracy:kind": 0.9, "auc:sex": 0.9}, "1%"),
        ({"accuracy:kind": 0.9, "mae:age": 4.0}, "kind=1%,age=0.04"),
        ({"accuracy:kind": 0.9, "tasks:cost:age": 4.0}, "kind=1%,age=0.04"),
    ],
)
def test_a_suggested_bound_is_in_the_unit_of_each_metric(values: dict[str, float], bound: str) -> None:
    run = run_of([manifest("host", "int8", int8_file(), judged(0.97, 0.0))], None)
    scores = tuple(Score(name, value, value, value, 9, "t") for name, value in values.items())
    run = replace(run, reference=replace(run.reference, scores=scores))
    first = next_steps(run, run.artifacts[0], words.Verdict("verified", "good"), "host")[0]
    assert shlex.split(first.command)[-4:-2] == ["--max-drop", bound]
    outputs = [words.output_of(name) for name in values] if len(values) > 1 else []
    Gate.parse(bound).check([words.metric_of(name) for name in values], outputs)


def test_the_bound_of_a_run_is_repeated_as_the_tool_takes_it() -> None:
    run = run_of([manifest("host", "int8", int8_file(), judged(0.97, 0.0))], 5e-05)
    assert "--max-drop 0.00005 " in reproduce(run)[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_search_found_is_measured_and_packaged_by_its_link(family: str) -> None:
    steps = found_steps(family, "raspberry-pi-4")
    assert all("best" in step.command for step in steps)
    assert taken(steps)[-1] == ("compile" if family == "edgetpu" else "package")
