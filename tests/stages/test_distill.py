"""Distillation: the loss of the papers, only the student learns, the teacher speaks once, and it helps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from architectures import ALL, OWN, build, outputs, samples

from edgekit import strict_toml
from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import DataError, RecipeError
from edgekit.model import load_model
from edgekit.run_stage import run_stage
from edgekit.stages import teacher as teachers
from edgekit.stages.distill import Distill, Hint, distill
from edgekit.stages.lesson import Blend, Lesson
from edgekit.stages.soft_losses import attention_loss, feature_loss, soft_loss
from edgekit.stages.student import channels, narrowed
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.step import Surroundings
from edgekit.tf import import_keras

QUICK = Training(epochs=2, batch_size=64, learning_rate=3e-3, patience=0)


@pytest.fixture(scope="module")
def teacher(digits: Path) -> Any:
    model = load_model(digits / "digits.keras").keras
    for number, layer in enumerate(model.layers[:-1]):
        layer.name = f"{type(layer).__name__.lower()}_{number}"
    return model


@pytest.fixture(scope="module")
def data(digits: Path, teacher: Any) -> Dataset:
    with np.load(digits / "digits.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
        rest = {"x_validation": x[900:], "y_validation": y[900:], "x_calibration": x[:20]}
        path = digits / f"distillation-{os.getpid()}.npz"
        np.savez(path, x_train=x[:900], y_train=y[:900], x_test=arrays["x_test"], y_test=arrays["y_test"], **rest)
    return match(load_dataset(path), teacher.inputs, teacher.outputs)


def pupil(filters: int = 4, seed: int = 0, head: str | None = None, classes: int = 10) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name="first")(
        layers.Rescaling(1 / 16)(x)
    )
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Dense(classes, activation=head, name="digit")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="pupil")


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def tensor(values: Any) -> Any:
    return import_keras().ops.convert_to_tensor(np.asarray(values, np.float32))


# The losses, against the formulas in numpy.


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_the_loss_of_classes_is_that_of_the_paper(t: float) -> None:
    rng = np.random.default_rng(0)
    theirs, ours = rng.normal(0, 3, (2, 16, 10))
    p, q = softmax(theirs / t), softmax(ours / t)
    golden = t**2 * (p * (np.log(p) - np.log(q))).sum(-1).mean()
    found = {
        kind: float(soft_loss([tensor(given)], [kind], tensor(ours), "logits", "classes", t))
        for kind, given in (("logits", theirs), ("softmax", softmax(theirs)))
    }
    assert found == {"logits": pytest.approx(golden, rel=1e-3), "softmax": pytest.approx(golden, rel=1e-3)}
    assert float(soft_loss([tensor(ours)], ["logits"], tensor(ours), "logits", "classes", t)) == pytest.approx(
        0, abs=1e-4
    )


def test_several_teachers_are_averaged_after_softening() -> None:
    rng = np.random.default_rng(1)
    first, second, ours = rng.normal(0, 3, (3, 16, 10))
    p, q = (softmax(first / 2) + softmax(second / 2)) / 2, softmax(ours / 2)
    golden = 4 * (p * (np.log(p) - np.log(q))).sum(-1).mean()
    both = [tensor(first), tensor(second)]
    assert float(soft_loss(both, ["logits"] * 2, tensor(ours), "logits", "classes", 2.0)) == pytest.approx(
        golden, rel=1e-3
    )


def test_yes_or_no_and_values_have_their_own_form() -> None:
    rng = np.random.default_rng(2)
    theirs, ours = rng.normal(0, 2, (2, 16, 1))
    p, q = (1 / (1 + np.exp(-z / 3)) for z in (theirs, ours))
    golden = 9 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    found = soft_loss([tensor(theirs)], ["logits"], tensor(ours), "logits", "yes or no", 3.0)
    assert float(found) == pytest.approx(golden, rel=1e-3)
    values = soft_loss([tensor(theirs)], ["logits"], tensor(ours), "logits", "values", 3.0)
    assert float(values) == pytest.approx(((theirs - ours) ** 2).mean(), rel=1e-4)


def test_hints_are_those_of_the_papers() -> None:
    rng = np.random.default_rng(3)
    theirs, ours, matrix = rng.normal(size=(4, 5, 5, 6)), rng.normal(size=(4, 5, 5, 3)), rng.normal(size=(3, 6))
    projection = import_keras().Variable(matrix, dtype="float32")
    golden = ((theirs - ours @ matrix) ** 2).mean() / 2
    assert float(feature_loss(tensor(theirs), tensor(ours), projection)) == pytest.approx(golden, rel=1e-4)
    maps = [(a**2).sum(-1).reshape(4, -1) for a in (theirs, ours)]
    maps = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in maps]
    golden = np.linalg.norm(maps[0] - maps[1], axis=1).mean() / 2
    assert float(attention_loss(tensor(maps[0]), tensor(ours))) == pytest.approx(golden, rel=1e-4)


def test_the_whole_loss_is_the_weighted_sum(teacher: Any, data: Dataset) -> None:
    student, part = pupil(), data.part("validation")
    stage = Distill(temperature=3.0, alpha=0.6, training=Training(epochs=1))
    found = distill(teacher, student, stage, data).history[0].validation_loss
    z = np.asarray(student(part.array()[0]))
    p, q = softmax(np.log(np.asarray(teacher(part.array()[0])) + 1e-30) / 3), softmax(z / 3)
    soft = 9 * (p * (np.log(p) - np.log(q))).sum(-1).mean()
    hard = -np.log(softmax(z)[np.arange(len(z)), part.labels[0]]).mean()
    assert found == pytest.approx(0.6 * soft + 0.4 * hard, rel=1e-3)


# Training.


def test_a_distilled_student_beats_one_that_has_only_poor_labels(teacher: Any, data: Dataset) -> None:
    training = Training(epochs=12, batch_size=32, learning_rate=0.01, patience=0)
    rng, part, train = np.random.default_rng(0), data.part("test"), data.part("train")
    wrong = rng.random(len(train)) < 0.4
    labels = np.where(wrong, rng.integers(0, 10, len(train)), train.labels[0])
    poor = replace(data, train=replace(train, labels=(labels,)))

    def accuracy(model: Any) -> float:
        return float((np.asarray(model(part.array()[0])).argmax(1) == part.labels[0]).mean())

    for seed in (0, 1):
        student = pupil(8, seed=seed)
        alone = accuracy(fine_tune(student, poor, training, seed=seed).model)
        assert accuracy(distill(teacher, student, Distill(alpha=0.9, training=training), poor, seed=seed).model) > alone


def test_only_the_student_learns_and_the_same_seed_gives_the_same(teacher: Any, data: Dataset) -> None:
    student = pupil()
    before = [teacher.get_weights(), student.get_weights()]
    hints = (Hint("conv2d_4", "first", "feature"), Hint("conv2d_10", "second"))
    stage = Distill(hints=hints, training=QUICK)
    first, second = (distill(teacher, student, stage, data) for _ in range(2))
    after = [teacher.get_weights(), student.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip([*before[0], *before[1]], [*after[0], *after[1]], strict=True))
    for a, b, c in zip(first.model.get_weights(), second.model.get_weights(), before[1], strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    assert len(first.model.get_weights()) == len(before[1])
    assert first.report.notes == ("a teacher gives probabilities: their logits were recovered as logarithms",)


@pytest.mark.parametrize("kind", ["feature", "attention"])
def test_hints_bring_the_layers_together(teacher: Any, data: Dataset, kind: str) -> None:
    training = Training(epochs=6, batch_size=32, learning_rate=5e-3, patience=0, monitor="loss")
    hints = (Hint("conv2d_4", "first", kind, weight=10.0),)
    history = distill(teacher, pupil(), Distill(alpha=0.0, hints=hints, training=training), data).history
    plain = distill(teacher, pupil(), Distill(alpha=0.01, training=training), data).history
    assert history[0].validation_loss > plain[0].validation_loss + 0.1
    drop = history[0].validation_loss - history[-1].validation_loss
    assert drop > plain[0].validation_loss - plain[-1].validation_loss + 0.1


def test_the_teacher_speaks_once_and_another_teacher_or_other_data_is_asked_anew(
    teacher: Any, data: Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    runs: list[str] = []
    real = teachers._run

    def counted(model: Any, part: Any, looks: Any) -> Any:
        runs.append(part.name)
        return real(model, part, looks)

    monkeypatch.setattr(teachers, "_run", counted)
    stage = Distill(training=Training(epochs=2, batch_size=64))
    first = distill(teacher, pupil(), stage, data, cache=tmp_path)
    said: list[str] = []
    second = distill(teacher, pupil(), stage, data, cache=tmp_path, say=said.append)
    assert runs == ["train", "validation"]
    assert said[0].endswith("train part: kept from before")
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True))
    assert all(path.suffix == ".npy" for path in tmp_path.iterdir())
    fewer = replace(data, train=data.part("train").select(np.arange(500)))
    distill(teacher, pupil(), stage, fewer, cache=tmp_path)
    distill(pupil(8), pupil(), stage, data, cache=tmp_path)
    assert runs == ["train", "validation", "train", "train", "validation"]


def test_an_interrupted_distillation_goes_on_to_the_same_student(teacher: Any, data: Dataset, tmp_path: Path) -> None:
    from edgekit.stages.training import Callback

    class Stop(Callback):
        armed = True

        def before_step(self, step: int) -> None:
            if self.armed and step == 20:
                raise KeyboardInterrupt

    stage = Distill(alpha=0.9, alpha_end=0.1, hints=(Hint("conv2d_4", "first", "feature"),), training=QUICK)
    settings: dict[str, Any] = {"cache": tmp_path / "cache", "callbacks": [Stop()]}
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, pupil(), stage, data, checkpoint=tmp_path / "c", **settings)
    Stop.armed = False
    said: list[str] = []
    again = distill(teacher, pupil(), stage, data, checkpoint=tmp_path / "c", say=said.append, **settings)
    whole = distill(teacher, pupil(), stage, data, **settings)
    assert any("goes on after epoch 1" in line for line in said)
    assert all(np.array_equal(a, b) for a, b in zip(again.model.get_weights(), whole.model.get_weights(), strict=True))


def test_alpha_is_chosen_on_the_validation_part(teacher: Any, data: Dataset) -> None:
    said: list[str] = []
    training = Training(epochs=4, batch_size=32, learning_rate=5e-3, patience=0)
    found = distill(teacher, pupil(), Distill(tune_alpha=(0.2, 0.9), training=training), data, say=said.append)
    tried = [line for line in said if "distill: alpha" in line]
    assert len(tried) == 2
    best = max(tried, key=lambda line: float(line.rsplit(" ", 1)[1]))
    assert f"alpha {found.report.alpha:g} gives" in best


def test_an_alpha_of_zero_may_be_tried(teacher: Any, data: Dataset) -> None:
    training = Training(epochs=1, batch_size=256, patience=0)
    assert distill(teacher, pupil(), Distill(tune_alpha=(0.0, 0.5), training=training), data).report.alpha in (0.0, 0.5)


def test_no_alpha_is_tried_where_no_metric_says_which_is_best(teacher: Any, data: Dataset) -> None:
    by_loss = Distill(tune_alpha=(0.2, 0.9), training=Training(monitor="loss"))
    with pytest.raises(RecipeError, match="chooses by a metric"):
        distill(teacher, pupil(), by_loss, data)
    bare = replace(data, validation=replace(data.part("validation"), labels=None))
    with pytest.raises(RecipeError, match="chooses by a metric"):
        distill(teacher, pupil(), Distill(tune_alpha=(0.2, 1.0)), bare)


def test_zeros_that_a_derived_student_begins_with_are_trained(data: Dataset) -> None:
    keras = import_keras()
    layers = [keras.layers.Dense(16, kernel_initializer="identity", name="wide"), keras.layers.Dense(10)]
    wide = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *layers])
    stage = Distill(width=0.5, training=QUICK)
    student = run_stage(wide, stage, Surroundings(wide, replace(data, validation=None))).model
    assert (np.asarray(student.get_layer("wide").kernel) == 0).mean() < 0.5


def test_without_labels_the_teacher_alone_teaches(teacher: Any, data: Dataset) -> None:
    bare = replace(data, train=replace(data.part("train"), labels=None))
    found = distill(teacher, pupil(), Distill(alpha=1.0, training=QUICK), bare)
    assert found.history[2].value > found.history[0].value
    with pytest.raises(DataError, match="no labels"):
        distill(teacher, pupil(), Distill(alpha=0.9, training=QUICK), bare)


def test_several_teachers_and_quantities(tmp_path: Path) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)

    def network(units: int) -> Any:
        x = keras.Input((5,), name="x")
        return keras.Model(x, keras.layers.Dense(1)(keras.layers.Dense(units, activation="tanh")(x)))

    experts = [network(32), network(32)]
    x = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    y = sum(np.asarray(expert(x)) for expert in experts)[:, 0] / 2
    np.savez(tmp_path / "data.npz", x_train=x[:300], y_train=y[:300], x_validation=x[300:], y_validation=y[300:])
    found = load_dataset(tmp_path / "data.npz", overrides={"task": "regression"})
    data = match(found, experts[0].inputs, experts[0].outputs)
    training = Training(epochs=20, batch_size=16, learning_rate=0.01, patience=0)
    taught = distill(experts, network(8), Distill(alpha=1.0, training=training), data)
    assert taught.history[-1].validation_loss < taught.history[0].validation_loss / 4
    assert len(taught.report.teachers) == 2


def test_quantities_behind_a_sigmoid_are_taught_by_the_mean_square(tmp_path: Path) -> None:
    keras = import_keras()
    x = keras.Input((3,), name="x")
    expert, student = (keras.Model(x, keras.layers.Dense(4, activation="sigmoid")(x)) for _ in range(2))
    samples = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    answers = np.asarray(expert(samples))
    np.savez(tmp_path / "data.npz", x_train=samples, y_train=answers, x_test=samples[:9], y_test=answers[:9])
    found = load_dataset(tmp_path / "data.npz")
    lesson = Lesson([expert], student, match(found, expert.inputs, expert.outputs), Blend(1, 1), "auto")
    said = np.asarray(student(samples))
    assert float(lesson.loss([said], [answers], 0)) == pytest.approx(float(((said - answers) ** 2).mean()), rel=1e-5)
    assert not lesson.guesses_logits


# Students.


def test_channels_are_multiples_and_never_more() -> None:
    assert [channels(count, 0.5, 8) for count in (64, 24, 8, 4)] == [32, 16, 8, 4]
    assert channels(30, 0.9, 8) == 24


SWEEP = [name if name in OWN else pytest.param(name, marks=pytest.mark.slow) for name in ALL]


@pytest.mark.covers("student")
@pytest.mark.parametrize("name", SWEEP)
def test_every_architecture_is_narrowed(name: str, record_property: Any) -> None:
    model = build(name)
    if name == "vit":  # a constant of its width
        record_property("covered", "refused")
        with pytest.raises(RecipeError, match="student of your own"):
            narrowed(model, 0.5, multiple=2)
        return
    student = narrowed(model, 0.5, multiple=2, seed=3)
    found = outputs(student, samples(model))
    assert [output.shape for output in found] == [output.shape for output in outputs(model, samples(model))]
    assert all(np.isfinite(output).all() for output in found)
    assert student.count_params() < 0.75 * model.count_params()
    again = narrowed(model, 0.5, multiple=2, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(student.get_weights(), again.get_weights(), strict=True))


def test_a_student_is_derived_and_learns(teacher: Any, data: Dataset) -> None:
    stage = Distill(width=0.25, training=Training(epochs=6, batch_size=32, learning_rate=5e-3, patience=0))
    found = distill(teacher, None, stage, data)
    assert found.model.get_layer("conv2d_4").filters == 16
    assert found.model.get_layer("digit").units == 10
    assert found.report.student_parameters < found.report.teacher_parameters / 8
    assert found.history[-1].value > 0.8


def test_functions_of_ones_own_are_taken_over_by_a_student() -> None:
    keras = import_keras()
    x = keras.layers.Dense(32, activation=lambda x: x * x, name="square")(inputs := keras.Input((4,)))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Lambda(lambda x: 2 * x)(x)))
    student, given = narrowed(model, 0.5), np.ones((3, 4), np.float32)
    hidden = np.square(given @ np.asarray(student.get_layer("square").kernel))
    assert hidden.shape == (3, 16)
    np.testing.assert_allclose(student(given), 2 * hidden @ np.asarray(student.layers[-1].kernel), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_narrowed_is_said_with_the_mend() -> None:
    keras = import_keras()
    x = keras.Input((8, 8, 16))
    y = keras.layers.Conv2D(16, 3, padding="same", name="branch")(x) + x
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(y)), name="skipping")
    for network, said in ((model, "'skipping' cannot be narrowed"), (build("vit"), "broadcast")):
        with pytest.raises(RecipeError, match=said) as caught:
            narrowed(network, 0.5)
        assert "student of your own" in caught.value.mend


# What is refused.


def test_teacher_and_student_that_do_not_fit_are_both_named(teacher: Any, data: Dataset) -> None:
    with pytest.raises(RecipeError, match=r"teacher 'digits' gives \[\(10,\)\], student 'pupil' gives \[\(7,\)\]"):
        distill(teacher, pupil(classes=7), Distill(training=QUICK), data)
    with pytest.raises(RecipeError, match="neither a student nor a width"):
        distill(teacher, None, Distill(training=QUICK), data)
    with pytest.raises(RecipeError, match="both a student and a width"):
        distill(teacher, pupil(), Distill(width=0.5, training=QUICK), data)


def test_outputs_of_one_shape_in_another_order_are_refused(data: Dataset) -> None:
    layers = import_keras().layers
    x = import_keras().Input((4,))
    heads = [layers.Dense(1, name=name)(x) for name in ("gender", "glasses")]
    first, other = (import_keras().Model(x, outputs) for outputs in (heads, heads[::-1]))
    said = "the student gives glasses, gender, the teacher gives gender, glasses"
    with pytest.raises(RecipeError, match=said) as caught:
        distill(first, other, Distill(training=QUICK), data)
    assert "teacher's order" in caught.value.mend


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Hint("conv2d_4", "frist"), "'frist' of 'pupil' does not exist"),
        (Hint("conv2d_44", "first"), "'conv2d_44' of 'digits' does not exist"),
        (Hint("conv2d_4", "digit"), "no positions"),
        (Hint("conv2d_4", "digit", "feature"), "cannot be compared"),
    ],
)
def test_hints_that_name_no_layer_or_do_not_fit_are_refused(teacher: Any, data: Dataset, hint: Hint, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        distill(teacher, pupil(), Distill(hints=(hint,), training=QUICK), data)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": 0.0}, "hints"),
        ({"alpha": 1.5}, "<= 1"),
        ({"temperature": 0.0}, "> 0"),
        ({"width": 1.0}, "< 1"),
        ({"tune_alpha": [0.5]}, "two values"),
        ({"tune_alpha": [0.5, 0.9], "alpha_end": 0.1}, "no alpha_end"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"stage": "distill", **wrong}, Distill)


def test_the_stage_goes_to_toml_and_back() -> None:
    stage = Distill(alpha_end=0.2, hints=(Hint("a", "b", "feature", 2.0),), width=0.5, training=QUICK)
    assert strict_toml.loads(strict_toml.dumps(stage), Distill, RecipeError) == stage


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_space_for_what_a_teacher_says_is_taken_at_once(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while a map of a file with holes is written to kills the process."""
    if system == "macos":
        monkeypatch.delattr(os, "posix_fallocate")
    path = tmp_path / "said.npy"

    def batches() -> Iterator[list[Any]]:
        for _ in range(4):
            yield [np.ones((16, 4096), np.float32)]
            [partial] = tmp_path.iterdir()
            assert partial.stat().st_blocks * 512 >= partial.stat().st_size > 64 * 4096 * 4

    teachers._store([path], batches(), 64)
    assert np.load(path).sum() == 64 * 4096
