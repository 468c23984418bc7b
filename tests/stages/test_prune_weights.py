"""Magnitude pruning: the right weights, the right share, along the schedule, and they stay at zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from architectures import ALL, OWN, build
from hypothesis import given, settings
from hypothesis import strategies as st
from small_digits import named_network, small_data

from edgekit import strict_toml
from edgekit.data.parts import Dataset
from edgekit.errors import RecipeError
from edgekit.stages import sparsity
from edgekit.stages.kernels import kernels_of
from edgekit.stages.masks import Preserve, Pruner, masks_of
from edgekit.stages.prune_weights import HEADER, PruneLayers, PruneWeights, apply, plan, prune_weights
from edgekit.stages.sparsity import Pattern
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.stages.xnnpack_sparse import gain, misfits
from edgekit.target import load_target
from edgekit.tf import import_keras

QUICK = Training(epochs=2, batch_size=64, patience=0)


@pytest.fixture(scope="module")
def network(digits: Path) -> Any:
    return named_network(digits)


@pytest.fixture(scope="module")
def data(digits: Path, network: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_data(digits, network, tmp_path_factory.mktemp("data"))


def zeros(model: Any) -> dict[str, float]:
    return {kernel.name: float((kernel.value == 0).mean()) for kernel in kernels_of(model)}


# Patterns.


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["1x1", "1x4", "4x1", "2x2", "3x2"]),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_blocks_go_whole_the_least_first_and_never_all(
    rows: int, columns: int, text: str, share: float, seed: int
) -> None:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns))
    pattern = Pattern.parse(text)
    mask = sparsity.mask(matrix, share, pattern)
    found = sparsity.scores(matrix, pattern)
    stays = sparsity.scores(mask.astype(float), pattern)
    assert set(np.unique(stays)) <= {0.0, 1.0}
    assert stays.sum() == found.size - min(round(share * found.size), found.size - 1)
    if (stays == 0).any():
        assert found[stays == 0].max() <= found[stays == 1].min()


def test_two_of_four_keeps_the_two_largest_of_each_four_inputs() -> None:
    matrix = np.array([[4.0, -3.0, 2.0, 1.0, 0.1, 9.0, -8.0, 0.2, 7.0], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
    mask = sparsity.mask(matrix, 0.5, Pattern.parse("2:4"))
    golden = np.array([[1, 1, 0, 0, 0, 1, 1, 0, 1], [0, 0, 1, 1, 0, 0, 1, 1, 1]], bool)
    assert np.array_equal(mask, golden)
    half_way = sparsity.mask(matrix, 0.25, Pattern.parse("2:4"))
    assert (golden <= half_way).all()
    assert (~half_way).sum() in (4, 5)


def test_the_schedule_is_that_of_the_paper() -> None:
    assert [sparsity.scheduled(0.8, t, 3) for t in (0, 0.5, 1)] == pytest.approx([0, 0.8 - 0.8 * 0.5**3, 0.8])


def test_lamp_scores_are_those_of_the_paper() -> None:
    assert sparsity.lamp(np.array([[1.0, 3.0, 2.0]])) == pytest.approx(np.array([[1 / 14, 1.0, 4 / 13]]))


@pytest.mark.parametrize("comparable", [False, True])
def test_global_scopes_reach_the_target_and_leave_no_layer_empty(comparable: bool) -> None:
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(20, 30)), rng.normal(size=(40, 10)) * 1e-3, rng.normal(size=(5, 5))]
    shares = sparsity.shares(matrices, 0.6, Pattern(), comparable=comparable)
    pruned = sum(share * matrix.size for share, matrix in zip(shares, matrices, strict=True))
    assert pruned == pytest.approx(0.6 * sum(matrix.size for matrix in matrices), abs=1)
    assert all(share < 1 for share in shares)
    assert shares == sparsity.shares(list(map(np.asfortranarray, matrices)), 0.6, Pattern(), comparable=comparable)
    assert shares[1] > 0.9 if not comparable else 0.2 < shares[1] < 0.9


# Kernels.


@pytest.mark.parametrize("name", OWN)
def test_each_kernel_is_found_once_and_its_matrix_goes_there_and_back(name: str) -> None:
    model = build(name)
    kernels = kernels_of(model)
    assert len({kernel.name for kernel in kernels}) == len(kernels)
    for kernel in kernels:
        assert np.array_equal(kernel.shaped(kernel.matrix(kernel.value)), kernel.value)
    found = {id(kernel.variable) for kernel in kernels}
    big = [w for w in model.trainable_weights if len(w.shape) > 1 and "bias" not in w.path and "alpha" not in w.path]
    assert {id(weight) for weight in big} == found


def test_rows_are_outputs_for_every_kind_of_layer() -> None:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 6))
    x = layers.Conv2D(5, 3, name="conv")(x)
    x = layers.Conv2DTranspose(4, 3, name="up")(x)
    x = layers.SeparableConv2D(7, 3, name="separable")(x)
    x = layers.Reshape((-1, 7))(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.GRU(4, name="gru")(layers.TimeDistributed(layers.Dense(9, name="dense_in"), name="time")(x))
    model = keras.Model(inputs, layers.Dense(2, name="dense")(x))
    shapes = {kernel.name: kernel.matrix(kernel.value).shape for kernel in kernels_of(model)}
    assert shapes == {
        "conv/kernel": (5, 54),
        "up/kernel": (4, 45),
        "separable/depthwise_kernel": (4, 9),
        "separable/pointwise_kernel": (7, 4),
        **{f"attention/{part}/kernel": (6, 7) for part in ("query", "key", "value")},
        "attention/attention_output/kernel": (7, 6),
        "time/dense_in/kernel": (9, 7),
        "gru/gru_cell/kernel": (12, 9),
        "gru/gru_cell/recurrent_kernel": (12, 4),
        "dense/kernel": (2, 4),
    }


# At once.


@pytest.mark.parametrize("pattern", ["1x1", "1x4", "4x1", "2:4"])
def test_the_share_and_the_pattern_are_reached_and_the_model_is_not_touched(network: Any, pattern: str) -> None:
    before = network.get_weights()
    stage = PruneWeights(sparsity=0.5, pattern=pattern, one_shot=True)
    pruned = prune_weights(network, stage)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    for old, new, line in zip(kernels_of(network), kernels_of(pruned.model), pruned.report.kernels, strict=True):
        share = float((new.value == 0).mean())
        assert share == (0 if line.reason else pytest.approx(0.5, abs=0.02))
        assert share == line.sparsity
        assert np.array_equal(new.value[new.value != 0], old.value[new.value != 0])
        assert bool(line.reason) == (line.deflated_after_bytes == line.deflated_before_bytes)
    dense = {line.name: line.reason for line in pruned.report.kernels if line.reason}
    assert set(dense) == {"conv2d_1/kernel", "separableconv2d_7/depthwise_kernel"}
    assert "one channel" in dense["conv2d_1/kernel"]
    assert all(len(row) == len(HEADER) for row in pruned.report.rows())


@pytest.mark.covers("weights")
@pytest.mark.parametrize(
    "name", [*OWN, *(pytest.param(name, marks=pytest.mark.slow) for name in ALL if name not in OWN)]
)
def test_every_architecture_is_pruned(name: str) -> None:
    model = build(name)
    stage = PruneWeights(sparsity=0.75, layers=(PruneLayers("*", sparsity=0.75),))
    pruned = apply(model, plan(model, stage))
    assert zeros(pruned) == {
        kernel.name: pytest.approx(min(round(0.75 * kernel.value.size), kernel.value.size - 1) / kernel.value.size)
        for kernel in kernels_of(model)
    }


def test_a_threshold_prunes_what_is_below_it(network: Any) -> None:
    pruned = apply(network, plan(network, PruneWeights(threshold=0.05)))
    for old, new in zip(kernels_of(network), kernels_of(pruned), strict=True):
        if (new.value == 0).any():
            assert np.array_equal(new.value == 0, np.abs(old.value) < 0.05)
    assert max(zeros(pruned).values()) > 0.1


@pytest.mark.parametrize("scope", ["global", "lamp"])
def test_scopes_over_layers_reach_the_share_of_all_together(network: Any, scope: str) -> None:
    made = plan(network, PruneWeights(sparsity=0.8, scope=scope))
    pruned = [kernel for kernel in made.kernels if kernel.sparsity]
    total = sum(kernel.weights for kernel in pruned)
    assert sum(kernel.weights * kernel.sparsity for kernel in pruned) == pytest.approx(0.8 * total, rel=1e-3)
    assert len({kernel.sparsity for kernel in pruned}) > 1


def test_rules_by_name_win_the_last_one_last(network: Any) -> None:
    rules = (
        PruneLayers("separableconv2d_7", sparsity=0.3),
        PruneLayers("*/depthwise_kernel", sparsity=0.6),
        PruneLayers("digit", keep=True),
    )
    found = {kernel.name: kernel for kernel in plan(network, PruneWeights(sparsity=0.9, layers=rules)).kernels}
    assert found["separableconv2d_7/pointwise_kernel"].sparsity == 0.3
    assert found["separableconv2d_7/depthwise_kernel"].sparsity == 0.6
    assert found["digit/kernel"].reason == "kept, as 'digit' asks"
    assert found["conv2d_4/kernel"].sparsity == 0.9


def test_the_input_channels_of_a_transposed_convolution_are_its_last_axis() -> None:
    keras = import_keras()
    inputs = keras.Input((4, 4, 16))
    model = keras.Model(inputs, keras.layers.Conv2DTranspose(2, 3, name="up")(inputs))
    assert plan(model, PruneWeights(sparsity=0.5)).shares == {"up/kernel": 0.5}


def test_a_kernel_of_zeros_alone_is_free_to_train() -> None:
    keras = import_keras()
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Dense(4, kernel_initializer="zeros")(inputs))
    assert masks_of(model) == {}


def test_masks_are_recovered_from_zeros(network: Any) -> None:
    pruned = apply(network, plan(network, PruneWeights(sparsity=0.5)))
    masks = masks_of(pruned)
    assert set(masks) == {name for name, share in zeros(pruned).items() if share}
    assert masks_of(network) == {}
    assert all(np.array_equal(masks[k.name], k.value != 0) for k in kernels_of(pruned) if k.name in masks)


# While training.


def test_zeros_grow_along_the_schedule_and_the_result_has_all_of_them(network: Any, data: Dataset) -> None:
    seen: list[float] = []

    class Watch(Pruner):
        def before_step(self, step: int) -> None:
            super().before_step(step)
            seen.append(float(np.mean([(kernel.value == 0).mean() for kernel in self._kernels])))

    made = plan(network, PruneWeights(sparsity=0.8))
    watch = Watch(made.shares, Pattern(), 0.25, 0.75, 3)
    trained = fine_tune(network, data, QUICK, callbacks=[watch])
    assert seen == sorted(seen)
    steps = len(seen)
    assert seen[steps // 4 - 1] == 0
    assert seen[steps // 2] == pytest.approx(0.8 * (1 - 0.5**3), abs=0.01)
    assert seen[-1] == pytest.approx(0.8, abs=0.001)
    assert trained.best == 2
    assert [zeros(trained.model)[name] for name in made.shares] == pytest.approx([0.8] * len(made.shares), abs=0.002)


def test_trained_pruning_keeps_the_accuracy_that_one_shot_loses(network: Any, data: Dataset) -> None:
    stage = PruneWeights(sparsity=0.9, training=Training(epochs=8, batch_size=32, learning_rate=3e-3, patience=0))
    targets = [load_target(name) for name in ("host", "coral-usb", "cortex-m7")]
    pruned = prune_weights(network, stage, data, targets=targets)
    once = apply(network, plan(network, stage))

    def accuracy(model: Any) -> float:
        part = data.part("test")
        return float((model.predict(part.array()[0], verbose=0).argmax(1) == part.labels[0]).mean())

    assert accuracy(pruned.model) > accuracy(network) - 0.03 > accuracy(once)
    assert {name: share for name, share in zeros(pruned.model).items() if share} == {
        name: pytest.approx(0.9, abs=0.01) for name in plan(network, stage).shares
    }
    assert pruned.history[-1].number == 8
    assert pruned.report.gain["host"].startswith("no speed: XNNPACK")
    assert "Edge TPU" in pruned.report.gain["coral-usb"]
    assert "no flash" in pruned.report.gain["cortex-m7"]


def test_zeros_survive_a_later_training_only_with_preserve(network: Any, data: Dataset) -> None:
    pruned = apply(network, plan(network, PruneWeights(sparsity=0.7)))
    kept = fine_tune(pruned, data, QUICK, callbacks=[Preserve()])
    lost = fine_tune(pruned, data, QUICK)
    assert kept.best > 0
    assert zeros(kept.model) == zeros(pruned)
    assert any(np.any(a.value != b.value) for a, b in zip(kernels_of(kept.model), kernels_of(pruned), strict=True))
    assert lost.best > 0
    assert max(zeros(lost.model).values()) < 0.1


def test_a_second_pruning_keeps_the_zeros_of_the_first(network: Any, data: Dataset) -> None:
    first = apply(network, plan(network, PruneWeights(sparsity=0.7)))
    rules = (PruneLayers("*", keep=True), PruneLayers("digit", sparsity=0.8))
    second = prune_weights(first, PruneWeights(sparsity=0.8, layers=rules, training=QUICK), data)
    assert second.history[-1].best
    assert zeros(second.model) == {**zeros(first), "digit/kernel": pytest.approx(0.8, abs=0.01)}
    for old, new in zip(kernels_of(first), kernels_of(second.model), strict=True):
        assert not new.value[old.value == 0].any()


def test_an_interrupted_pruning_goes_on_to_the_same_zeros(network: Any, data: Dataset, tmp_path: Path) -> None:
    made = plan(network, PruneWeights(sparsity=0.8))

    class Stop(Pruner):
        def before_step(self, step: int) -> None:
            super().before_step(step)
            if step == 15:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(network, data, QUICK, callbacks=[Stop(made.shares, Pattern(), 0, 0.9, 3)], checkpoint=tmp_path / "c")
    Stop.before_step = Pruner.before_step  # type: ignore[method-assign]
    said: list[str] = []
    again = fine_tune(
        network,
        data,
        QUICK,
        callbacks=[Stop(made.shares, Pattern(), 0, 0.9, 3)],
        checkpoint=tmp_path / "c",
        say=said.append,
    )
    whole = fine_tune(network, data, QUICK, callbacks=[Pruner(made.shares, Pattern(), 0, 0.9, 3)])
    assert "goes on after epoch 1" in said[0]
    assert all(np.array_equal(a, b) for a, b in zip(again.model.get_weights(), whole.model.get_weights(), strict=True))


# What is refused.


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sparsity": 0.0}, "prunes nothing"),
        ({"sparsity": 1.0}, "no weight"),
        ({"sparsity": -0.5}, "above 0 and below 1"),
        ({"sparsity": 80.0}, "0.8 means 80 %"),
        ({}, "either `sparsity"),
        ({"sparsity": 0.5, "threshold": 0.1}, "either `sparsity"),
        ({"sparsity": 0.5, "pattern": "4"}, "1x4"),
        ({"sparsity": 0.5, "pattern": "4:2"}, "2:4"),
        ({"sparsity": 0.8, "pattern": "2:4"}, "makes a sparsity of 0.5"),
        ({"sparsity": 0.5, "begin": 0.5, "end": 0.5}, "before end"),
        ({"sparsity": 0.5, "policy": "xnnpack"}, "at least 0.67"),
        ({"pattern": "2:4", "policy": "xnnpack"}, "at least 0.67"),
        ({"threshold": 0.1, "scope": "global"}, "threshold"),
        ({"sparsity": 0.5, "layers": [{"pattern": "*"}]}, "keep = true"),
        ({"sparsity": 0.5, "layers": [{"pattern": "*", "sparsity": 0}]}, "keep = true"),
    ],
)
def test_impossible_settings_are_refused_with_the_mend(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"stage": "prune_weights", **wrong}, PruneWeights)


def test_patterns_that_match_nothing_and_thresholds_below_everything_are_refused(network: Any) -> None:
    with pytest.raises(RecipeError, match="matches no layer") as caught:
        plan(network, PruneWeights(sparsity=0.5, layers=(PruneLayers("digits", keep=True),)))
    assert "digit" in caught.value.mend
    with pytest.raises(RecipeError, match="half of them are below"):
        plan(network, PruneWeights(threshold=1e-12))
    with pytest.raises(RecipeError, match="no block of 64x64 fits into the 2% of the weights") as caught:
        plan(network, PruneWeights(sparsity=0.02, scope="global", pattern="64x64"))
    assert "smaller pattern" in caught.value.mend
    with pytest.raises(RecipeError, match="every kernel stays dense"):
        plan(network, PruneWeights(sparsity=0.5, layers=(PruneLayers("*", keep=True),)))
    with pytest.raises(RecipeError, match="no data") as caught:
        prune_weights(network, PruneWeights(sparsity=0.5))
    assert "one_shot" in caught.value.mend


def test_the_stage_goes_to_toml_and_back() -> None:
    stage = PruneWeights(sparsity=0.8, pattern="1x4", layers=(PruneLayers("head/*", keep=True),), training=QUICK)
    assert strict_toml.loads(strict_toml.dumps(stage), PruneWeights, RecipeError) == stage


# XNNPACK.


def _sparse_friendly(keras: Any, first: dict[str, Any] | None = None, inner: str = "relu") -> Any:
    layers = keras.layers
    x = inputs = keras.Input((33, 33, 3))
    x = layers.Conv2D(8, 3, **{"strides": 2, "padding": "same", **(first or {})}, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(16, 1, activation=inner, name="pointwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def test_the_xnnpack_policy_prunes_pointwise_convolutions_only() -> None:
    model = _sparse_friendly(import_keras())
    assert misfits(model) == ()
    made = plan(model, PruneWeights(sparsity=0.8, policy="xnnpack"))
    assert set(made.shares) == {"pointwise/kernel"}
    assert gain(apply(model, made), load_target("raspberry-pi-4")).startswith("perhaps speed")
    assert "less than 67 %" in gain(model, load_target("raspberry-pi-4"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first": {"strides": 1}}, "begins with stem"),
        ({"first": {"padding": "valid"}}, "padded by 1"),
        ({"inner": "tanh"}, "pointwise .activation tanh"),
    ],
)
def test_the_xnnpack_policy_says_why_not(change: dict[str, Any], said: str) -> None:
    model = _sparse_friendly(import_keras(), **change)
    with pytest.raises(RecipeError, match=said):
        plan(model, PruneWeights(sparsity=0.8, policy="xnnpack"))


def test_the_xnnpack_policy_takes_a_layer_as_an_activation_and_counts_exceptions() -> None:
    keras = import_keras()
    assert "activation prelu" in misfits(_sparse_friendly(keras, inner=keras.layers.PReLU()))[0]
    model = _sparse_friendly(keras, inner=keras.layers.LeakyReLU(0.1))
    assert misfits(model) == ()
    rules = (PruneLayers("pointwise", 0.5),)
    with pytest.raises(RecipeError, match=r"50\.0% of the weights of 1x1 convolutions would be zero"):
        plan(model, PruneWeights(sparsity=0.8, policy="xnnpack", layers=rules))


def test_the_xnnpack_policy_does_not_take_a_layer_for_the_one_of_keras() -> None:
    keras = import_keras()
    own = type("Conv2D", (keras.layers.Layer,), {"call": lambda self, x: x})
    inputs = keras.Input((33, 33, 3))
    assert "begins with mine" in misfits(keras.Model(inputs, own(name="mine")(inputs)))[0]
    stem = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(own(name="mine")(stem)))
    assert "mine (Conv2D of your own)" in misfits(model)[0]
