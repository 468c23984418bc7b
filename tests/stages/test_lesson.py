"""Lesson: any stage that trains can learn from the float model, and then needs no labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.compress import compress_model
from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import DataError
from edgekit.recipe import Recipe
from edgekit.stages.cluster import Cluster, cluster
from edgekit.stages.factorize import Factorize, factorize
from edgekit.stages.lesson import Blend, Lesson, Teacher, taught
from edgekit.stages.prune_weights import PruneWeights, prune_weights
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.tf import import_keras

ONE = Training(epochs=1, batch_size=32, patience=0)


@pytest.fixture(scope="module")
def model() -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    hidden = keras.layers.ReLU()(keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 16)(image)))
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(hidden)))


@pytest.fixture(scope="module")
def data(digits: Path, model: Any) -> Dataset:
    return match(load_dataset(digits / "digits.npz"), model.inputs, model.outputs)


def unlabelled(data: Dataset) -> Dataset:
    assert data.train is not None
    return dataclasses.replace(data, train=dataclasses.replace(data.train, labels=None), validation=None)


def test_a_network_is_its_own_best_pupil(data: Dataset, model: Any) -> None:
    trained = fine_tune(model, data, ONE, objective=taught(Teacher(model), 1.0))
    assert trained.history[0].validation_loss == pytest.approx(0, abs=1e-4)


def test_the_shares_add_up(data: Dataset, model: Any) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(1)
    other = keras.models.clone_model(model)

    def before(share: float) -> float:
        found = fine_tune(model, data, ONE, objective=taught(Teacher(other), share)).history[0].validation_loss
        assert found is not None
        return found

    assert before(0.25) == pytest.approx(0.75 * before(0.0) + 0.25 * before(1.0), rel=1e-4)


@pytest.mark.parametrize(
    ("run", "stage"),
    [
        (prune_weights, PruneWeights(0.5, training=ONE)),
        (cluster, Cluster(8, training=ONE)),
        (factorize, Factorize(macs=0.9, training=ONE)),
    ],
)
def test_with_a_whole_teacher_no_labels_are_needed(run: Any, stage: Any, data: Dataset, model: Any) -> None:
    with pytest.raises(DataError, match="labels"):
        run(model, stage, unlabelled(data))
    done = run(model, msgspec.structs.replace(stage, teacher=1.0), unlabelled(data))
    assert np.isfinite(done.history[-1].loss)


@pytest.mark.parametrize(
    ("activation", "labels", "settings", "form"),
    [
        ("softplus", np.linspace(0.1, 0.9, 40), {"task": "regression"}, "values"),
        (None, [[1, 1], [0, 1]] * 20, {"task": "classification", "metric": "auc"}, "yes or no"),
    ],
)
def test_the_task_says_how_outputs_are_compared(
    activation: str | None, labels: Any, settings: dict[str, str], form: str, tmp_path: Path
) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    y = np.asarray(labels)
    x = keras.Input((3,))
    network = keras.Model(x, keras.layers.Dense(1 if y.ndim == 1 else 2, activation=activation)(x))
    np.savez(tmp_path / "d.npz", x_train=np.full((40, 3), 0.01, np.float32), y_train=y, x_test=np.ones((2, 3)))
    data = match(load_dataset(tmp_path / "d.npz", overrides=settings), network.inputs, network.outputs)
    assert Lesson([network], network, data, Blend(0.5, 0.5), "auto").forms == [form]


def test_the_model_that_came_in_teaches_all_stages(digits: Path, model: Any, tmp_path: Path) -> None:
    recipe = Recipe.parse("prune50-cluster8:epochs=1", "float32")
    compress_model(model, recipe, data=digits / "digits.npz", folder=tmp_path)
    assert len(list((tmp_path / "teachers").glob("*.npy"))) == 2, "one for each part, made once for both stages"
