"""Channels that live and die together: the law that zeroing and removing them is the same, and what is locked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import architectures
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.graph.channels import Channels, Kept, analyse, shrink, zeroed
from edgekit.graph.macs import costs, total
from edgekit.graph.walk import walk
from edgekit.tf import import_keras

FAST = ("resnet8", "autoencoder", "conv1d", "unet", "two_in_two_out", "lstm", "gru", "vit", "nested", "shared")


def halved(channels: Channels, seed: int = 0) -> Kept:
    """Half of every group that may shrink, drawn at random."""
    rng = np.random.default_rng(seed)
    kept = np.ones(channels.classes, bool)
    for group in channels.groups:
        if not group.reason:
            kept[rng.permutation(group.classes)[: group.size // 2]] = False
    return kept


def check_law(model: Any) -> tuple[Channels, Any, float]:
    """Removing channels gives the outputs of the network in which they are zero; the counts are those foreseen."""
    channels = analyse(walk(model))
    kept = halved(channels)
    small, masked = shrink(channels, kept), zeroed(channels, kept)
    inputs = architectures.samples(model, 3)
    worst = 0.0
    found = zip(*(architectures.outputs(m, inputs) for m in (model, masked, small)), strict=True)
    for before, wanted, output in found:
        spread = float(np.ptp(wanted, axis=0).max())
        assert spread > 1e-9, "the outputs do not depend on the inputs: this would prove nothing"
        assert np.abs(output - wanted).max() <= 1e-9 * spread
        assert (not any(not group.reason for group in channels.groups)) or np.abs(wanted - before).max() > 1e-6
        worst = max(worst, float(np.abs(output - wanted).max()))
    _check_counts(channels, kept, small)
    return channels, small, worst


def _check_counts(channels: Channels, kept: Kept, small: Any) -> None:
    graph = walk(small)
    for name, layer in graph.layers.items():
        assert [tuple(weight.shape) for weight in layer.weights] == [
            channels.weight_shape(name, place, kept) for place in range(len(layer.weights))
        ]
    assert {weight.path for weight in small.weights} & {"", None} == set()


@pytest.mark.covers("channels")
@pytest.mark.parametrize("name", FAST)
def test_removing_is_zeroing(name: str) -> None:
    channels, small, _ = check_law(architectures.build(name, dtype="float64"))
    assert any(not group.reason for group in channels.groups)
    assert small.count_params() < architectures.build(name).count_params()


@pytest.mark.covers("channels")
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in architectures.ALL if name not in FAST])
def test_removing_is_zeroing_in_large_networks(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = architectures.build(name, dtype="float64")
    channels, small, worst = check_law(model)
    before, after = (total(costs(walk(network))) for network in (model, small))
    macs = f"{before.macs / 1e6:8.1f} -> {after.macs / 1e6:7.1f} M MACs"
    size = f"{before.parameters / 1e3:8.1f} -> {after.parameters / 1e3:7.1f} k parameters"
    with capsys.disabled():
        print(f"\n{name:18} {macs}, {size}, {len(channels.groups)} groups, difference {worst:.0e}")  # noqa: T201
    assert after.macs < 0.6 * before.macs


Tensor = Any


def _conv(x: Tensor, filters: int = 8, **settings: Any) -> Tensor:
    return import_keras().layers.Conv2D(filters, 3, padding="same", **settings)(x)


def _end(x: Tensor) -> Tensor:
    layers = import_keras().layers
    return layers.Dense(3, name="end")(layers.Flatten()(x))


def _decoder(x: Tensor) -> Tensor:
    """A dense layer whose units become positions and channels."""
    layers = import_keras().layers
    x = layers.Dense(2 * 2 * 6, activation="relu", name="units")(layers.GlobalAveragePooling2D()(x))
    return layers.Conv2DTranspose(4, 2, 2)(layers.Reshape((2, 2, 6))(x))


def _attention_map(x: Tensor) -> Tensor:
    """A gate for each position (one channel wide) and one for each channel."""
    layers = import_keras().layers
    x = _conv(x, 8) * _conv(x, 1, activation="sigmoid")
    gate = layers.Dense(8, activation="sigmoid")(layers.Dense(4, activation="relu")(import_keras().ops.mean(x, (1, 2))))
    return layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)])


def _splits(x: Tensor) -> Tensor:
    ops = import_keras().ops
    left, right = ops.split(_conv(x, 12), [4], axis=-1)
    return ops.concatenate([_conv(left, 5), right], axis=-1)


def _joined_positions(x: Tensor) -> Tensor:
    layers = import_keras().layers
    flat = [layers.Reshape((-1, 6))(_conv(x, 6)) for _ in range(2)]
    return layers.Conv1D(4, 3)(layers.Concatenate(axis=1)(flat))


def _norms(x: Tensor) -> Tensor:
    layers = import_keras().layers
    x = layers.GroupNormalization(-1)(_conv(x, 6))
    x = layers.GroupNormalization(6)(layers.PReLU()(x))
    return layers.BatchNormalization(scale=False)(x)


def _depthwise_by_groups(x: Tensor) -> Tensor:
    return _conv(_conv(x, 6), 12, groups=6, activation="relu")


def _outer_skip(x: Tensor) -> Tensor:
    """Concatenated blocks added to one block as wide as both."""
    layers = import_keras().layers
    return layers.Add()([layers.Concatenate()([_conv(x, 4), _conv(x, 6)]), _conv(x, 10)])


def _twice_shared(x: Tensor) -> Tensor:
    """A layer shared by two branches ties what enters it."""
    layers = import_keras().layers
    shared = layers.Conv2D(7, 1)
    return shared(_conv(x, 6)) - layers.ReLU()(shared(_conv(x, 6)))


def _padded(x: Tensor) -> Tensor:
    layers, ops = import_keras().layers, import_keras().ops
    x = ops.pad(_conv(x, 6), [[0, 0], [1, 1], [0, 0], [0, 0]])
    x = ops.expand_dims(ops.flip(layers.Cropping2D(1)(x), axis=1), 1)
    return ops.squeeze(ops.tile(x, (1, 1, 2, 1, 1)), 1)


CASES: dict[str, tuple[Callable[[Tensor], Tensor], list[int]]] = {
    "dense to positions": (_decoder, [6, 4]),
    "gates": (_attention_map, [8, 4]),
    "split": (_splits, [4, 5, 8]),
    "positions joined": (_joined_positions, [6, 4]),
    "norms by channel": (_norms, [6]),
    "one channel a group": (_depthwise_by_groups, [6]),
    "blocks added to a block": (_outer_skip, [4, 6]),
    "shared by branches": (_twice_shared, [6, 7]),
    "moved positions": (_padded, [6]),
}


def _small(build: Callable[[Tensor], Tensor]) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    try:
        inputs = keras.Input((6, 6, 3))
        model = keras.Model(inputs, _end(build(inputs)))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    architectures.randomize(model)
    return model


@pytest.mark.parametrize("case", CASES)
def test_what_belongs_together(case: str) -> None:
    build, sizes = CASES[case]
    channels, _, _ = check_law(_small(build))
    assert sorted(group.size for group in channels.groups if not group.reason and group.size > 1) == sorted(sizes)


def _layer_norm(x: Tensor) -> Tensor:
    return import_keras().layers.LayerNormalization(name="mix")(_conv(x))


def _soft(x: Tensor) -> Tensor:
    return _conv(x, activation="softmax", name="mix")


def _lambda(x: Tensor) -> Tensor:
    return import_keras().layers.Lambda(lambda value: value[..., ::-1], output_shape=(6, 6, 8), name="mix")(_conv(x))


def _own_activation(x: Tensor) -> Tensor:
    return import_keras().layers.Activation(lambda value: value / 2, name="mix")(_conv(x))


def _transposed_away(x: Tensor) -> Tensor:
    return import_keras().layers.Permute((3, 1, 2), name="mix")(_conv(x))


def _few_groups(x: Tensor) -> Tensor:
    return _conv(_conv(x), 8, groups=2, name="mix")


def _constant(x: Tensor) -> Tensor:
    return import_keras().layers.Rescaling([0.5] * 8, name="mix")(_conv(x))


def _subclass(x: Tensor) -> Tensor:
    class Conv2D(import_keras().layers.Conv2D):  # type: ignore[misc]
        """Might do anything."""

    return Conv2D(8, 3, name="mix")(_conv(x))


LOCKED = (_layer_norm, _soft, _lambda, _own_activation, _transposed_away, _few_groups, _constant, _subclass)


@pytest.mark.parametrize("build", LOCKED, ids=lambda build: build.__name__[1:])
def test_what_is_not_understood_locks_and_says_so(build: Callable[[Tensor], Tensor]) -> None:
    channels = analyse(walk(_small(build)))
    assert "'mix'" in channels.groups[0].reason
    assert shrink(channels, halved(channels)).count_params() == _small(build).count_params()


def test_a_layer_of_the_users_own_is_a_lock_and_the_rest_goes_on() -> None:
    keras = import_keras()

    @keras.saving.register_keras_serializable("edgekit-tests")
    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    def build(x: Tensor) -> Tensor:
        return _conv(Doubled(name="mix")(_conv(_conv(x, 4), 6)), 10)

    channels, _, _ = check_law(_small(build))
    assert sorted(group.size for group in channels.groups if not group.reason) == [4, 10]
    assert [group.reason for group in channels.groups if group.size == 6] == [
        "Doubled 'mix' is not known to keep channels apart"
    ]


def test_inputs_and_outputs_are_locked() -> None:
    channels = analyse(walk(architectures.build("unet")))
    assert [group.reason for group in channels.groups if group.reason] == ["output of the model"]


def test_channels_first_is_refused() -> None:
    keras = import_keras()
    inputs = keras.Input((3, 8, 8))
    model = keras.Model(inputs, keras.layers.MaxPooling2D(data_format="channels_first", name="pool")(inputs))
    with pytest.raises(ModelError, match="'pool' has the data format channels_first"):
        analyse(walk(model))


def test_a_fixed_batch_is_flattened_sample_by_sample() -> None:
    keras = import_keras()
    inputs = keras.Input(batch_shape=(8, 8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(inputs))
    channels = analyse(walk(keras.Model(inputs, keras.layers.Dense(5)(x))))
    assert sorted(group.size for group in channels.groups if not group.reason) == [4]
    assert shrink(channels, halved(channels)).output_shape == (8, 5)
