"""`check` of a Keras model: the draft has the operators of the file to come, and what TFLite lacks is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgekit.cli.check import command
from edgekit.draft import drafts
from edgekit.errors import GateError, ModelError, RecipeError
from edgekit.model.load import load_model
from edgekit.pipeline import optimize
from edgekit.source_check import check_model, check_on
from edgekit.target import load_target
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.memory_plan import plan_memory


@pytest.fixture(scope="module")
def network() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.Activation("hard_swish")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4, activation="softmax")(x))


@pytest.fixture(scope="module")
def lacking() -> Any:
    """A model with an operation that TFLite has no operator for."""
    import keras

    x = keras.Input((6,))
    return keras.Model(x, keras.ops.erfinv(keras.layers.Dense(4)(x) / 100))


def _plan(data: bytes) -> tuple[list[str], int]:
    contents = read_contents(data)
    return [operator.name for operator in contents.operators], plan_memory(contents, "micro").arena_bytes


def test_a_draft_has_the_operators_and_the_memory_of_the_file_to_come(network: Any, tmp_path: Path) -> None:
    target = load_target("cortex-m7")
    (draft,) = drafts(load_model(network), [target])
    rng = np.random.default_rng(0)
    data = {"x_train": rng.random((40, 12, 12, 3), np.float32), "y_train": np.arange(40) % 4}
    np.savez(tmp_path / "data.npz", **data)
    run = optimize(network, data=tmp_path / "data.npz", targets=["cortex-m7"], out=tmp_path / "out", benchmark=False)
    (made,) = run.artifacts
    assert draft.recipe == "int8"
    assert _plan(draft.data) == _plan((tmp_path / "out" / made.name / made.file).read_bytes())


def test_targets_share_a_draft_where_their_recipes_are_one(network: Any) -> None:
    found = drafts(load_model(network), [load_target(name) for name in ("raspberry-pi-4", "raspberry-pi-5")])
    assert found[0] is found[1]


def test_what_tflite_lacks_is_an_error_on_every_target_and_named(lacking: Any) -> None:
    for result in check_on(lacking, [load_target("raspberry-pi-4"), load_target("cortex-m4")]):
        assert result.findings[0].code == "no-tflite-operator"
        assert "Erfinv" in result.findings[0].problem
        assert result.reaches("error")


def test_the_command_takes_a_keras_file_and_says_that_it_judged_a_draft(network: Any, tmp_path: Path) -> None:
    network.save(tmp_path / "m.keras")
    words = [str(tmp_path / "m.keras"), "-t", "coral-usb", "-r", "int8", "--fail-on", "error"]
    passed = CliRunner().invoke(command, words)
    assert "int8, a draft by recipe int8" in passed.stdout
    assert "making a draft" in passed.stderr
    (result,) = json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)["results"]
    assert result["recipe"] == "int8"
    stopped = CliRunner().invoke(command, [*words[:-1], "warn"])
    assert isinstance(stopped.exception, GateError)


def test_an_open_dimension_is_told_with_its_mend() -> None:
    import keras

    x = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="open dimension besides the batch") as caught:
        check_model(keras.Model(x, keras.layers.Conv2D(2, 3)(x)), "raspberry-pi-4")
    assert "fixed input shape" in caught.value.mend


def test_recipes_with_training_and_recipes_for_a_finished_file_are_refused(network: Any) -> None:
    with pytest.raises(RecipeError, match="conversion and quantization"):
        check_model(network, "raspberry-pi-4", recipe="prune50-int8")
    (draft,) = drafts(load_model(network), [load_target("raspberry-pi-4")], "float32")
    with pytest.raises(RecipeError, match="already"):
        check_model(draft.data, "raspberry-pi-4", recipe="int8")
