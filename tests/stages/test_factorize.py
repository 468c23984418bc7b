"""Factorization: exact at full rank whatever the layer, bounded below it, and only where it pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
from msgspec import ValidationError, convert
from msgspec.structs import replace

from edgekit import strict_toml
from edgekit.dataset import load_dataset, match
from edgekit.errors import ModelError, RecipeError
from edgekit.graph.macs import costs, total
from edgekit.graph.walk import walk
from edgekit.model import load_model
from edgekit.stages import factorize
from edgekit.stages.factorize import Factorize, FactorizeLayers, FactorizePlan, apply, plan, report
from edgekit.stages.low_rank import Geometry, Kind, chain, energies, factors, kinds_of, product
from edgekit.stages.rank_choice import Split
from edgekit.stages.training import Training
from edgekit.tf import import_keras

Array = np.ndarray[Any, Any]
WINDOW = (3, 5)


def _random(model: Any, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        values = draw.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


def _samples(model: Any, count: int = 3) -> list[Array]:
    draw = np.random.default_rng(1)
    return [draw.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def _out(model: Any, arrays: list[Array]) -> Array:
    return np.asarray(model(arrays if len(arrays) > 1 else arrays[0]))


def _full(model: Any, kinds: dict[str, Kind]) -> FactorizePlan:
    """A plan that splits layers at full rank, which no measure would choose as it pays nothing."""
    layers = walk(model).layers
    ranks = {name: energies(np.asarray(layers[name].kernel), kind).shape for name, kind in kinds.items()}
    return FactorizePlan(
        tuple(Split(name, kind, ranks[name], 1.0, 1, 1, 1, 1) for name, kind in kinds.items()), (), 1, 1
    )


def _close(found: Array, wanted: Array, tolerance: float = 2e-6) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def _one(name: str, shape: tuple[int, ...], **settings: Any) -> Any:
    keras = import_keras()
    inputs = keras.Input(shape)
    layer = getattr(keras.layers, name)(**settings, name="layer")
    return _random(keras.Model(inputs, layer(inputs)))


CONVOLUTIONS: list[dict[str, Any]] = [
    {"strides": 1, "padding": "same"},
    {"strides": 2, "padding": "same"},
    {"strides": (2, 1), "padding": "same", "activation": "relu"},
    {"strides": (1, 3), "padding": "valid", "use_bias": False},
    {"strides": 3, "padding": "valid"},
    {"dilation_rate": 2, "padding": "same", "activation": "elu"},
    {"dilation_rate": (2, 3), "padding": "valid"},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("kind", kinds_of(WINDOW))
def test_a_convolution_at_full_rank_computes_the_same(kind: Kind, settings: dict[str, Any]) -> None:
    for size in ((14, 17), (13, 16)):
        model = _one("Conv2D", (*size, 4), filters=6, kernel_size=WINDOW, **settings)
        split = apply(model, _full(model, {"layer": kind}))
        _close(_out(split, _samples(model)), _out(model, _samples(model)))
        assert len(walk(split).calls) == (3 if kind == "tucker" else 2)


OTHERS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("Dense", (7,), {"units": 5, "activation": "relu"}),
    ("Dense", (3, 4, 7), {"units": 9, "use_bias": False}),
    ("Conv2D", (9, 8, 7), {"filters": 4, "kernel_size": 1, "strides": 2, "padding": "same"}),
    ("Conv2D", (9, 8, 7), {"filters": 4, "kernel_size": (1, 3), "strides": (2, 1), "padding": "same"}),
    ("Conv1D", (13, 4), {"filters": 6, "kernel_size": 5, "strides": 2, "padding": "causal"}),
    ("Conv1D", (13, 4), {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
    ("Conv3D", (7, 8, 9, 4), {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}),
]


@pytest.mark.parametrize(("name", "shape", "settings"), OTHERS, ids=str)
def test_other_layers_at_full_rank_compute_the_same(
    name: str, shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    model = _one(name, shape, **settings)
    for kind in kinds_of(np.asarray(model.get_layer("layer").kernel).shape[:-2]):
        split = apply(model, _full(model, {"layer": kind}))
        _close(_out(split, _samples(model)), _out(model, _samples(model)))


def test_a_function_of_ones_own_acts_behind_the_last_factor_only() -> None:
    model = _one("Dense", (6,), units=5, activation=lambda x: x * x)
    split = apply(model, _full(model, {"layer": "output"}))
    _close(_out(split, _samples(model)), _out(model, _samples(model)), 2e-5)


def test_the_error_of_a_dense_layer_is_bounded_by_the_first_singular_value_that_was_dropped() -> None:
    model = _one("Dense", (24,), units=16)
    kernel = np.asarray(model.get_layer("layer").kernel, np.float64)
    values = np.linalg.svd(kernel, compute_uv=False)
    x = np.random.default_rng(2).normal(size=(200, 24)).astype(np.float32)
    for rank in range(1, 16):
        short = FactorizePlan((Split("layer", "output", (rank,), 0.5, 1, 1, 1, 1),), (), 1, 1)
        error = np.linalg.norm(np.asarray(apply(model, short)(x)) - np.asarray(model(x)), axis=1)
        assert (error <= values[rank] * np.linalg.norm(x, axis=1) + 1e-4).all()
        assert (error > 1e-3).any()


@pytest.mark.parametrize("kind", kinds_of(WINDOW))
def test_energy_says_the_error_of_the_weights(kind: Kind) -> None:
    kernel = np.random.default_rng(0).normal(size=(*WINDOW, 6, 7))
    kept = energies(kernel, kind)
    assert kept.flat[-1] == 1
    assert (np.diff(kept, axis=-1) >= 0).all()
    for share in (0.3, 0.6, 0.9):
        ranks = tuple(max(1, int(full * share)) for full in kept.shape)
        parts = factors(kernel, kind, ranks)
        left = ((product(parts) - kernel) ** 2).sum() / (kernel**2).sum()
        promised = 1 - kept[tuple(rank - 1 for rank in ranks)]
        if kind == "tucker":
            assert left <= promised * (1 + 1e-9)  # HOOI can only improve on HOSVD
        else:
            assert left == pytest.approx(promised)


def test_hooi_improves_on_hosvd() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 16))
    left = ((product(factors(kernel, "tucker", (4, 4))) - kernel) ** 2).sum() / (kernel**2).sum()
    assert left < 0.98 * (1 - energies(kernel, "tucker")[3, 3])


def _network() -> Any:
    """Residual, shared, nested, strided: a low-rank kernel among others."""
    keras = import_keras()
    layers = keras.layers
    inner_in = keras.Input((8, 8, 16))
    body = layers.Conv2D(16, 3, padding="same", name="conv")(inner_in)
    body = layers.BatchNormalization()(body)
    inner = keras.Model(inner_in, layers.ReLU()(body), name="block")
    shared = layers.Dense(16, activation="relu", name="shared")
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="conv")(inputs)
    x = x + inner(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(32, 3, padding="same", groups=4, name="grouped")(x)
    x = layers.GlobalAveragePooling2D()(shared(shared(layers.Conv2D(16, 1, name="pointwise")(x))))
    model = _random(keras.Model(inputs, layers.Dense(5, activation="softmax", name="digit")(x)))
    kernel = np.asarray(shared.kernel)
    shared.kernel.assign(kernel[:, :3] @ kernel[:3, :])
    return model


@pytest.fixture(scope="module")
def network() -> Any:
    return _network()


def test_every_layer_is_split_or_left_alone_with_its_reason(network: Any) -> None:
    found = plan(network, Factorize(energy=0.999))
    assert [split.name for split in found.splits] == ["shared"]
    split = found.splits[0]
    assert (split.kind, split.ranks, split.energy) == ("output", (3,), pytest.approx(1))
    assert (split.macs_before, split.macs_after) == (2 * 64 * 256, 2 * 64 * 3 * 32)
    reasons = {kept.name: kept.reason for kept in found.kept}
    assert set(reasons) == {"conv", "block.conv", "depthwise", "grouped", "pointwise", "digit"}
    assert "it is a factorization already" in reasons["depthwise"]
    assert reasons["grouped"] == "its 4 groups keep channels apart already"
    assert "does not pay: rank 5 (SVD) needs 31% more MACs" in reasons["digit"]
    rows = found.rows()
    assert rows[0][:3] == ("shared", "SVD", "3")
    assert all(len(row) == len(factorize.HEADER) for row in rows)


def test_what_the_plan_promises_is_what_the_model_has(network: Any) -> None:
    before = [np.asarray(weight) for weight in network.weights]
    found = plan(network, Factorize(energy=0.6))
    assert {split.name for split in found.splits} >= {"conv", "block.conv", "shared"}
    split = apply(network, found)
    assert split.count_params() == found.parameters_after < found.parameters_before == network.count_params()
    assert total(costs(walk(split))).macs == found.macs_after < found.macs_before == total(costs(walk(network))).macs
    for told, planned in zip(report(network, split, found).layers, found.splits, strict=True):
        assert told.relative_error <= np.sqrt(1 - planned.energy) + 1e-4
        assert told.layers[-1] == planned.name
        assert told.layers[0].startswith(f"{planned.name}_factor_0")
    assert all((a == np.asarray(b)).all() for a, b in zip(before, network.weights, strict=True))
    assert [tensor.name for tensor in split.inputs] == ["image"]
    assert split.outputs[0]._keras_history.operation.name == "digit"
    assert len(walk(split).calls_of("shared")) == 2


def test_a_network_at_full_rank_computes_the_same(network: Any) -> None:
    kinds: dict[str, Kind] = {
        "conv": "vertical",
        "block.conv": "tucker",
        "pointwise": "output",
        "shared": "output",
        "digit": "output",
    }
    split = apply(network, _full(network, kinds))
    _close(_out(split, _samples(network)), _out(network, _samples(network)), 1e-4)


@pytest.mark.parametrize("kind", kinds_of(WINDOW))
def test_every_factor_can_be_trained(kind: Kind) -> None:
    """Also with strides that differ by axis, as the spatial splits make them."""
    model = _one("Conv2D", (14, 17, 4), filters=6, kernel_size=WINDOW, strides=2, padding="same")
    split = apply(model, _full(model, {"layer": kind}))
    before = [np.asarray(weight) for weight in split.trainable_weights]
    split.compile("sgd", "mse")
    split.fit(_samples(model)[0], np.zeros((3, 7, 9, 6)), verbose=0)
    assert all((a != np.asarray(b)).any() for a, b in zip(before, split.trainable_weights, strict=True))


@pytest.mark.parametrize("measure", ["macs", "parameters"])
def test_a_budget_is_met_and_not_by_much_more_than_asked(measure: str, network: Any) -> None:
    found = plan(network, Factorize(**{measure: 0.8}))
    after = (
        found.macs_after / found.macs_before if measure == "macs" else found.parameters_after / found.parameters_before
    )
    assert 0.7 < after <= 0.8
    energies_kept = [split.energy for split in found.splits]
    assert max(energies_kept) - min(energies_kept) < 0.45


def test_less_budget_keeps_less_energy(network: Any) -> None:
    kept = []
    for macs in (0.95, 0.8, 0.6):
        splits = {split.name: split.energy for split in plan(network, Factorize(macs=macs)).splits}
        kept.append([splits.get(name, 1.0) for name in ("conv", "block.conv", "pointwise", "shared", "digit")])
    assert all((np.diff(np.array(kept), axis=0) <= 1e-9).ravel())


def test_ranks_follow_ratio_multiple_and_rules(network: Any) -> None:
    found = plan(network, Factorize(rank_ratio=0.25, method="tucker", layers=(FactorizeLayers("shared", rank=2),)))
    ranks = {split.name: split.ranks for split in found.splits}
    assert ranks["block.conv"] == (4, 4)
    assert ranks["shared"] == (2,)
    found = plan(network, Factorize(energy=0.5, rank_multiple=8, layers=(FactorizeLayers("*conv", keep=True),)))
    assert all(rank % 8 == 0 for split in found.splits for rank in split.ranks)
    reasons = {kept.name: kept.reason for kept in found.kept}
    assert reasons["conv"] == reasons["block.conv"] == "kept, as '*conv' asks"
    only = plan(network, Factorize(energy=0.5, only=("block.*",)))
    assert [split.name for split in only.splits] == ["block.conv"]
    assert not plan(network, Factorize(energy=0.5, min_saving=0.99)).splits


def test_training_the_factors_wins_back_what_the_split_lost(digits: Path) -> None:
    loaded = load_model(digits / "digits.keras")
    data = match(load_dataset(digits / "digits.npz"), loaded.inputs, loaded.outputs)
    stage = Factorize(macs=0.25, training=Training(epochs=10, batch_size=64, learning_rate=2e-3, patience=0))
    once = factorize.factorize(loaded.keras, replace(stage, one_shot=True))
    done = factorize.factorize(loaded.keras, stage, data)
    assert done.report.macs_after <= 0.25 * done.report.macs_before

    def accuracy(model: Any) -> float:
        with np.load(digits / "digits.npz") as arrays:
            return float((np.asarray(model(arrays["x_test"])).argmax(1) == arrays["y_test"]).mean())

    assert accuracy(once.model) < 0.9
    assert accuracy(done.model) > 0.95
    assert {layer.ranks for layer in done.report.layers} == {layer.ranks for layer in once.report.layers}
    with pytest.raises(RecipeError, match="no data was given"):
        factorize.factorize(loaded.keras, stage)


def test_forecast_of_a_strided_spatial_split() -> None:
    """The first factor already moves by the stride of its own axis."""
    whole = Geometry((3, 3), (32, 32), (2, 2), (1, 1), "same")
    assert [part.shrunk() for part in chain("vertical", whole)] == [(16, 32), (16, 16)]
    assert [part.shrunk() for part in chain("horizontal", whole)] == [(32, 16), (16, 16)]
    assert [part.shrunk() for part in chain("tucker", whole)] == [(32, 32), (16, 16), (16, 16)]
    assert [part.shrunk() for part in chain("output", Geometry((3,), (9,), (2,), (2,), "valid"))] == [(3,), (3,)]


ARCHITECTURES = [
    *architectures.OWN,
    *(pytest.param(name, marks=pytest.mark.slow) for name in architectures.APPLICATIONS),
]


@pytest.mark.covers("factors")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_at_full_rank_computes_the_same(name: str) -> None:
    """In float64, so that nothing but a wrong rewrite can make a difference; each kind of split takes its turn."""
    model = architectures.build(name, dtype="float64")
    found = plan(model, Factorize(rank_ratio=1.0))
    splits = {split.name for split in found.splits}
    splits |= {kept.name for kept in found.kept if kept.reason.startswith("full rank does not pay")}
    assert splits
    layers = walk(model).layers
    kinds: dict[str, Kind] = {}
    for place, layer in enumerate(sorted(splits)):
        possible = kinds_of(np.asarray(layers[layer].kernel).shape[:-2])
        kinds[layer] = possible[place % len(possible)]
    inputs = architectures.samples(model)
    split = apply(model, _full(model, kinds))
    for wanted, given in zip(architectures.outputs(model, inputs), architectures.outputs(split, inputs), strict=True):
        assert np.abs(given - wanted).max() <= 1e-8 * np.abs(wanted).max()


@pytest.mark.covers("factors")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_planned_for_an_architecture_is_what_it_becomes(name: str) -> None:
    model = architectures.build(name)
    found = plan(model, Factorize(energy=0.7))
    split = apply(model, found)
    whole = total(costs(walk(split)))
    assert (whole.macs, whole.parameters) == (found.macs_after, found.parameters_after)
    assert whole.macs < found.macs_before
    outputs = architectures.outputs(split, architectures.samples(model))
    assert all(np.isfinite(output).all() for output in outputs)
    for told, planned in zip(report(model, split, found).layers, found.splits, strict=True):
        assert told.relative_error <= np.sqrt(1 - planned.energy) + 1e-4


def test_weights_of_zeros_are_split_without_harm() -> None:
    model = _one("Dense", (16,), units=16)
    model.get_layer("layer").kernel.assign(np.zeros((16, 16)))
    found = plan(model, Factorize(energy=0.9))
    assert found.splits[0].ranks == (1,)
    _close(_out(apply(model, found), _samples(model)), _out(model, _samples(model)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"energy": 0.5, "macs": 0.5},
        {"energy": 0.0},
        {"energy": 1.5},
        {"energy": float("nan")},
        {"rank_ratio": -1.0},
        {"macs": 0.5, "rank_multiple": 0},
        {"macs": 0.5, "min_saving": 1.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|exactly one"):
        Factorize(**settings)  # type: ignore[arg-type]


def test_impossible_rules_are_refused() -> None:
    for rule in ({}, {"rank": 0}, {"energy": 2.0}, {"rank": 3, "keep": True}):
        with pytest.raises(ValueError, match=r"exactly one|must be"):
            FactorizeLayers("conv", **rule)  # type: ignore[arg-type]


def test_settings_make_the_round_trip_through_toml() -> None:
    stage = Factorize(macs=0.5, method="tucker", layers=(FactorizeLayers("head*", rank=8),))
    assert strict_toml.loads(strict_toml.dumps(stage), Factorize, RecipeError) == stage
    with pytest.raises(ValidationError, match="exactly one"):
        convert({"stage": "factorize"}, Factorize)


def test_models_and_patterns_that_do_not_fit_are_refused(network: Any) -> None:
    with pytest.raises(RecipeError, match="'head\\*' matches no layer"):
        plan(network, Factorize(energy=0.9, only=("head*",)))
    with pytest.raises(RecipeError, match=r"macs = 0\.01 cannot be reached: the lowest ranks everywhere leave \d"):
        plan(network, Factorize(macs=0.01))
    with pytest.raises(RecipeError, match="full rank 5, not 6"):
        plan(network, Factorize(energy=0.9, layers=(FactorizeLayers("digit", rank=6),)))
    broken = _one("Dense", (4,), units=4)
    broken.get_layer("layer").kernel.assign(np.full((4, 4), np.nan))
    with pytest.raises(ModelError, match="NaN or infinity in the weights layer/kernel"):
        plan(broken, Factorize(energy=0.9))
    with pytest.raises(ModelError, match="channels first"):
        plan(_one("Conv2D", (3, 8, 8), filters=4, kernel_size=3, data_format="channels_first"), Factorize(energy=0.9))


def test_foreign_layers_are_left_alone_and_open_sizes_refused() -> None:
    keras = import_keras()

    class Own(keras.layers.Dense):  # type: ignore[misc,name-defined]
        pass

    def model(steps: int | None) -> Any:
        inputs = keras.Input((steps, 8))
        return keras.Model(inputs, keras.layers.LSTM(4, name="lstm")(Own(8, name="own")(inputs)))

    reasons = {kept.name: kept.reason for kept in plan(model(5), Factorize(energy=0.5)).kept}
    assert reasons == {
        "own": "Own: only Dense and Conv1D, 2D, 3D themselves are split",
        "lstm": "LSTM: only Dense and Conv1D, 2D, 3D themselves are split",
    }
    with pytest.raises(ModelError, match="open dimension"):
        plan(model(None), Factorize(energy=0.5))
    with pytest.raises(ModelError, match="open dimension"):
        plan(_one("Conv2D", (None, None, 3), filters=4, kernel_size=3), Factorize(energy=0.5))


def test_a_layer_that_is_left_alone_names_the_limit_it_missed() -> None:
    model = _one("Dense", (16,), units=16)
    (kept,) = plan(model, Factorize(rank_ratio=0.3, min_saving=0.5)).kept
    assert kept.reason.endswith("needs 38% fewer MACs, and min_saving asks for 50%")
