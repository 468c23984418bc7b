"""Outputs of different kinds: each with its own task, metric, weight in training, score in reports, and bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from edgekit.dataset import Dataset, load_dataset, load_for
from edgekit.doctor.case import open_case
from edgekit.doctor.floor import Floor
from edgekit.doctor.repair import repair
from edgekit.errors import DataError, InputError, RecipeError
from edgekit.evaluate import evaluate_model
from edgekit.gate import Gate
from edgekit.metrics import Difference, Score, scores
from edgekit.model import load_model
from edgekit.pipeline import optimize
from edgekit.report.robustness import robustness_text
from edgekit.report.summary import summary_table
from edgekit.robustness import Trial, beside_float, corruption_findings
from edgekit.run import Run
from edgekit.search.budget import Budget
from edgekit.stages.losses import call, hard_loss
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.step import refuse_without_training

_TOML = """
source = "data.npz"

[heads.kind]
task = "classification"

[heads.value]
task = "regression"
metric = "rmse"
loss_weight = 0.25
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with a class and a quantity for outputs, and data for it."""
    import keras

    place = tmp_path_factory.mktemp("heads")
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    inner = keras.layers.Dense(12, activation="relu")(x)
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(inner)
    value = keras.layers.Dense(1, name="value")(inner)
    keras.Model(x, [kind, value]).save(place / "m.keras")
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(240, 6)).astype(np.float32)
    parts = {"train": slice(0, 120), "val": slice(120, 160), "calibration": slice(160, 180), "test": slice(180, 240)}
    found: dict[str, Any] = {}
    for part, rows in parts.items():
        found[f"x_{part}"] = samples[rows]
        found[f"y_{part}.kind"] = samples[rows, :3].argmax(axis=1)
        found[f"y_{part}.value"] = samples[rows].sum(axis=1) / 3 + 0.01
    np.savez(place / "data.npz", **found)
    (place / "data.toml").write_text(_TOML)
    return place


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    model = load_model(folder / "m.keras")
    return load_for(model.inputs, model.outputs, folder / "data.toml")


def test_each_head_has_its_task_its_metric_and_its_weight(data: Dataset) -> None:
    assert data.task == "several"
    assert data.metric is None
    assert data.metrics == ("accuracy", "rmse")
    assert [data.task_of(output) for output in (0, 1)] == ["classification", "regression"]
    assert [data.head(output).loss_weight for output in (0, 1)] == [1.0, 0.25]


def test_labels_of_different_kinds_without_heads_are_an_error_that_names_them(folder: Path) -> None:
    with pytest.raises(DataError, match="different kinds") as fault:
        load_dataset(folder / "data.npz")
    assert "heads" in fault.value.mend


def test_a_head_without_labels_is_named_with_what_it_may_be(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(
        _TOML.replace("data.npz", str(folder / "data.npz")).replace("[heads.kind]", "[heads.kin]")
    )
    with pytest.raises(DataError, match="'kin'") as fault:
        load_dataset(tmp_path / "d.toml")
    assert "kind" in fault.value.mend


def test_one_metric_beside_heads_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="each of the heads"):
        load_dataset(folder / "data.toml", overrides={"metric": "mae"})


def test_the_loss_is_the_weighted_sum_of_the_heads(folder: Path, data: Dataset) -> None:
    model = load_model(folder / "m.keras").keras
    part = data.part("train")
    outputs = call(model, part.array(), training=False)
    assert part.labels is not None
    found = float(hard_loss(model, data, "auto", part.array())(outputs, list(part.labels)))
    kind, value = (np.asarray(output, np.float64) for output in outputs)
    entropy = -np.log(kind[np.arange(len(part)), part.labels[0]]).mean()
    square = ((value[:, 0] - part.labels[1]) ** 2).mean()
    assert found == pytest.approx(entropy + 0.25 * square, rel=1e-4)


def test_a_head_may_name_its_loss(folder: Path) -> None:
    model = load_model(folder / "m.keras")
    options = {"heads.value.loss": "mae", "heads.kind.loss_weight": 1e-9}
    data = load_for(model.inputs, model.outputs, folder / "data.toml", options)
    part = data.part("train")
    outputs = call(model.keras, part.array(), training=False)
    assert part.labels is not None
    found = float(hard_loss(model.keras, data, "auto", part.array())(outputs, list(part.labels)))
    assert found == pytest.approx(0.25 * np.abs(np.asarray(outputs[1])[:, 0] - part.labels[1]).mean(), rel=1e-4)
    stage = QuantizeAware(training=Training(epochs=50))
    refuse_without_training(stage, data)
    other = load_for(model.inputs, model.outputs, folder / "data.toml", {"heads.kind.loss": "mae"})
    with pytest.raises(RecipeError, match="'mae' does not go with classification") as caught:
        refuse_without_training(stage, other)
    assert "heads may name their own" in caught.value.mend


def test_training_lowers_the_error_of_both_heads(folder: Path, data: Dataset) -> None:
    model = load_model(folder / "m.keras").keras
    trained = fine_tune(model, data, Training(epochs=25, learning_rate=0.02, batch_size=32)).model
    part = data.part("test")
    assert part.labels is not None
    before, after = (
        scores(("accuracy", "rmse"), part.labels, [np.asarray(one) for one in call(each, part.array(), training=False)])
        for each in (model, trained)
    )
    assert after[0].value > before[0].value
    assert after[1].value < before[1].value


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "o"


@pytest.fixture(scope="module")
def run(folder: Path, out: Path) -> Run:
    bounds = "kind=50%,value=5"
    return optimize(
        folder / "m.keras", data=folder / "data.toml", out=out, recipes=["int8"], max_drop=bounds, benchmark=False
    )


def test_a_report_has_the_score_of_each_head(run: Run) -> None:
    (manifest,) = run.artifacts
    assert manifest.verification is not None
    assert [score.name for score in manifest.verification.scores] == ["accuracy:kind", "rmse:value"]
    assert len(manifest.verification.answers) == 1  # of the classifier alone
    assert "rmse:value" in summary_table(run)


def test_each_head_is_held_against_its_own_bound(run: Run) -> None:
    assert run.head_drops == {"kind": 0.5, "value": 5}
    assert run.gates == ()
    (manifest,) = run.artifacts
    assert manifest.verification is not None
    kind, value = manifest.verification.differences
    worse = structs.replace(kind, value=-0.04), structs.replace(value, value=0.3)  # less accuracy, a larger error
    poor = structs.replace(manifest, verification=structs.replace(manifest.verification, differences=worse))
    (missed,) = Gate.parse("kind=5%,value=0.2").unmet(poor, *_HEADS)
    assert "rmse:value" in missed
    (missed,) = Gate.parse("kind=3%,value=0.5").unmet(poor, *_HEADS)
    assert "accuracy:kind" in missed


def test_evaluation_scores_each_head(folder: Path) -> None:
    found = evaluate_model(folder / "m.keras", folder / "data.toml")
    assert [score.name for score in found.scores] == ["accuracy:kind", "rmse:value"]


@pytest.mark.usefixtures("run")
def test_corruptions_are_judged_by_the_metric_of_each_head(folder: Path, out: Path) -> None:
    found = beside_float(out / "host/int8", folder / "m.keras", folder / "data.toml")
    assert found.metric == "accuracy, rmse"
    names = ["accuracy:kind", "rmse:value"]
    assert [one.name for one in found.before] == [one.name for one in found.clean.scores] == names
    assert found.trials
    assert all([one.name for one in trial.after] == names for trial in found.trials)
    text = robustness_text(found)
    assert "rmse:value" in text
    assert "accuracy:kind" in text


def test_a_fall_is_held_against_the_bound_of_its_own_metric() -> None:
    def trial(points: float, error: float) -> Trial:
        before = (Score("accuracy:kind", 0.9, 0.9, 0.9, 60, ""), Score("rmse:value", 2.0, 2.0, 2.0, 60, ""))
        behind = tuple(Difference(value, value, value, "by hand", 60) for value in (points, error))
        return Trial("noise", 1, "", before, before, behind, behind)

    both = _HEADS[0]
    assert not [*corruption_findings(both, [trial(-0.04, 0.19)])]  # points of a share; a tenth of an error
    assert [one.problem.split()[0] for one in corruption_findings(both, [trial(-0.06, 0.19)])] == ["accuracy:kind"]
    assert [one.problem.split()[0] for one in corruption_findings(both, [trial(-0.04, 0.21)])] == ["rmse:value"]


@pytest.mark.usefixtures("run")
def test_a_repair_and_a_floor_say_that_they_need_one_metric(folder: Path, out: Path) -> None:
    case = open_case(out / "host/int8", folder / "m.keras", folder / "data.toml")
    with pytest.raises(DataError, match="the heads have several metrics: accuracy, rmse"):
        repair(case.quantized, case.source, case.data)
    with pytest.raises(DataError, match="of one metric"):
        Floor.parse("90%").check(case.data.metric, None)


_HEADS = (("accuracy", "rmse"), ("kind", "value"))


def test_bounds_are_read_by_name_with_one_for_all_others() -> None:
    gate = Gate.parse("kind=1%, 0.2")
    bounds = {name: found.max_drop for name in ("kind", "value") if (found := gate.of(name))}
    assert bounds == {"kind": 0.01, "value": 0.2}
    gate.check(*_HEADS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kin=1%,value=0.2", "'kin'"),
        ("kind=1%", "'value'"),
        ("kind=1%,value=1%", "percentage of rmse"),
        ("kind=3,value=1", "accepts every loss"),
    ],
)
def test_bounds_that_do_not_fit_the_heads_are_named(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Gate.parse(text).check(*_HEADS)


@pytest.mark.parametrize("text", ["kind=1%,kind=2%", "1%,2%", "kind=", "kind=-1"])
def test_bounds_that_are_said_twice_or_not_at_all_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="drop"):
        Gate.parse(text)


def test_a_search_takes_one_bound() -> None:
    with pytest.raises(DataError, match="one loss"):
        Budget.parse(max_drop="kind=1%,value=0.2").refuse_floor((), "accuracy")
