"""What the report tells people to do next: commands that the tool takes, and never a package of what missed a gate."""

from __future__ import annotations

import importlib
import shlex

import pytest
from msgspec.structs import replace
from run_examples import float_file, int8_file, judged, manifest, run_of

from edgekit.artifact import Manifest
from edgekit.cli.model_options import collect
from edgekit.data.spec import DataSpec, overridden
from edgekit.doctor.diagnosis import Diagnosis
from edgekit.errors import GateError
from edgekit.finding import Finding
from edgekit.gate import Gate, unrunnable
from edgekit.metrics import Score
from edgekit.recipe import Recipe
from edgekit.report import words
from edgekit.report.commands import Step, found_steps, next_steps, reproduce
from edgekit.run import Run
from edgekit.target import load_target

FAMILIES = ("host", "linux", "android", "edgetpu", "microcontroller")
EXPLAINED = Diagnosis("validation", 9, "accuracy", 0.9, 0.5, (), (), True)


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


@pytest.mark.parametrize(
    ("family", "target", "phrase", "models"),
    [
        ("linux", "raspberry-pi-4", "int8", ["raspberry-pi-4/int8"]),
        ("android", "android-arm64", "int8", ["android-arm64/int8"]),
        ("android", "android-gpu", "float16", ["gpu=android-gpu/float16"]),
        ("edgetpu", "coral-usb", "int8", ["edgetpu=compiled/digits-int8_edgetpu.tflite", "cpu=coral-usb/int8"]),
    ],
)
def test_the_folder_is_packaged_for_its_unit_with_what_its_manifest_knows(
    family: str, target: str, phrase: str, models: list[str]
) -> None:
    one = manifest(target, phrase, int8_file() if phrase == "int8" else float_file(), judged(0.97, 0.0))
    step = next_steps(run_of([one]), one, words.Verdict("verified", "good"), family)[-1]
    said = shlex.split(step.command)
    assert said[2 : said.index("--for")] == models
    assert said[-2:] == ["-o", f"package-{target}"]


def test_a_board_whose_firmware_runs_beside_the_edge_tpu_gets_no_package_for_linux() -> None:
    target = load_target("coral-dev-board-micro")
    run = run_of([manifest(target.name, "int8", int8_file(), judged(0.97, 0.0))])
    assert steps_of(run, target.kind) == ["compile"]
    assert load_target("coral-dev-board").kind == "edgetpu"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_missed_a_gate_is_not_packaged(family: str) -> None:
    bad = manifest("raspberry-pi-4", "int8", int8_file(), judged(0.5, -0.4))
    names = steps_of(run_of([bad], gates=(f"{bad.name} loses 0.4 accuracy, more than 0.01",)), family)
    assert names == ["optimize", "recommend"]


def test_what_its_target_refuses_is_checked() -> None:
    bad = refused(manifest("raspberry-pi-4", "int8", int8_file(), judged(0.97, 0.0)))
    assert steps_of(run_of([bad], gates=tuple(unrunnable(bad))), "linux") == ["check", "recommend"]


@pytest.mark.parametrize(
    ("phrase", "retry"),
    [
        ("int16x8", "qat-int8"),
        ("float16", "qat-int8"),
        ("qat-int8", "qat-int8:epochs=3x"),
        ("qat-int8:epochs=3x", "qat-int8:epochs=6x"),
        ("prune50-int8:epochs=3,io=uint8", "prune50-int8:io=uint8,epochs=6"),
        ("prune50-int8:one-shot", "prune50-int8"),
    ],
)
def test_what_only_lost_accuracy_is_trained_or_trained_longer(phrase: str, retry: str) -> None:
    bad = manifest("host", phrase, int8_file(), judged(0.5, -0.4))
    run = run_of([bad], gates=(f"{bad.name} loses 0.4 accuracy, more than 0.01",))
    steps = next_steps(run, bad, words.verdict(run, bad), "host")
    assert taken(steps) == ["optimize", "recommend"]
    assert shlex.split(steps[0].command)[-3] == retry


def test_a_recipe_of_a_file_has_no_phrase_to_train_longer_by() -> None:
    bad = manifest("host", "qat-int8", int8_file(), judged(0.5, -0.4))
    bad = replace(bad, recipe=replace(bad.recipe, name="mine"))
    assert steps_of(run_of([bad], gates=(f"{bad.name} loses 0.4 accuracy, more than 0.01",)), "host") == ["recommend"]


def test_a_file_that_trains_otherwise_than_its_name_says_has_no_phrase_to_train_longer_by() -> None:
    bad = manifest("host", "channels50-int8", int8_file(), judged(0.5, -0.4))
    much = Recipe.parse("channels50-int8:epochs=100")
    bad = replace(bad, recipe=replace(bad.recipe, stages=(*much.compression, *bad.recipe.stages[2:])))
    assert steps_of(run_of([bad], gates=(f"{bad.name} loses 0.4 accuracy, more than 0.01",)), "host") == ["recommend"]


def test_a_file_is_repaired_for_the_target_that_it_was_made_for() -> None:
    bad = manifest("cortex-m4", "int8", int8_file(), judged(0.5, -0.4))
    gates = (f"{bad.name} loses 0.4 accuracy, more than 0.01",)
    run = replace(run_of([bad], gates=gates), diagnoses={bad.name: EXPLAINED})
    steps = next_steps(run, bad, words.verdict(run, bad), "microcontroller")
    assert taken(steps) == ["doctor", "optimize"]
    assert "-t cortex-m4" in steps[0].command


def test_heads_of_several_metrics_are_not_sent_to_a_repair_that_takes_one() -> None:
    bad = manifest("cortex-m4", "int8", int8_file(), judged(0.5, -0.4))
    gates = (f"{bad.name} loses 0.4 accuracy, more than 0.01",)
    run = replace(run_of([bad], gates=gates), diagnoses={bad.name: EXPLAINED}, metric=None)
    steps = next_steps(run, bad, words.verdict(run, bad), "microcontroller")
    assert taken(steps) == ["optimize", "recommend"]
    assert "--repair" not in _way_out(run)


def test_commands_read_the_data_as_the_run_did() -> None:
    options = {"task": "classification", "metric": "auc", "preprocessing": {"scale": [0.5]}, "classes": ["a b", "c"]}
    bad = manifest("cortex-m4", "int8", int8_file(), judged(0.5, -0.4))
    gates = (f"{bad.name} loses 0.4 accuracy, more than 0.01",)
    run = replace(run_of([bad], gates=gates), diagnoses={bad.name: EXPLAINED}, data_options=options)
    steps = next_steps(run, bad, words.verdict(run, bad), "microcontroller")
    assert taken(steps) == ["doctor", "optimize"]
    for each in (*(step.command for step in steps), reproduce(run)[-1]):
        given = shlex.split(each)
        name, rest = given[1], given[2:]
        context = importlib.import_module(f"edgekit.cli.{name}").command.make_context(name, rest)
        said = collect(context.params["metric"], context.params["task"], context.params["pairs"])
        assert overridden(DataSpec(), said) == overridden(DataSpec(), options)


def test_a_missed_gate_names_a_way_out_that_the_tool_takes() -> None:
    lost = manifest("cortex-m4", "int8", int8_file(), judged(0.5, -0.4))
    run = run_of([lost], gates=(f"{lost.name} loses 0.4 accuracy, more than 0.01",))
    assert "loosen the gate" in _way_out(run)
    repair = _way_out(replace(run, diagnoses={lost.name: EXPLAINED})).split("; ")[1]
    assert taken((Step("", repair),)) == ["doctor"]
    assert {"--repair", "-o"} <= {*shlex.split(repair)}, "and no -t: the artifact says its target, which may be a file"


def test_no_bound_helps_what_cannot_run_on_its_target() -> None:
    bad = refused(manifest("raspberry-pi-4", "int8", int8_file(), judged(0.97, 0.0)))
    lost = f"{bad.name} loses 0.4 accuracy, more than 0.01"
    assert "loosen the gate" not in _way_out(run_of([bad], gates=tuple(unrunnable(bad))))
    assert "loosen the gate" in _way_out(run_of([bad], gates=(*unrunnable(bad), lost)))


def refused(one: Manifest) -> Manifest:
    """The same, with an operator that the target does not run."""
    return replace(one, findings=(Finding("error", "unsupported-operator", "DIV", "it has no DIV"),))


def _way_out(run: Run) -> str:
    with pytest.raises(GateError) as missed:
        run.accept()
    return missed.value.mend


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
