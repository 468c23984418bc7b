"""What the report tells people to do next: commands that the tool takes, and never a package of what missed a gate."""

from __future__ import annotations

import importlib
import shlex

import pytest
from run_examples import int8_file, judged, manifest, run_of

from edgekit.report import words
from edgekit.report.commands import Step, found_steps, next_steps
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


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_search_found_is_measured_and_packaged_by_its_link(family: str) -> None:
    steps = found_steps(family, "raspberry-pi-4")
    assert all("best" in step.command for step in steps)
    assert taken(steps)[-1] == ("compile" if family == "edgetpu" else "package")
