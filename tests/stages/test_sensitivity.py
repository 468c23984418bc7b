"""Sensitivity: what is measured is what pruning would do, nothing is changed, and budgets say what the table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from architectures import build, outputs, samples
from small_digits import named_network, small_data

from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import DataError, RecipeError
from edgekit.graph.channels import analyse, shrink
from edgekit.graph.walk import walk
from edgekit.stages import allocation
from edgekit.stages.allocation import Curve
from edgekit.stages.harm import Judge
from edgekit.stages.kernels import kernels_of
from edgekit.stages.probes import kernel_probes, silenced
from edgekit.stages.prune_channels import PruneChannels, PruneChannelsLayers
from edgekit.stages.prune_channels import apply as shrunk
from edgekit.stages.prune_channels import plan as plan_channels
from edgekit.stages.prune_channels import report as report_channels
from edgekit.stages.prune_weights import PruneLayers, PruneWeights, apply, prune_weights
from edgekit.stages.prune_weights import plan as plan_weights
from edgekit.stages.sensitivity import Sensitivity, SensitivityReport, budgets, sensitivity
from edgekit.stages.sparsity import Pattern
from edgekit.stages.train import copy_of
from edgekit.tf import import_keras


@pytest.fixture(scope="module")
def network(digits: Path) -> Any:
    return named_network(digits)


@pytest.fixture(scope="module")
def data(digits: Path, network: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_data(digits, network, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def found(network: Any, data: Dataset) -> SensitivityReport:
    return sensitivity(network, Sensitivity(), data)


def _accuracy(model: Any, data: Dataset, part: str) -> float:
    chosen = data.part(part)
    assert chosen.labels is not None
    (given,) = outputs(model, chosen.array()[0])
    return float((given.argmax(axis=-1) == chosen.labels[0]).mean())


def _for_model(model: Any, tmp_path: Path, count: int = 40, **labels: Any) -> Dataset:
    """Data of random samples for a model, with a validation part."""
    given = import_keras().tree.flatten(samples(model, 2 * count))
    arrays = {}
    for part, rows in (("train", slice(0, count)), ("validation", slice(count, None))):
        for tensor, values in zip(model.inputs, given, strict=True):
            arrays[f"x_{part}" + (f".{tensor.name}" if len(given) > 1 else "")] = values[rows]
        arrays |= {f"y_{part}" + (f".{name}" if name != "y" else ""): y[rows] for name, y in labels.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    return match(load_dataset(tmp_path / "data.npz"), model.inputs, model.outputs)


# What is measured.


def test_the_metric_is_that_of_the_pruned_network_alone(network: Any, data: Dataset, found: SensitivityReport) -> None:
    assert (found.metric, found.part, found.samples) == ("accuracy", "validation", 400)
    assert found.baseline == pytest.approx(_accuracy(network, data, "validation"))
    names = [kernel.name for kernel in kernels_of(network)]
    for layer in found.layers:
        for harm in layer.harms:
            others = tuple(PruneLayers(name, keep=True) for name in names if name != layer.name)
            stage = PruneWeights(sparsity=harm.share, one_shot=True, layers=others)
            pruned = apply(network, plan_weights(network, stage))
            assert harm.value == pytest.approx(_accuracy(pruned, data, "validation"), abs=1 / 400 + 1e-9)


def test_the_change_is_that_of_its_definition_and_the_network_is_as_before(network: Any, data: Dataset) -> None:
    twin = copy_of(network)
    judge = Judge(twin, data, 10_000)
    kernel = next(kernel for kernel in kernels_of(twin) if kernel.kind == "pointwise")
    before, weights = outputs(twin, data.part("validation").array()[0])[0], kernel.value
    (probe,) = kernel_probes([kernel], Pattern())
    harm = judge.harm(probe, 0.7)
    assert np.array_equal(kernel.value, weights)
    ((variable, value),) = probe.values(0.7)
    assert (value == 0).mean() == pytest.approx(0.7, abs=1e-3)
    variable.assign(value)
    after = outputs(twin, data.part("validation").array()[0])[0]
    spread = np.linalg.norm(before - before.mean(axis=0))
    assert harm.change == pytest.approx(np.linalg.norm(after - before) / spread, rel=1e-3)


@pytest.mark.parametrize("name", ["resnet8", "conv1d", "unet", "shared", "two_in_two_out", "lstm", "nested"])
def test_silent_channels_compute_what_the_network_without_them_does(name: str) -> None:
    model = build(name, dtype="float64")
    channels, twin = analyse(walk(model)), copy_of(model)
    kept = np.ones(channels.classes, bool)
    for group in channels.groups:
        kept[group.classes[: 0 if group.reason else group.size // 2]] = False
    for variable, value in silenced(channels, walk(twin), np.flatnonzero(~kept)):
        variable.assign(value)
    inputs = samples(model)
    for silent, small in zip(outputs(twin, inputs), outputs(shrink(channels, kept), inputs), strict=True):
        np.testing.assert_allclose(silent, small, rtol=1e-9, atol=1e-12)


def test_the_model_is_not_touched_even_when_interrupted(network: Any, data: Dataset) -> None:
    before = [np.asarray(weight).copy() for weight in network.weights]

    def stop(text: str) -> None:
        if "3 of" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sensitivity(network, Sensitivity(samples=32), data, say=stop)
    assert all(np.array_equal(weight, old) for weight, old in zip(network.weights, before, strict=True))


# What it becomes.


def test_budgets_say_what_the_table_says(found: SensitivityReport) -> None:
    assert found.baseline is not None
    rules = {rule.pattern: rule for rule in budgets(found, 0.02) if isinstance(rule, PruneLayers)}
    assert set(rules) == {layer.name for layer in found.layers}
    for layer in found.layers:
        fine = [harm.share for harm in layer.harms if found.baseline - (harm.value or 0) <= 0.02]
        assert rules[layer.name].keep == (not fine)
        assert rules[layer.name].sparsity == (max(fine) if fine else None)
    assert {rule.sparsity for rule in budgets(found, 1.0) if isinstance(rule, PruneLayers)} == {0.9}


def test_budgets_are_rules_that_the_stages_take(network: Any, data: Dataset, found: SensitivityReport) -> None:
    rules: Any = budgets(found, 0.02)
    made = plan_weights(network, PruneWeights(sparsity=0.5, layers=rules))
    assert made.shares == {rule.pattern: rule.sparsity for rule in rules if rule.sparsity}
    groups = sensitivity(network, Sensitivity("channels", (0.125, 0.5)), data)
    rules = budgets(groups, 0.05)
    assert any(isinstance(rule, PruneChannelsLayers) and rule.retain for rule in rules)
    counts = plan_channels(network, PruneChannels(retain=0.9, layers=rules), multiple=1).counts
    for rule in rules:
        before, after = counts[rule.pattern]
        assert after == round(before * (rule.retain or 1.0))


def test_rows_begin_with_the_most_sensitive_layer(found: SensitivityReport) -> None:
    assert len(found.header()) == len(found.rows()[0])
    assert found.header()[4:] == ("accuracy at 50%", "accuracy at 70%", "accuracy at 90%", "change at 90%")
    sums = {layer.name: sum(harm.change for harm in layer.harms) for layer in found.layers}
    assert [row[0] for row in found.rows()] == sorted(sums, key=lambda name: -sums[name])


# Shares that cost the least.


def test_one_price_beats_every_other_division_of_the_budget() -> None:
    rng = np.random.default_rng(0)
    grid = [0.25, 0.5, 0.75, 1.0]
    curves = [Curve.of(cost, grid, np.sort(rng.uniform(0, 2, 4)).tolist()) for cost in (1.0, 5.0, 20.0)]
    for budget in (0.2, 0.5, 0.9):
        chosen = allocation.shares(curves, budget)
        assert sum(c.cost * s for c, s in zip(curves, chosen, strict=True)) == pytest.approx(budget * 26, rel=1e-6)

        def harm(shares: Any) -> float:
            return sum(
                float(np.interp(s, np.linspace(0, 1, 201), c.squares)) for c, s in zip(curves, shares, strict=True)
            )

        price = max(p for p in allocation.prices(curves) if sum(c.cost * c.share(p) for c in curves) <= budget * 26)
        at_price = [curve.share(price) for curve in curves]
        spent = sum(c.cost * s for c, s in zip(curves, at_price, strict=True))
        for _ in range(300):
            other = rng.uniform(0, 1, 3)
            if sum(c.cost * s for c, s in zip(curves, other, strict=True)) >= spent:
                assert harm(at_price) <= harm(other) + 1e-9


@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.95])
def test_scope_sensitivity_reaches_the_sparsity_of_the_other_scopes(
    network: Any, data: Dataset, sparsity: float
) -> None:
    done = prune_weights(network, PruneWeights(sparsity=sparsity, scope="sensitivity", one_shot=True), data)
    plain = prune_weights(network, PruneWeights(sparsity=sparsity, scope="layer", one_shot=True))
    assert done.report.sparsity == pytest.approx(plain.report.sparsity, abs=1e-3)


def test_without_training_measured_shares_beat_equal_ones(network: Any, data: Dataset) -> None:
    layer, measured = (
        prune_weights(network, PruneWeights(sparsity=0.6, scope=scope, one_shot=True), data).model
        for scope in ("layer", "sensitivity")
    )
    assert _accuracy(measured, data, "test") > _accuracy(layer, data, "test") + 0.02
    uniform, measured = (
        plan_channels(network, PruneChannels(macs=0.6, allocation=allocation), data, multiple=4)
        for allocation in ("uniform", "sensitivity")
    )
    for made in (uniform, measured):
        said = report_channels(made)
        assert 0.5 < said.macs_after / said.macs_before <= 0.6
    assert _accuracy(shrunk(measured), data, "test") > _accuracy(shrunk(uniform), data, "test") + 0.2


def test_rules_by_name_go_before_measured_shares(network: Any, data: Dataset) -> None:
    kernels = [kernel.name for kernel in kernels_of(network)]
    rules = (PruneLayers(kernels[-1], keep=True), PruneLayers(kernels[-2], 0.25))
    made = plan_weights(network, PruneWeights(sparsity=0.5, scope="sensitivity", layers=rules), data)
    assert made.kernels[-1].sparsity == 0
    assert made.kernels[-2].sparsity == 0.25


# Bad input.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shares": []}, "shares must be above 0 and below 1, not none"),
        ({"shares": [0.0, 0.5]}, "not 0, 0.5"),
        ({"shares": [0.5, 1.0]}, "above 0 and below 1"),
        ({"shares": [0.5, 0.3]}, "must rise"),
        ({"shares": [0.5, 0.5]}, "must rise"),
        ({"pattern": "2:4"}, "makes a sparsity of 0.5: try that share alone"),
        ({"pattern": "star"}, "pattern 'star'"),
        ({"kind": "bits"}, "Invalid enum value"),
        ({"samples": 1}, ">= 2"),
        ({"share": 0.5}, "unknown field"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(settings, Sensitivity)


def test_a_group_pattern_has_its_own_share(network: Any, data: Dataset) -> None:
    found = sensitivity(network, Sensitivity(shares=(0.5,), pattern="2:4", samples=64), data)
    assert found.shares == (0.5,)


def test_patterns_choose_layers_and_one_that_matches_nothing_is_an_error(network: Any, data: Dataset) -> None:
    found = sensitivity(network, Sensitivity(layers=("sep*",), shares=(0.5,), samples=32), data)
    assert [layer.kind for layer in found.layers] == ["depthwise", "pointwise"]
    for kind in ("weights", "channels"):
        with pytest.raises(RecipeError, match="'nothing' matches no layer"):
            sensitivity(network, Sensitivity(kind, layers=("nothing",)), data)  # type: ignore[arg-type]


def test_without_samples_to_choose_by_it_refuses_the_test_part(network: Any, data: Dataset) -> None:
    only_test = replace(data, train=None, validation=None, calibration=None)
    with pytest.raises(DataError, match=r"the data has only test \(597\)"):
        sensitivity(network, Sensitivity(), only_test)
    held = sensitivity(network, Sensitivity(samples=64, shares=(0.5,)), replace(data, validation=None))
    assert (held.part, held.samples) == ("train", 64)


def test_scopes_that_need_data_say_so(network: Any) -> None:
    with pytest.raises(RecipeError, match="scope 'sensitivity' judges each layer on samples"):
        prune_weights(network, PruneWeights(sparsity=0.5, scope="sensitivity", one_shot=True))
    with pytest.raises(RecipeError, match="allocation 'sensitivity' judges each group on samples"):
        plan_channels(network, PruneChannels(macs=0.5, allocation="sensitivity"))


def test_a_model_without_kernels_is_refused(tmp_path: Path) -> None:
    keras = import_keras()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.ReLU()(inputs), name="empty")
    data = _for_model(model, tmp_path)
    with pytest.raises(RecipeError, match="'empty' has no kernels"):
        sensitivity(model, Sensitivity(), data)
    with pytest.raises(RecipeError, match="no channel of 'empty' can go"):
        sensitivity(model, Sensitivity("channels"), data)


@pytest.mark.parametrize("kind", ["weights", "channels"])
@pytest.mark.parametrize("name", ["conv1d", "autoencoder", "two_in_two_out", "gru"])
def test_models_without_labels_are_judged_by_what_they_say(name: str, kind: Any, tmp_path: Path) -> None:
    model = build(name)
    data = _for_model(model, tmp_path)
    found = sensitivity(model, Sensitivity(kind, (0.25, 0.9)), data)
    assert found.metric == ("mse" if name == "autoencoder" else None)
    for layer in found.layers:
        few, many = layer.harms
        assert 0 <= few.change < many.change
        assert layer.weights > 0
        assert layer.macs > 0
    assert all(len(row) == len(found.header()) for row in found.rows())
    assert found.loss(found.layers[0].harms[0]) == pytest.approx(
        found.layers[0].harms[0].change
        if found.metric is None
        else (found.layers[0].harms[0].value or 0) - (found.baseline or 0)
    )


def test_three_dimensions_regression_and_a_fixed_batch(tmp_path: Path) -> None:
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(batch_shape=(8, 6, 6, 6, 5))
    x = layers.Conv3D(12, 3, activation="relu", name="first")(inputs)
    x = layers.GlobalAveragePooling3D()(layers.Conv3D(10, 2, activation="relu", name="second")(x))
    model = keras.Model(inputs, layers.Dense(1, name="end")(x))
    values = np.random.default_rng(0).normal(size=80).astype("float32")
    data = _for_model(model, tmp_path, y=values)
    for kind in ("weights", "channels"):
        found = sensitivity(model, Sensitivity(kind), data)  # type: ignore[arg-type]
        assert (found.metric, found.samples) == ("mae", 40)
        assert {layer.name.split("/")[0] for layer in found.layers} >= {"first", "second"}
        (first,) = (layer for layer in found.layers if layer.name.startswith("first"))
        assert first.macs >= 64 * 27 * 5 * 12
    assert sensitivity(model, Sensitivity(shares=(0.5,), samples=5), data).samples == 8, "a whole batch"
    made = prune_weights(model, PruneWeights(sparsity=0.7, scope="sensitivity", one_shot=True), data)
    assert made.report.sparsity == pytest.approx(0.7, abs=0.01)


def test_outputs_that_are_no_numbers_are_an_error_that_names_the_cause(tmp_path: Path) -> None:
    keras = import_keras()
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, use_bias=False, kernel_initializer="ones", name="fragile")(inputs)
    model = keras.Model(inputs, keras.ops.log(keras.ops.min(keras.ops.abs(x), axis=-1, keepdims=True)), name="logs")
    data = _for_model(model, tmp_path)
    stage = Sensitivity(shares=(0.1, 0.95), layers=("fragile",))
    with pytest.raises(RecipeError, match=r"without 95% of 'fragile/kernel' the network gives NaN or infinity"):
        sensitivity(model, stage, data)
    model.get_layer("fragile").kernel.assign(np.zeros((6, 8)))
    with pytest.raises(DataError, match="'logs' gives NaN or infinity for samples of the validation part"):
        sensitivity(model, stage, data)
