"""A student begins with weights from a file where names and shapes fit, and frozen layers stay to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress import compress_model
from edgekit.data.parts import Dataset
from edgekit.dataset import load_for
from edgekit.errors import ModelError, RecipeError
from edgekit.model import load_model
from edgekit.recipe import Recipe
from edgekit.stages.distill import Distill, distill
from edgekit.stages.freezing import frozen
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.stages.transfer import transfer


def _network(classes: int, second: int = 8, seed: int = 0) -> Any:
    """Two blocks of a convolution and a normalization, and a classifier."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    x = image = keras.Input((8, 8, 1), name="image")
    for number, filters in ((1, 6), (2, second)):
        x = layers.Conv2D(filters, 3, padding="same", name=f"block{number}_conv")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"block{number}_norm")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="classes")(x), name="small")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x_train=rng.random((96, 8, 8, 1), np.float32), y_train=np.arange(96) % 4)
    model = load_model(_network(4))
    return load_for(model.inputs, model.outputs, path)


def _weights(model: Any, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    layers = [layer for layer in model.layers if layer.name.startswith(prefix)]
    return {f"{layer.name}/{one.name}": np.asarray(one) for layer in layers for one in layer.weights}


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


SHORT = Training(epochs=2, learning_rate=0.01, batch_size=16)


def test_layers_of_one_name_and_shape_take_over_and_the_others_say_why() -> None:
    source, pupil = _network(10, seed=1), _network(4, second=12, seed=2)
    before = _weights(pupil, "block2")
    found = transfer(pupil, source)
    assert found.loaded == ("block1_conv", "block1_norm")
    assert found.kept["classes"] == "(8, 10) in the file, (12, 4) here"
    assert _same(_weights(pupil, "block1"), _weights(source, "block1"))
    assert _same(_weights(pupil, "block2"), before)
    told = " ".join(found.notes())
    assert "2 of 5 layers" in told
    assert "classes" in told


def test_what_the_file_has_beside_is_named() -> None:
    import keras

    x = keras.Input((8, 8, 1))
    first = keras.layers.Conv2D(6, 3, padding="same", name="block1_conv")(x)
    source = keras.Model(x, keras.layers.Conv2D(2, 1, name="head")(first))
    found = transfer(_network(4), source)
    assert found.unused == ("head",)
    assert found.kept["block2_conv"] == "not in the file"


def test_weights_of_which_nothing_fits_are_an_error_that_names_layers() -> None:
    import keras

    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="elsewhere")], name="other")
    with pytest.raises(RecipeError, match="no layer of 'small' fits one of 'other'") as fault:
        transfer(_network(4), other)
    assert "elsewhere" in fault.value.mend


def test_frozen_layers_stay_to_the_last_bit_and_train_again_afterwards(data: Dataset) -> None:
    model = _network(4)
    trained = fine_tune(model, data, SHORT, freeze=["block1_*"]).model
    assert _same(_weights(trained, "block1"), _weights(model, "block1"))  # moving statistics, too
    assert not _same(_weights(trained, "block2"), _weights(model, "block2"))
    assert not _same(_weights(trained, "classes"), _weights(model, "classes"))
    assert all(layer.trainable for layer in trained.layers)
    assert len(trained.trainable_variables) == len(model.trainable_variables)


def test_without_freezing_the_same_training_moves_them(data: Dataset) -> None:
    model = _network(4)
    assert not _same(_weights(fine_tune(model, data, SHORT).model, "block1"), _weights(model, "block1"))


def test_flags_of_inner_layers_come_back_as_they_were() -> None:
    import keras

    x = keras.Input((4, 8, 8, 1))
    inner = keras.layers.Conv2D(2, 3, name="inner")
    wrapper = keras.layers.TimeDistributed(inner, name="wrapper")
    model = keras.Model(x, keras.layers.Flatten()(wrapper(x)))
    inner.trainable = False
    with frozen(model, ["wrapper"], "fine_tune") as names:
        assert names == ("wrapper",)
        assert not wrapper.trainable
    assert wrapper.trainable
    assert not inner.trainable


def test_flags_inside_a_layer_of_the_users_own_come_back_as_they_were() -> None:
    import keras

    class Block(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="block")
            self.first, self.second = keras.layers.Dense(2), keras.layers.Dense(2)

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.second.build((None, 2))

        def call(self, x: Any) -> Any:
            return self.second(self.first(x))

    block = Block()
    model = keras.Sequential([keras.Input((4,)), block])
    block.first.trainable = False
    with frozen(model, ["block"], "fine_tune"):
        assert not block.second.trainable
    assert (block.trainable, block.first.trainable, block.second.trainable) == (True, False, True)


@pytest.mark.parametrize(("pattern", "mend"), [("blok1_*", "block1_"), ("image", "known|block|classes")])
def test_a_pattern_that_freezes_nothing_is_an_error_with_a_suggestion(data: Dataset, pattern: str, mend: str) -> None:
    with pytest.raises(RecipeError, match="matches no layer") as fault:
        fine_tune(_network(4), data, SHORT, freeze=[pattern])
    assert any(word in fault.value.mend for word in mend.split("|"))


def test_freezing_everything_is_refused(data: Dataset) -> None:
    with pytest.raises(RecipeError, match="every weight"):
        fine_tune(_network(4), data, SHORT, freeze=["*"])


def test_a_resumed_training_is_another_one_with_other_layers_frozen(data: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    fine_tune(_network(4), data, SHORT, checkpoint=tmp_path / "c.npz")
    model = _network(4)
    again = fine_tune(model, data, SHORT, checkpoint=tmp_path / "c.npz", freeze=["block1_*"], say=said.append)
    assert any("begins anew" in line for line in said)
    assert _same(_weights(again.model, "block1"), _weights(model, "block1"))


def test_a_student_begins_with_the_weights_of_a_file_and_keeps_the_frozen_ones(data: Dataset) -> None:
    teacher, student, source = _network(4), _network(4, second=6, seed=3), _network(10, seed=4)
    before = _weights(student, "")
    stage = Distill(student="mine.keras", weights="x.keras", freeze=("block1_*",), training=SHORT)
    done = distill(teacher, student, stage, data, pretrained=source)
    assert _same(_weights(done.model, "block1"), _weights(source, "block1"))
    assert _same(_weights(student, ""), before)  # the user's own stays
    assert any("2 of 5 layers" in note for note in done.report.notes)


def test_a_recipe_says_it_and_the_report_tells_it(data: Dataset, tmp_path: Path) -> None:
    _network(4, second=6).save(tmp_path / "student.keras")
    _network(10, seed=4).save(tmp_path / "x.keras")
    (tmp_path / "r.toml").write_text(
        f"""name = "transfer"

[[stages]]
stage = "distill"
student = "{tmp_path / "student.keras"}"
weights = "{tmp_path / "x.keras"}"
freeze = ["block1_*"]
training = {{ epochs = 1 }}

[[stages]]
stage = "convert"
"""
    )
    done = compress_model(_network(4), Recipe.parse(tmp_path / "r.toml"), data=data)
    (step,) = done.steps
    assert any("begin anew: block2_conv" in note for note in step.report.notes)
    assert _same(_weights(done.model, "block1"), _weights(load_model(tmp_path / "x.keras").keras, "block1"))


def test_weights_need_a_new_student() -> None:
    with pytest.raises(ValueError, match="new student"):
        Distill(weights="x.keras")


def test_weights_that_are_no_model_are_refused(data: Dataset, tmp_path: Path) -> None:
    recipe = Recipe.parse("student50", "float32")
    (stage, *rest) = recipe.stages
    import msgspec

    named = msgspec.structs.replace(stage, weights=str(tmp_path / "none.keras"))
    with pytest.raises(ModelError, match=r"none\.keras"):
        compress_model(_network(4), msgspec.structs.replace(recipe, stages=(named, *rest)), data=data)
