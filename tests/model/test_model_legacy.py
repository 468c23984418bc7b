"""Legacy .h5 files: what Keras 3 refuses is healed and gives the outputs of tf_keras, or is refused with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.model import load_model
from edgekit.tf import import_keras

tk = pytest.importorskip("tf_keras")
layers = tk.layers
pytestmark = pytest.mark.filterwarnings("ignore")


def sequential(shape: tuple[int, ...], *parts: Any) -> Any:
    return tk.Sequential([layers.Input(shape), *parts])


def named_with_slashes() -> Any:
    x = layers.Input((4,), name="in/put")
    y = layers.Dense(4, name="a/c")(layers.Dense(4, name="a/b")(x))
    return tk.Model(x, layers.Dense(4, name="a_b")(y), name="my/model")


def nested_and_shared() -> Any:
    outer, inner = layers.Input((4,)), layers.Input((4,))
    part = tk.Model(inner, [layers.Dense(4)(layers.BatchNormalization()(inner)), layers.Dense(2)(inner)])
    first, side = part(outer)
    second, _ = part(first)
    return tk.Model(outer, [tk.Sequential([layers.Input((4,)), layers.Dense(3)])(second), side])


def partly_frozen_inside() -> Any:
    inner = sequential((4,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4), layers.Dense(4))
    inner.layers[0].trainable = inner.layers[3].trainable = False
    return tk.Sequential([layers.Input((4,)), inner, layers.Dense(2)])


def attention() -> Any:
    x = layers.Input((6, 8))
    return tk.Model(x, layers.MultiHeadAttention(2, 4)(query=x, value=x, key=x))


def encoder_decoder() -> Any:
    source, target = layers.Input((5, 3)), layers.Input((5, 3))
    _, h, c = layers.LSTM(4, return_state=True)(source)
    return tk.Model([source, target], layers.LSTM(4, return_sequences=True)(target, initial_state=[h, c]))


def compiled(optimizer: str, loss: Any) -> Any:
    model = sequential((4,), layers.Dense(2))
    model.compile(optimizer, loss)
    return model


def over_time() -> Any:
    inner = sequential((6, 6, 3), layers.DepthwiseConv2D(3, name="d"), layers.GlobalAveragePooling2D())
    return sequential((3, 6, 6, 3), layers.TimeDistributed(inner))


IMAGE, SERIES = (8, 8, 3), (6, 4)
HEALED: dict[str, tuple[Callable[[], Any], str]] = {
    "depthwise": (lambda: sequential(IMAGE, layers.DepthwiseConv2D(3, depth_multiplier=2)), "`groups`"),
    "separable": (lambda: sequential(IMAGE, layers.SeparableConv2D(4, 3)), "`groups`"),
    "transposed": (lambda: sequential(IMAGE, layers.Conv2DTranspose(4, 3, strides=2)), "`groups`"),
    "lstm and gru": (
        lambda: sequential(SERIES, layers.LSTM(5, return_sequences=True), layers.GRU(4, reset_after=False)),
        "`time_major`",
    ),
    "bidirectional": (lambda: sequential(SERIES, layers.Bidirectional(layers.GRU(3))), "`time_major`"),
    "cells": (lambda: sequential(SERIES, layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)])), "`time_major`"),
    "initial state": (encoder_decoder, "`time_major`"),
    "attention": (attention, "`query_shape`"),
    "slashes": (named_with_slashes, "'/' in a name"),
    "threshold": (lambda: sequential((4,), layers.ThresholdedReLU(0.3)), "ThresholdedReLU became ReLU"),
    "mixed precision": (lambda: sequential((4,), layers.Dense(3, dtype="mixed_float16")), "mixed-precision policy"),
    "augmentation": (lambda: sequential(IMAGE, layers.RandomFlip(), layers.RandomRotation(0.1)), "`rng_type`"),
    "spatial dropout": (lambda: sequential(IMAGE, layers.SpatialDropout2D(0.5)), "`noise_shape`"),
    "reduction": (lambda: compiled("sgd", tk.losses.MeanSquaredError()), "reduction = auto"),
    "nested over time": (over_time, "`groups`"),
    "nested": (nested_and_shared, ""),
    "frozen inside": (partly_frozen_inside, ""),
}


def random_weights(model: Any) -> Any:
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.05, 0.4, weight.shape).astype(weight.dtype) for weight in model.get_weights()])
    return model


def samples(model: Any, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def assert_same_outputs(file: Path, reference: Any) -> Any:
    model = load_model(file)
    given = samples(reference)
    wanted = reference(given if len(given) > 1 else given[0], training=False)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    for ours, theirs in zip(model.predict(given), wanted, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-5, rtol=1e-5)
    return model


@pytest.mark.parametrize("case", HEALED)
def test_what_keras_3_refuses_is_healed_and_computes_the_same(case: str, tmp_path: Path) -> None:
    build, sentence = HEALED[case]
    reference = random_weights(build())
    file = tmp_path / "old.h5"
    reference.save(file)
    before = file.read_bytes()
    with pytest.raises(Exception, match=r".+"):
        import_keras().models.load_model(file)
    model = assert_same_outputs(file, reference)
    assert sentence in "\n".join(model.healed)
    assert file.read_bytes() == before


def branches() -> Any:
    x = layers.Input((4,))
    late, early = layers.Dense(4)(layers.Dense(4)(x)), layers.Dense(4)(x)
    return tk.Model(x, [layers.Dense(2)(late), layers.Dense(2)(layers.Add()([early, late]))])


OPENED = ("depthwise", "separable", "lstm and gru", "bidirectional", "threshold", "mixed precision", "nested over time")
ARCHIVED = {**{case: HEALED[case] for case in OPENED}, "branches": (branches, "")}


@pytest.mark.parametrize("case", ARCHIVED)
def test_an_archive_of_keras_2_computes_the_same(case: str, tmp_path: Path) -> None:
    build, sentence = ARCHIVED[case]
    reference = random_weights(build())
    reference.save(tmp_path / "old.keras")
    before = (tmp_path / "old.keras").read_bytes()
    model = assert_same_outputs(tmp_path / "old.keras", reference)
    assert sentence in "\n".join(model.healed)
    assert (tmp_path / "old.keras").read_bytes() == before


def test_what_keras_3_does_not_take_of_an_archive_of_keras_2_goes_by_h5(tmp_path: Path) -> None:
    nested_and_shared().save(tmp_path / "old.keras")
    with pytest.raises(ModelError, match="Keras cannot load it") as caught:
        load_model(tmp_path / "old.keras")
    assert "model.save('name.h5')" in caught.value.mend


def edit(file: Path, attribute: str, change: Callable[[Any], Any]) -> None:
    with h5py.File(file, "r+") as opened:
        opened.attrs[attribute] = json.dumps(change(json.loads(opened.attrs[attribute])))


def test_old_optimizer_settings_do_not_matter(tmp_path: Path) -> None:
    reference = compiled("sgd", "mse")
    file = tmp_path / "old.h5"
    reference.save(file)

    def older(config: Any) -> Any:
        config["optimizer_config"]["class_name"] = "SGD"
        config["optimizer_config"]["config"] = {"lr": 0.1, "decay": 0.0, "momentum": 0.0, "nesterov": False}
        return config

    edit(file, "training_config", older)
    with pytest.raises(ValueError, match="lr"):
        import_keras().models.load_model(file)
    assert "lr" in assert_same_outputs(file, reference).healed[0]


def test_names_and_classes_of_older_writers(tmp_path: Path) -> None:
    reference = random_weights(nested_and_shared())
    file = tmp_path / "old.h5"
    reference.save(file)
    edit(file, "model_config", lambda config: {**config, "class_name": "Model"})
    assert_same_outputs(file, reference)


def test_a_bare_list_of_layers_is_a_sequential_model(tmp_path: Path) -> None:
    reference = random_weights(tk.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)]))
    file = tmp_path / "old.h5"
    reference.save(file)
    edit(file, "model_config", lambda config: {**config, "config": config["config"]["layers"][1:]})
    assert_same_outputs(file, reference)


@pytest.mark.parametrize("layer", ["dense", "lstm"])
def test_hard_sigmoid_keeps_its_old_meaning(layer: str, tmp_path: Path) -> None:
    part = (
        layers.Dense(3, activation="hard_sigmoid")
        if layer == "dense"
        else layers.GRU(3, recurrent_activation="hard_sigmoid")
    )
    reference = random_weights(sequential((4,) if layer == "dense" else SERIES, part))
    file = tmp_path / "old.h5"
    reference.save(file)
    reference.save(tmp_path / "old.keras")
    assert_same_outputs(tmp_path / "old.keras", reference)
    model = assert_same_outputs(file, reference)
    assert any("hard_sigmoid" in sentence for sentence in model.healed)
    model.keras.save(tmp_path / "new.keras")
    assert_same_outputs(tmp_path / "new.keras", reference)


def test_a_healed_model_opens_in_another_process(tmp_path: Path) -> None:
    sequential((4,), layers.Dense(3, activation="hard_sigmoid")).save(tmp_path / "old.h5")
    load_model(tmp_path / "old.h5").keras.save(tmp_path / "new.keras")
    code = f"from edgekit.model import load_model; print(load_model({str(tmp_path / 'new.keras')!r}).kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("keras", "")


def test_keras_3_alone_would_change_the_hard_sigmoid(tmp_path: Path) -> None:
    reference = random_weights(sequential((4,), layers.Dense(3, activation="hard_sigmoid")))
    reference.save(tmp_path / "old.h5")
    given = samples(reference)[0]
    plain = import_keras().models.load_model(tmp_path / "old.h5", compile=False)(given)
    assert np.abs(plain - reference(given)).max() > 1e-3


def test_a_file_that_keras_3_wrote_keeps_its_hard_sigmoid(tmp_path: Path) -> None:
    keras = import_keras()
    reference = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="hard_sigmoid")])
    reference.save(tmp_path / "new.h5")
    given = np.linspace(-6, 6, 40, dtype=np.float32).reshape(10, 4)
    model = load_model(tmp_path / "new.h5")
    np.testing.assert_allclose(model.predict([given])[0], reference.predict(given, verbose=0), atol=1e-6)
    assert model.healed == ()


def test_a_lambda_of_keras_3_opens_where_the_file_is_trusted(tmp_path: Path) -> None:
    keras = import_keras()
    part = keras.layers.Lambda(lambda x: 2 * x, output_shape=(4,))
    keras.Sequential([keras.Input((4,)), part]).save(tmp_path / "new.h5")
    model = load_model(tmp_path / "new.h5", trust=True)
    np.testing.assert_array_equal(model.predict([np.ones((1, 4))])[0], [[2, 2, 2, 2]])


def test_a_lambda_of_keras_2_keeps_its_output_shape(tmp_path: Path) -> None:
    sequential((4,), layers.Lambda(lambda x: 2 * x, output_shape=lambda shape: shape)).save(tmp_path / "old.h5")
    model = load_model(tmp_path / "old.h5", trust=True)
    np.testing.assert_array_equal(model.predict([np.ones((1, 4))])[0], [[2, 2, 2, 2]])
    assert "output_shape" in model.keras.layers[-1].get_config()


def test_a_lambda_that_calls_a_function_of_a_program_says_so(tmp_path: Path) -> None:
    sequential((4,), layers.Lambda(lambda x: 2 * x, name="odd")).save(tmp_path / "old.h5")

    def named(config: Any) -> Any:
        config["config"]["layers"][-1]["config"].update(function="doubled", function_type="function")
        return config

    edit(tmp_path / "old.h5", "model_config", named)
    with pytest.raises(ModelError, match="Lambda 'odd' calls 'doubled'") as caught:
        load_model(tmp_path / "old.h5", trust=True)
    assert "package.module:function" in caught.value.mend


def test_adapted_normalization_in_a_layer_of_the_users_own(tmp_path: Path) -> None:
    keras = import_keras()

    class Scaling(keras.layers.Layer):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.scale = keras.layers.Normalization()

        def build(self, shape: Any) -> None:
            self.scale.build(shape)

        def call(self, x: Any) -> Any:
            return self.scale(x)

    scaling = Scaling()
    reference, given = keras.Sequential([keras.Input((4,)), scaling]), np.full((1, 4), 5, np.float32)
    scaling.scale.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    with keras.saving.custom_object_scope({"Scaling": Scaling}):
        reference.save(tmp_path / "own.h5")
        found = load_model(tmp_path / "own.h5").predict([given])[0]
    np.testing.assert_allclose(found, reference(given), rtol=1e-5)


def test_adapted_normalization_and_dictionaries(tmp_path: Path) -> None:
    a, b = layers.Input((4,), name="b"), layers.Input((4,), name="a")
    scale = layers.Normalization()
    scale.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    reference = tk.Model({"b": a, "a": b}, {"y": layers.Dense(2)(scale(a)), "x": layers.Dense(3)(b)})
    reference.save(tmp_path / "old.h5")
    model = load_model(tmp_path / "old.h5")
    given = {spec.name: np.full((2, 4), place + 1.0, np.float32) for place, spec in enumerate(model.inputs)}
    wanted = reference(given)
    assert [spec.name for spec in model.outputs] == ["x", "y"]
    for spec, ours in zip(model.outputs, model.predict(list(given.values())), strict=True):
        np.testing.assert_allclose(ours, wanted[spec.name], atol=1e-5)


def test_lists_that_pass_the_header_limit_are_joined(tmp_path: Path) -> None:
    x = y = layers.Input((2,))
    for number in range(150):
        y = layers.Dense(2, name=f"{'n' * 450}{number:04d}", kernel_initializer="identity")(y)
    reference = tk.Model(x, y)
    reference.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5") as file:
        assert "layer_names0" in file["model_weights"].attrs
    assert_same_outputs(tmp_path / "old.h5", reference)


@pytest.mark.parametrize(
    "name", ["fer/emotion_model.hdf5", "mlperf_tiny_ic/pretrainedResnet.h5", "mlperf_tiny_ad/ad01.h5"]
)
def test_real_files(name: str, shared_data: Path) -> None:
    file = shared_data / "models" / name
    assert_same_outputs(file, tk.models.load_model(file, compile=False))


def time_major() -> Any:
    return tk.Sequential([layers.Input(SERIES, batch_size=6), layers.LSTM(5, time_major=True)])


def slicing() -> Any:
    x = layers.Input((4,))
    return tk.Model(x, layers.Dense(2)(x) + 1.0)


def ragged() -> Any:
    x = layers.Input((None, 3), ragged=True)
    return tk.Model(x, layers.Dense(2)(x))


class Strange(layers.Layer):  # type: ignore[misc]
    def call(self, inputs: Any) -> Any:
        return inputs


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "time major": (time_major, "`time_major = True`"),
    "TensorFlow operations": (slicing, "TensorFlow operations"),
    "ragged": (ragged, "ragged"),
    "gone": (lambda: sequential(IMAGE, layers.LocallyConnected2D(2, 3)), "not in Keras 3"),
    "custom": (lambda: sequential((4,), Strange()), "custom class"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_brought_over_says_why_and_what_to_do(case: str, tmp_path: Path) -> None:
    build, words = REFUSED[case]
    build().save(tmp_path / "old.h5")
    with pytest.raises(ModelError, match=words) as caught:
        load_model(tmp_path / "old.h5")
    assert "old.h5" in caught.value.problem
    assert caught.value.mend


def test_swapped_weights_are_noticed(tmp_path: Path) -> None:
    sequential((4,), layers.BatchNormalization(name="bn")).save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        group = file["model_weights/bn"]
        names = list(group.attrs["weight_names"])
        group.attrs["weight_names"] = names[::-1]
    with pytest.raises(ModelError, match="takes the weights"):
        load_model(tmp_path / "old.h5")


def test_missing_weights_are_noticed(tmp_path: Path) -> None:
    sequential((4,), layers.Dense(3, name="here"), layers.Dense(3, name="gone")).save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file["model_weights"].attrs["layer_names"] = [b"here"]
    with pytest.raises(ModelError, match="no weights for layer gone"):
        load_model(tmp_path / "old.h5")


def test_loading_never_imports_tf_keras(tmp_path: Path) -> None:
    named_with_slashes().save(tmp_path / "old.h5")
    code = (
        f"import sys; from edgekit.model import load_model; print(len(load_model({str(tmp_path / 'old.h5')!r}).healed))"
    )
    code += "; print('tf_keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["1", "False"], "")
