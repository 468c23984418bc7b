"""Training: deterministic, resumable, stops when it should, keeps the best, and never touches the user's model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import DataError, EdgekitError, ModelError, RecipeError
from edgekit.stages import losses
from edgekit.stages.fused import fused_adam, training_twin
from edgekit.stages.train import copy_of, fine_tune
from edgekit.stages.training import Callback, Training, TrainingDiverged
from edgekit.talk import Line
from edgekit.tf import import_keras, import_tensorflow

QUICK = Training(epochs=3, batch_size=32, learning_rate=3e-3, patience=0)


def small_model(seed: int = 0, dropout: float = 0.2) -> Any:
    """A network with everything that has state: batch normalization and dropout."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    hidden = layers.Conv2D(8, 3, name="conv")(layers.Rescaling(1 / 16)(image))
    hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
    hidden = layers.Dropout(dropout)(layers.Flatten()(hidden))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(hidden), name="small")


def small_data(folder: Path, model: Any, samples: int = 320) -> Dataset:
    with np.load(folder / "digits.npz") as arrays:
        path = folder / f"digits{samples}-{os.getpid()}.npz"
        x, y = arrays["x_train"], arrays["y_train"]
        rest = {"x_validation": x[-200:], "y_validation": y[-200:], "x_calibration": x[-220:-200]}
        rest |= {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
        np.savez(path, x_train=x[:samples], y_train=y[:samples], **rest)
    return match(load_dataset(path), model.inputs, model.outputs)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def data(digits: Path, model: Any) -> Dataset:
    return small_data(digits, model)


def same(first: Any, second: Any) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


class At(Callback):
    """Do something before one step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def before_step(self, step: int) -> None:
        if step == self.step:
            self.act()


def test_it_learns_says_so_and_leaves_the_model_alone(model: Any, data: Dataset) -> None:
    before, said = model.get_weights(), []
    trained = fine_tune(model, data, QUICK, say=said.append, stage="prune_weights")
    assert [epoch.number for epoch in trained.history] == [0, 1, 2, 3]
    assert trained.history[3].value > trained.history[0].value + 0.3
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert said[1].startswith("prune_weights: epoch 1/3: loss ")
    assert all(word in said[1] for word in ("validation loss", "accuracy", " s"))


def test_the_same_seed_gives_the_same_weights_and_another_others(model: Any, data: Dataset) -> None:
    first, second, other = (fine_tune(model, data, QUICK, seed=seed) for seed in (1, 1, 2))
    assert same(first.model, second.model)
    assert not same(first.model, other.model)


def test_the_best_weights_are_kept_and_patience_ends_it(model: Any, data: Dataset) -> None:
    good = fine_tune(model, data, QUICK).model
    wild = Training(epochs=9, batch_size=32, learning_rate=1.0, optimizer="sgd", schedule="constant", patience=2)
    try:
        trained = fine_tune(good, data, wild)
    except TrainingDiverged as stopped:
        trained = stopped.trained
    assert trained.best == 0
    assert len(trained.history) <= 3
    assert same(trained.model, good)


def test_without_a_validation_part_the_last_weights_stay(model: Any, data: Dataset) -> None:
    trained = fine_tune(model, replace(data, validation=None), QUICK)
    assert trained.best == 3
    assert trained.history[3].validation_loss is None
    assert not same(trained.model, model)


_CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_train import At, QUICK, small_data, small_model
from edgekit.stages.train import fine_tune
model = small_model()
folder = Path(sys.argv[1])
kill = At(int(sys.argv[4]), lambda: os.kill(os.getpid(), signal.SIGKILL))
fine_tune(model, small_data(folder, model), QUICK, callbacks=[kill], checkpoint=Path(sys.argv[2]))
"""


def test_killed_in_the_middle_it_goes_on_to_the_same_weights(
    digits: Path, data: Dataset, model: Any, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"
    words = [sys.executable, "-c", _CHILD, str(digits), str(path), str(Path(__file__).parent), "15"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
    said: list[str] = []
    resumed = fine_tune(model, data, QUICK, callbacks=[At(-1, lambda: None)], checkpoint=path, say=said.append)
    undisturbed = fine_tune(model, data, QUICK)
    assert said[0] == "training: goes on after epoch 1 of 3"
    assert same(resumed.model, undisturbed.model)
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in undisturbed.history]


def test_interrupted_by_the_keyboard_it_goes_on_and_a_finished_one_is_not_repeated(
    model: Any, data: Dataset, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    path, said = tmp_path / "checkpoint", []
    with pytest.raises(KeyboardInterrupt):
        fine_tune(model, data, QUICK, callbacks=[At(25, interrupt)], checkpoint=path)
    first = fine_tune(model, data, QUICK, callbacks=[At(-1, interrupt)], checkpoint=path)
    again = fine_tune(model, data, QUICK, callbacks=[At(0, interrupt)], checkpoint=path, say=said.append)
    assert said == ["training: goes on after epoch 3 of 3"]
    assert same(first.model, again.model)


@pytest.mark.parametrize("damage", ["another seed", "truncated"])
def test_a_checkpoint_of_another_training_is_said_and_not_used(
    model: Any, data: Dataset, tmp_path: Path, damage: str
) -> None:
    path, said = tmp_path / "checkpoint", []
    config = Training(epochs=1, batch_size=32, patience=0)
    fine_tune(model, data, config, checkpoint=path, seed=1)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    fine_tune(model, data, config, checkpoint=path, say=said.append, seed=1 if damage == "truncated" else 2)
    assert said[0] == "training: the checkpoint checkpoint is damaged, or of another training, so it begins anew"
    assert isinstance(said[0], Line), "it stays to be read in a log"


class Poison(Callback):
    """Make the weights of a layer NaN before a step."""

    def __init__(self, layer: str, step: int) -> None:
        self.layer, self.step = layer, step

    def start(self, model: Any, steps: int) -> None:
        self.kernel = model.get_layer(self.layer).kernel

    def before_step(self, step: int) -> None:
        if step == self.step:
            self.kernel.assign(self.kernel * np.nan)


def test_a_loss_that_is_no_number_stops_at_once_with_the_last_good_weights(model: Any, data: Dataset) -> None:
    undisturbed = fine_tune(model, data, QUICK)
    with pytest.raises(TrainingDiverged, match=r"factor: the loss is nan in epoch 2, step 5 of 10") as caught:
        fine_tune(model, data, QUICK, callbacks=[Poison("digit", 14)], stage="factor")
    trained = caught.value.trained
    assert trained.best == 1
    assert trained.history[1].loss == undisturbed.history[1].loss
    assert all(np.isfinite(weight).all() for weight in trained.model.get_weights())
    assert "learning_rate" in caught.value.mend


def test_weights_that_are_no_numbers_are_never_the_result(model: Any, data: Dataset) -> None:
    blind = replace(data, validation=None)
    with pytest.raises(TrainingDiverged) as caught:
        fine_tune(model, blind, QUICK, callbacks=[Poison("conv", 29)])
    assert caught.value.trained.best == 2
    assert all(np.isfinite(weight).all() for weight in caught.value.trained.model.get_weights())


def test_what_a_callback_finds_unsound_stops_with_the_last_good_weights(model: Any, data: Dataset) -> None:
    class Impatient(Callback):
        """Finds fault with the second epoch."""

        def before_step(self, step: int) -> None:
            self.last = step

        def unsound(self) -> str | None:
            return "a range collapsed" if getattr(self, "last", 0) >= 10 else None

    with pytest.raises(TrainingDiverged, match="factor: a range collapsed after epoch 2") as caught:
        fine_tune(model, data, QUICK, callbacks=[Impatient()], stage="factor")
    assert caught.value.trained.best == 1


def test_missing_parts_and_labels_are_named_with_their_mend(model: Any, data: Dataset) -> None:
    with pytest.raises(DataError, match="no train part") as caught:
        fine_tune(model, replace(data, train=None), QUICK)
    assert "x_train" in caught.value.mend
    with pytest.raises(DataError, match="no labels") as caught:
        fine_tune(model, replace(data, train=replace(data.train, labels=None)), QUICK)
    assert "y_train" in caught.value.mend


def test_frozen_models_fixed_batches_and_wrong_losses_are_refused(model: Any, data: Dataset) -> None:
    keras = import_keras()
    frozen = copy_of(model)
    frozen.trainable = False
    with pytest.raises(RecipeError, match="frozen") as caught:
        fine_tune(frozen, data, QUICK)
    assert "unfreeze" in caught.value.mend
    assert fine_tune(frozen, data, Training(epochs=1, unfreeze=True)).history[1].loss
    image = keras.Input(batch_shape=(1, 8, 8, 1))
    with pytest.raises(ModelError, match="fixed batch of 1"):
        fine_tune(keras.Model(image, model(image)), data, QUICK)
    with pytest.raises(RecipeError, match="mse"):
        fine_tune(model, data, Training(loss="mse"))


def test_layers_that_the_model_has_frozen_are_told(model: Any, data: Dataset) -> None:
    partly, said = copy_of(model), list[str]()
    partly.get_layer("conv").trainable = False
    once = Training(epochs=1, batch_size=32)
    fine_tune(partly, data, once, say=said.append)
    assert said[0] == "training: frozen in the model: conv (training.unfreeze = true trains them)"
    fine_tune(partly, data, msgspec.structs.replace(once, unfreeze=True), say=said.append)
    assert sum("frozen" in line for line in said) == 1


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 0}, {"optimizer": "lion"}, {"loss": "hinge"}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert(wrong, Training)


def _heads(keras: Any) -> dict[str, tuple[Any, str]]:
    layers, ops = keras.layers, keras.ops
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    return {
        "activation": (lambda x: layers.Dense(3, activation="softmax")(x), "softmax"),
        "layer": (lambda x: layers.Softmax()(layers.Dense(3)(x)), "softmax"),
        "word": (lambda x: layers.Activation("sigmoid")(layers.Dense(3)(x)), "sigmoid"),
        "operation": (lambda x: ops.softmax(layers.Dense(3)(x)), "softmax"),
        "reshaped": (lambda x: layers.Reshape((3,))(layers.Dense(3, activation="softmax")(x)), "softmax"),
        "logits": (lambda x: layers.Dense(3)(x), "logits"),
        "nested": (inner, "softmax"),
        "by values": (lambda x: layers.Lambda(keras.ops.softmax)(layers.Dense(3)(x)), "softmax"),
        "unbounded": (lambda x: layers.Lambda(lambda t: t * 3)(layers.Dense(3)(x)), "logits"),
    }


@pytest.mark.parametrize("name", ["activation", "layer", "word", "operation", "reshaped", "logits", "nested"])
def test_what_outputs_mean_is_read_from_the_graph(name: str) -> None:
    keras = import_keras()
    head, kind = _heads(keras)[name]
    x = keras.Input((4,))
    zeros = np.zeros((2, 4), np.float32)
    assert losses.output_kinds(keras.Model(x, head(x)), [zeros]) == (kind,)


@pytest.mark.parametrize("name", ["by values", "unbounded"])
def test_what_outputs_mean_is_seen_from_values_where_the_graph_is_silent(name: str) -> None:
    keras = import_keras()
    head, kind = _heads(keras)[name]
    x = keras.Input((4,))
    samples = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    assert losses.output_kinds(keras.Model(x, head(x)), [samples]) == (kind,)


def test_the_loss_of_probabilities_is_that_of_their_logits() -> None:
    keras = import_keras()
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
    labels = np.array([0, 2])
    golden = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    for kind, output in (("logits", logits), ("softmax", keras.ops.softmax(logits))):
        loss = losses.crossentropy(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(output), kind)
        assert float(loss) == pytest.approx(golden, rel=1e-5)


@pytest.mark.parametrize("kind", ["logits", "softmax", "sigmoid"])
def test_labels_of_several_classes_at_once_are_a_question_each(kind: Any) -> None:
    tf = import_tensorflow()
    logits, marks = np.array([[2.0, -1.0, 0.5]], np.float32), np.array([[1, 0, 1]])
    p = 1 / (1 + np.exp(-logits))
    loss = losses.crossentropy(tf.constant(marks), tf.constant(logits if kind == "logits" else p), kind)
    assert float(loss) == pytest.approx(-np.log(np.where(marks, p, 1 - p)).sum(), rel=1e-4)


def _task(name: str, keras: Any, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    layers = keras.layers
    x = keras.Input((6, 6, 2))
    images = rng.normal(size=(40, 6, 6, 2)).astype(np.float32)
    bright = images.mean(axis=(1, 2, 3)) > 0
    if name == "binary":
        return keras.Model(x, layers.Dense(1, activation="sigmoid")(layers.Flatten()(x))), {
            "x": images,
            "y": bright.astype(np.int64),
        }
    if name == "several classes":
        marks = np.stack([bright, images[:, 0, 0, 0] > 0, images[:, 0, 0, 1] > 0], axis=1).astype(np.int64)
        return keras.Model(x, layers.Dense(3, activation="sigmoid")(layers.Flatten()(x))), {"x": images, "y": marks}
    if name == "regression":
        return keras.Model(x, layers.Dense(1)(layers.Flatten()(x))), {"x": images, "y": images.mean((1, 2, 3)) + 0.5}
    if name == "masks":
        return keras.Model(x, layers.Conv2D(2, 1)(x)), {"x": images, "y": (images[..., 0] > 0).astype(np.int64)}
    if name == "autoencoder":
        return keras.Model(x, layers.Conv2D(2, 1)(x)), {"x": images}
    two = {"a": layers.Dense(2)(layers.Flatten()(x)), "b": layers.Dense(3, activation="softmax")(layers.Flatten()(x))}
    return keras.Model(x, two), {"x": images, "y.a": bright.astype(np.int64), "y.b": bright.astype(np.int64) + 1}


@pytest.mark.parametrize("name", ["binary", "several classes", "regression", "masks", "autoencoder", "two outputs"])
def test_every_task_learns_with_the_automatic_loss(name: str, tmp_path: Path) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    model, arrays = _task(name, keras, np.random.default_rng(0))
    parts = {
        key.replace("x", f"x_{part}", 1) if key[0] == "x" else key.replace("y", f"y_{part}", 1): value
        for part in ("train", "validation")
        for key, value in arrays.items()
    }
    np.savez(tmp_path / "data.npz", **parts)
    settings = {
        "regression": {"task": "regression"},
        "autoencoder": {"task": "autoencoder"},
        "several classes": {"task": "classification", "metric": "auc"},
    }.get(name, {})
    from edgekit.model.live import from_keras

    known = from_keras(model, "test", "test", None)
    data = match(load_dataset(tmp_path / "data.npz", overrides=settings), known.inputs, known.outputs)
    trained = fine_tune(model, data, Training(epochs=6, batch_size=8, learning_rate=0.02, patience=0))
    assert trained.history[6].validation_loss < trained.history[0].validation_loss * 0.8


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}, {"trainable": False}])
def test_the_fused_twin_has_the_outputs_gradients_and_statistics_of_the_model(settings: dict[str, Any]) -> None:
    keras, tf = import_keras(), import_tensorflow()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1))
    hidden = layers.BatchNormalization(**settings, name="norm")(layers.Conv2D(6, 3, name="conv")(image))
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(layers.ReLU()(hidden))))
    samples = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype(np.float32)
    model.get_layer("norm").moving_variance.assign(np.linspace(0.5, 2, 6))
    found = []
    for network in (copy_of(model), copy_of(model)):
        used = training_twin(network) if found else network
        with tf.GradientTape() as tape:
            outputs = used(samples, training=True)
            loss = tf.reduce_mean(tf.square(outputs - 1))
        found.append([outputs, *tape.gradient(loss, network.trainable_variables), *network.get_weights()])
        assert (used is network) == (len(found) == 1)
        assert np.allclose(used(samples, training=False), network(samples, training=False), atol=1e-6)
    for plain, fused in zip(*found, strict=True):
        assert np.allclose(plain, fused, atol=1e-4, rtol=1e-4)


def test_the_fused_adam_steps_as_the_one_of_keras() -> None:
    keras = import_keras()
    found = []
    for kind in (keras.optimizers.Adam, fused_adam()):
        variables = [keras.Variable(np.ones(3), dtype="float32"), keras.Variable(np.ones((2, 2)), dtype="float32")]
        optimizer = kind(keras.optimizers.schedules.CosineDecay(0.1, 6))
        optimizer.build(variables)
        rng = np.random.default_rng(0)
        for _ in range(5):
            optimizer.apply([keras.ops.convert_to_tensor(rng.normal(size=v.shape), "float32") for v in variables])
        found.append([*(v.numpy() for v in variables), *(v.numpy() for v in optimizer.variables)])
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*found, strict=True))


def test_a_training_that_helps_nothing_says_so(model: Any, data: Dataset) -> None:
    said: list[str] = []
    good = fine_tune(model, data, QUICK, say=said.append)
    assert not any("no epoch was better" in line for line in said)
    wild = fine_tune(good.model, data, Training(epochs=1, learning_rate=900.0, optimizer="sgd"), say=said.append)
    assert wild.best == 0
    assert "no epoch was better" in said[-1]


def test_a_loss_of_your_own_is_minimised(data: Dataset, model: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "own_loss.py").write_text(
        "import keras\ndef halved(y, out):\n    return keras.losses.sparse_categorical_crossentropy(y, out) / 2\n"
    )
    monkeypatch.chdir(tmp_path)
    own = fine_tune(model, data, Training(epochs=1, loss="own_loss:halved"))
    usual = fine_tune(model, data, Training(epochs=1))
    assert own.history[0].validation_loss == pytest.approx(usual.history[0].validation_loss / 2, rel=1e-3)


OWN_LOSSES = """import keras
import tensorflow as tf
def square(y, out):
    return (out - y) ** 2
def raveled(y, out):
    return (tf.reshape(out, [-1]) - tf.reshape(y, [-1])) ** 2
sliced = lambda y, out: (out[:, 0] - y) ** 2
function = keras.losses.mean_squared_error
of_keras = keras.losses.MeanSquaredError()
crossentropy = keras.losses.BinaryCrossentropy()
"""


@pytest.mark.parametrize("shape", [(3,), (3, 2)], ids=["one value", "one value each step"])
def test_a_loss_of_your_own_gets_outputs_of_one_value_in_the_shape_of_the_labels(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    tf = import_tensorflow()
    (tmp_path / "own.py").write_text(OWN_LOSSES)
    truth = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for name in ("square", "raveled", "function", "of_keras"):
        loss = losses.loss_of(f"{tmp_path}/own.py:{name}", "regression")
        assert float(loss(tf.constant(truth), tf.constant(truth[..., None] + 2), "logits")) == 4, name
    hits, chances = (truth % 2).astype(np.int64), np.full((*shape, 1), 0.8, np.float32)
    loss = losses.loss_of(f"{tmp_path}/own.py:crossentropy", "classification")
    expected = -np.where(hits, np.log(0.8), np.log(0.2)).mean()
    assert float(loss(tf.constant(hits), tf.constant(chances), "sigmoid")) == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_your_own_that_takes_the_axis_off_itself_is_told_of_it(tmp_path: Path) -> None:
    tf = import_tensorflow()
    (tmp_path / "own.py").write_text(OWN_LOSSES)
    loss = losses.loss_of(f"{tmp_path}/own.py:sliced", "regression")
    with pytest.raises(RecipeError, match="sliced raised ") as caught:
        loss(tf.constant([1.0, 2.0, 3.0]), tf.constant([[2.0], [3.0], [4.0]]), "logits")
    assert "in the shape of the labels" in caught.value.mend


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise KeyError('x')", "raised KeyError"),
        ("return None", "raised ValueError: None values"),
        ("return out[0, 0] * float('nan')", "nan before any training"),
        ("import tensorflow as tf; return tf.gather(out, [10**6])", "raised InvalidArgumentError: "),
    ],
)
def test_a_loss_of_your_own_that_fails_is_named(
    data: Dataset, model: Any, tmp_path: Path, body: str, problem: str
) -> None:
    (tmp_path / "failing.py").write_text(f"def loss(y, out):\n    {body}\n")
    with pytest.raises(EdgekitError, match=problem) as caught:
        fine_tune(model, data, Training(epochs=1, loss=f"{tmp_path}/failing.py:loss"))
    assert "learning_rate" not in caught.value.mend


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_network_that_is_sure_and_wrong_learns_as_much_as_from_its_logits(kind: Any) -> None:
    tf = import_tensorflow()
    logits = tf.Variable([[-40.0]] if kind == "sigmoid" else [[40.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.crossentropy(tf.constant([1]), getattr(tf.nn, kind)(logits), kind)
    assert float(loss) == pytest.approx(40)
    assert tape.gradient(loss, logits).numpy().ravel()[-1] == pytest.approx(-1)


def test_an_edited_loss_begins_anew(data: Dataset, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python takes what is edited within a second for the same
    source, path = tmp_path / "edited.py", tmp_path / "checkpoint"
    config = Training(epochs=1, patience=0, loss=f"{source}:loss")
    losses_seen = []
    for factor in (1, 2):
        source.write_text(f"def loss(y, out):\n    return {factor} + 0 * out[0, 0]\n")
        losses_seen.append(fine_tune(model, data, config, checkpoint=path).history[-1].loss)
    assert losses_seen == [1, 2]


def test_an_edited_metric_begins_anew(
    data: Dataset, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python takes what is edited within a second for the same
    source, path = tmp_path / "edited.py", tmp_path / "checkpoint"
    own = replace(data, spec=msgspec.structs.replace(data.spec, metric=f"{source}:metric"))
    seen = []
    for value in (1, 2):
        source.write_text(f"def metric(y, out):\n    return {value}\n")
        seen.append(fine_tune(model, own, Training(epochs=1, patience=0), checkpoint=path).history[-1].value)
    assert seen == [1, 2]


def test_errors_are_of_the_tree() -> None:
    assert issubclass(TrainingDiverged, EdgekitError)
