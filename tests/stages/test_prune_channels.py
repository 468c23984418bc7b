"""Pruning channels: what the recipe may say, which channels go, and that the smaller network is the one foreseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import architectures
import msgspec
import numpy as np
import pytest

from edgekit.dataset import load_dataset, match
from edgekit.errors import ModelError, RecipeError, RunError
from edgekit.graph.channels import analyse
from edgekit.graph.macs import costs, total
from edgekit.graph.walk import walk
from edgekit.stages.channel_choice import Limits
from edgekit.stages.channel_scores import Evidence, scores
from edgekit.stages.prune_channels import (
    ChannelPlan,
    PruneChannels,
    PruneChannelsLayers,
    apply,
    evidence,
    plan,
    report,
    zeroed,
)
from edgekit.tf import import_keras, import_tensorflow


def _two_convolutions(kernel: np.ndarray[Any, Any] | None = None, gamma: list[float] | None = None) -> Any:
    """conv `first` (4 channels) -> norm -> conv `second` (6) -> dense `end`."""
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 1, activation="relu", name="second")(x))
    model = keras.Model(inputs, layers.Dense(3, name="end")(x))
    if kernel is not None:
        model.get_layer("first").kernel.assign(kernel.reshape(1, 1, 2, 4))
    if gamma is not None:
        model.get_layer("norm").gamma.assign(gamma)
    return model


def _kept(found: ChannelPlan, layer: str) -> list[int]:
    """Which channels of a layer stay."""
    (slot,) = [slot for slot in found.channels.slots[layer] if slot.made and slot.axis > 0]
    return np.flatnonzero(found.kept[slot.classes]).tolist()


# The recipe.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "takes one of `retain`, `macs`, `parameters` and `latency`, not none"),
        ({"retain": 0.5, "macs": 0.5}, "not retain and macs"),
        ({"macs": 0.5, "latency": 0.5}, "not macs and latency"),
        ({"latency": 1.0}, "`float` < 1"),
        ({"retain": 0.5, "allocation": "global"}, "allocation 'global' goes with a budget"),
        ({"retain": 0.5, "allocation": "sensitivity"}, "allocation 'sensitivity' goes with a budget"),
        ({"retain": 0.0}, "`float` > 0"),
        ({"retain": 1.0}, "`float` < 1"),
        ({"macs": -0.5}, "`float` > 0"),
        ({"retain": 0.5, "criterion": "magic"}, "criterion"),
        ({"retain": 0.5, "ratio": 0.5}, "unknown field `ratio`"),
        ({"retain": 0.5, "layers": [{"pattern": "a"}]}, "give either `retain = SHARE` or `keep = true`"),
        ({"retain": 0.5, "layers": [{"pattern": "a", "keep": True, "retain": 0.5}]}, "give either"),
        ({"retain": 0.5, "minimum": 0}, "`int` >= 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"stage": "prune_channels", **settings}, PruneChannels)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    stage = PruneChannels(retain=0.5, layers=(PruneChannelsLayers("frist", keep=True),))
    with pytest.raises(RecipeError, match=r"'frist' matches no layer\n.*did you mean 'first'"):
        plan(_two_convolutions(), stage)


def test_taylor_without_data_is_an_error() -> None:
    with pytest.raises(RecipeError, match="taylor needs training data"):
        plan(_two_convolutions(), PruneChannels(retain=0.5, criterion="taylor"))


def test_a_model_of_which_nothing_can_go_is_an_error_that_says_why() -> None:
    keras = import_keras()
    inputs = keras.Input((4,))
    with pytest.raises(RecipeError, match="no channel of 'only' can go: output of the model"):
        plan(keras.Model(inputs, keras.layers.Dense(8)(inputs), name="only"), PruneChannels(retain=0.5))


def test_a_model_inside_that_shows_no_calls_is_named() -> None:
    keras = import_keras()

    class Hidden(keras.Model):  # type: ignore[name-defined,misc]
        def build(self, shape: Any) -> None:
            self.dense = keras.layers.Dense(8)
            self.dense.build(shape)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    inputs = keras.Input((4,))
    with pytest.raises(RecipeError, match="no channel of 'outer' can go: what 'hidden' calls cannot be seen"):
        plan(keras.Model(inputs, Hidden(name="hidden")(inputs), name="outer"), PruneChannels(retain=0.5))


def test_a_budget_that_only_the_whole_network_meets_is_not_offered() -> None:
    keras = import_keras()
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    with pytest.raises(RecipeError, match="least this network gets is 100") as error:
        plan(network, PruneChannels(macs=0.5, multiple=8))
    assert "1 or more" not in error.value.mend


# Which channels go.

KERNEL = np.array([[3.0, 0.0, -3.0, 1.0], [0.0, 2.5, 0.1, 1.0]])


def test_l1_and_l2_take_the_smallest_filters() -> None:
    model = _two_convolutions(KERNEL)
    for criterion, order in (("l1", [3.0, 2.5, 3.1, 2.0]), ("l2", [3.0, 2.5, 3.0017, 1.4142])):
        channels = analyse(walk(model))
        slot = channels.slots["first"][1]
        found = scores(channels, criterion)[slot.classes]  # type: ignore[arg-type]
        np.testing.assert_allclose(found / found.sum(), np.array(order) / sum(order), rtol=1e-4)
    assert _kept(plan(model, PruneChannels(retain=0.5), multiple=1), "first") == [0, 2]


def test_geometric_median_takes_what_the_others_can_stand_in_for() -> None:
    twins = np.array([[5.0, 5.0, 0.1, -6.0], [5.0, 5.1, 0.1, -6.0]])
    stage = PruneChannels(retain=0.5, criterion="geometric_median")
    channels = analyse(walk(_two_convolutions(twins)))
    found = scores(channels, "geometric_median")[channels.slots["first"][1].classes]
    distances = [sum(np.linalg.norm(a - b) for b in twins.T) for a in twins.T]
    np.testing.assert_allclose(found / found.sum(), np.array(distances) / sum(distances), rtol=1e-5)
    assert 3 in _kept(plan(_two_convolutions(twins), stage, multiple=1), "first")


def test_scales_of_batch_normalization_decide_where_there_are_some() -> None:
    model = _two_convolutions(gamma=[0.1, -2.0, 0.5, 1.0])
    found = plan(model, PruneChannels(retain=0.5, criterion="bn_scale"), multiple=1)
    assert _kept(found, "first") == [1, 3]
    assert _kept(found, "second") == [0, 1, 2, 3, 4, 5]
    assert "no BatchNormalization" in found.reasons["second"]


def _evidence(model: Any) -> Evidence:
    rng = np.random.default_rng(0)
    batches = [
        ((rng.normal(size=(5, 8, 8, 2)).astype("float32"),), (rng.normal(size=(5, 3)).astype("float32"),))
        for _ in range(2)
    ]
    tf = import_tensorflow()
    return Evidence(lambda outputs, targets: tf.reduce_mean((outputs[0] - targets[0]) ** 2), batches)


def test_taylor_is_the_slope_of_the_loss_when_a_channel_fades() -> None:
    """Against a finite difference: the loss with one channel scaled by 1 - h after its normalization, or its kernel."""
    import_keras().utils.set_random_seed(0)
    model = _two_convolutions()
    architectures.randomize(model)
    known = _evidence(model)
    channels = analyse(walk(model))
    found = scores(channels, "taylor", model, known)

    def loss_with(faded: list[Any], channel: int, factor: float, batch: Any) -> float:
        before = [np.asarray(weight).copy() for weight in faded]
        for weight, value in zip(faded, before, strict=True):
            scaled = value.copy()
            scaled[..., channel] *= factor
            weight.assign(scaled)
        loss = float(known.loss([model(batch[0][0], training=False)], list(batch[1])))
        for weight, value in zip(faded, before, strict=True):
            weight.assign(value)
        return loss

    norm, second = model.get_layer("norm"), model.get_layer("second")
    for layer, faded in (("first", [norm.gamma, norm.beta]), ("second", [second.kernel, second.bias])):
        classes = channels.slots[layer][1].classes
        for channel, one in enumerate(classes):
            slopes = [
                (loss_with(faded, channel, 1.01, batch) - loss_with(faded, channel, 0.99, batch)) / 0.02
                for batch in known.batches
            ]
            assert found[one] == pytest.approx(np.mean(np.square(slopes)), rel=0.05, abs=1e-9)


def test_taylor_reads_a_data_set_and_is_wiser_than_chance(digits: Path) -> None:
    """What goes by taylor costs less loss than what stays would."""
    model = import_keras().models.load_model(digits / "digits.keras")
    data = match(load_dataset(digits / "digits.npz"), model.inputs, model.outputs)
    stage = PruneChannels(retain=0.75, criterion="taylor", samples=256)
    found = plan(model, stage, data)
    known = evidence(model, data, 256)

    def loss(kept: Any) -> float:
        network = zeroed(replace(found, kept=kept))
        return float(np.mean([known.loss([network(x[0], training=False)], list(y)) for x, y in known.batches]))

    others = plan(model, stage, Evidence(lambda outputs, targets: -known.loss(outputs, targets), known.batches))
    assert np.array_equal(others.kept, found.kept), "the square does not see the sign"
    worst = np.ones_like(found.kept)
    importance = scores(found.channels, "taylor", model, known)
    for group in found.channels.groups:
        if not group.reason:
            gone = (~found.kept[group.classes]).sum()
            worst[group.classes[np.argsort(-importance[group.classes])[:gone]]] = False
    assert loss(found.kept) < loss(worst)


# How many go.


def test_counts_are_rounded_up_to_what_the_target_likes() -> None:
    model = architectures.build("resnet8")
    counts = plan(model, PruneChannels(retain=0.4), multiple=8).counts
    assert {after for before, after in counts.values() if before == 64} == {32}
    assert {after for before, after in counts.values() if before == 16} == {8}
    small = plan(_two_convolutions(), PruneChannels(retain=0.5, multiple=2)).counts
    assert small == {"first": (4, 2), "second": (6, 4), "end": (3, 3)}


def test_a_group_that_rounding_would_restore_stays_and_says_so() -> None:
    found = plan(_two_convolutions(), PruneChannels(retain=0.5), multiple=8)
    assert found.counts == {"first": (4, 4), "second": (6, 6), "end": (3, 3)}
    assert found.reasons["first"] == "the choice leaves all 4 channels, in multiples of 8"
    assert found.reasons["end"] == "output of the model"


@pytest.mark.parametrize("measure", ["macs", "parameters"])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_budget_is_met_and_not_by_much(measure: str, allocation: str) -> None:
    model = architectures.build("ds_cnn")
    found = plan(model, PruneChannels(**{measure: 0.5}, allocation=allocation, multiple=1))  # type: ignore[arg-type]
    before, after = total(costs(walk(model))), total(costs(walk(apply(found))))
    assert 0.46 < getattr(after, measure) / getattr(before, measure) <= 0.5


def test_a_budget_is_spent_although_counts_are_rounded() -> None:
    """Eight channels are an eighth of every layer here; equal shares alone would leave a quarter of the budget."""
    said = report(plan(architectures.build("ds_cnn"), PruneChannels(macs=0.5), multiple=8))
    assert 0.45 < said.macs_after / said.macs_before <= 0.5
    assert all(layer.channels_after % 8 == 0 for layer in said.layers if layer.channels_before == 64)


def test_a_budget_out_of_reach_names_the_nearest() -> None:
    model = architectures.build("ds_cnn")
    with pytest.raises(RecipeError, match=r"macs = 0.001 cannot be met.*least this network gets is") as error:
        plan(model, PruneChannels(macs=0.001))
    nearest = float(error.value.mend.split("macs = ")[1].split(" ")[0])
    found = report(plan(model, PruneChannels(macs=nearest)))
    assert found.macs_after / found.macs_before <= nearest


# A budget of latency.


def _clock(start: float, slope: float, noise: float = 0.0) -> Callable[[Any], float]:
    """A pretended device: so many seconds for a start and for each multiply-accumulate, and noise."""
    rng = np.random.default_rng(0)
    return lambda model: (start + slope * total(costs(walk(model))).macs) * float(1 + noise * rng.uniform(-1, 1))


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "conv1d"])
@pytest.mark.parametrize(("start", "noise"), [(0.0, 0.0), (1e-3, 0.0), (1e-3, 0.03)])
def test_a_budget_of_latency_is_met_by_few_measurements(name: str, start: float, noise: float, allocation: Any) -> None:
    model = architectures.build(name)
    clock = _clock(start, 4e-3 / total(costs(walk(model))).macs, noise)
    stage = PruneChannels(latency=0.6, allocation=allocation, multiple=1)
    found = plan(model, stage, latency=clock)
    assert found.candidates[0].latency == 1.0
    assert len(found.candidates) <= 9
    share = total(costs(walk(apply(found)))).macs / total(costs(walk(model))).macs
    (chosen,) = [one for one in found.candidates if one.macs == pytest.approx(share)]
    assert 0.5 < chosen.latency <= 0.6
    assert chosen.latency == max(one.latency for one in found.candidates if one.latency <= 0.6 and one.macs <= share)
    assert report(found).candidates == found.candidates


def test_a_latency_out_of_reach_names_the_nearest() -> None:
    model = architectures.build("ds_cnn")
    clock = _clock(1.0, 1 / total(costs(walk(model))).macs)
    with pytest.raises(RecipeError, match=r"latency = 0.3 cannot be met: the least this network gets is 5\d") as error:
        plan(model, PruneChannels(latency=0.3), latency=clock)
    nearest = float(error.value.mend.split("latency = ")[1].split(" ")[0])
    assert plan(model, PruneChannels(latency=nearest), latency=clock).candidates[-1].latency <= nearest


def test_a_latency_that_stays_the_same_is_not_offered() -> None:
    with pytest.raises(RecipeError, match="cannot be met") as error:
        plan(architectures.build("conv1d"), PruneChannels(latency=0.5), latency=_clock(1.0, 0.0))
    assert error.value.mend.startswith("drop this stage, or say a smaller")


def test_no_network_is_measured_twice_for_another_multiple() -> None:
    seen: list[int] = []

    def clock(model: Any) -> float:
        seen.append(model.count_params())
        return 1.0

    model = architectures.build("conv1d")
    with pytest.raises(RecipeError, match="cannot be met"):
        plan(model, PruneChannels(latency=0.5), multiple=8, latency=clock)
    assert seen.count(model.count_params()) == 1


def test_a_share_of_a_group_is_not_rounded_up_for_its_last_digit() -> None:
    assert Limits(multiple=1, minimum=1, share=0.55).rounded(1, 100) == 55


def test_a_budget_of_latency_without_a_place_to_measure_says_what_to_do() -> None:
    with pytest.raises(RecipeError, match="needs a place to measure") as error:
        plan(architectures.build("ds_cnn"), PruneChannels(latency=0.5))
    assert "macs = SHARE" in error.value.mend


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_latency_that_is_none_is_an_error(seconds: float) -> None:
    with pytest.raises(RunError, match="was measured"):
        plan(architectures.build("ds_cnn"), PruneChannels(latency=0.5), latency=lambda model: seconds)


def test_exceptions_by_name() -> None:
    model = architectures.build("resnet8")
    names = [name for name, layer in walk(model).layers.items() if type(layer).__name__ == "Conv2D"]
    rules = (PruneChannelsLayers("conv2d*", retain=0.5), PruneChannelsLayers(names[1], keep=True))
    found = plan(model, PruneChannels(retain=0.9, layers=rules), multiple=1)
    assert found.counts[names[1]] == (16, 16)
    assert found.reasons[names[1]] == f"kept, as {names[1]!r} asks"
    assert found.counts[names[3]] == (32, 16)


def test_layers_that_share_channels_keep_what_any_of_them_must_keep() -> None:
    model = architectures.build("resnet8")
    names = [name for name, layer in walk(model).layers.items() if type(layer).__name__ == "Conv2D"]
    found = plan(model, PruneChannels(retain=0.5, layers=(PruneChannelsLayers(names[2], keep=True),)))
    assert found.counts[names[0]] == (16, 16)
    assert found.reasons[names[0]].startswith(f"shares its channels with {names[2]!r}: kept")


# The smaller network.


def test_the_report_is_what_the_smaller_network_is() -> None:
    model = architectures.build("unet")
    found = plan(model, PruneChannels(macs=0.5), multiple=4)
    small, said = apply(found), report(found)
    new = costs(walk(small))
    assert {layer.name: (layer.parameters_after, layer.macs_after) for layer in said.layers} == {
        name: (new[name].parameters, new[name].macs) for name, layer in walk(small).layers.items() if layer.weights
    }
    assert (said.parameters_after, said.macs_after) == (small.count_params(), total(new).macs)
    assert said.parameters_before == model.count_params()
    made = {layer.name: layer.channels_after for layer in said.layers if layer.channels_after}
    assert made == {
        name: layer.filters for name, layer in walk(small).layers.items() if type(layer).__name__.startswith("Conv2D")
    }
    assert said.groups_pruned == said.groups - 1


def test_the_smaller_network_computes_what_zeroing_computes_and_the_given_one_is_untouched() -> None:
    model = architectures.build("resnet8", dtype="float64")
    before = [np.asarray(weight).copy() for weight in model.weights]
    found = plan(model, PruneChannels(retain=0.5, criterion="l1"))
    inputs = architectures.samples(model, 4)
    small, masked = apply(found), zeroed(found)
    np.testing.assert_allclose(
        architectures.outputs(small, inputs)[0], architectures.outputs(masked, inputs)[0], rtol=1e-12
    )
    assert all(np.array_equal(weight, old) for weight, old in zip(model.weights, before, strict=True))
    assert small.name == model.name
    assert small.output_names == model.output_names


def test_the_smaller_network_can_be_saved_and_trained(tmp_path: Path) -> None:
    keras = import_keras()
    small = apply(plan(architectures.build("two_in_two_out"), PruneChannels(retain=0.5), multiple=1))
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    inputs = architectures.samples(small)
    np.testing.assert_allclose(
        architectures.outputs(again, inputs)[0], architectures.outputs(small, inputs)[0], rtol=1e-6
    )
    again.compile("sgd", {"kind": "sparse_categorical_crossentropy", "value": "mse"})
    history = again.fit(inputs, {"kind": np.array([0, 1]), "value": np.array([0.5, 1.0])}, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_two_plans_are_the_same_plan() -> None:
    model = architectures.build("ds_cnn")
    first, second = (plan(model, PruneChannels(macs=0.5, allocation="global")) for _ in range(2))
    assert np.array_equal(first.kept, second.kept)


def test_channels_first_is_refused() -> None:
    keras = import_keras()
    inputs = keras.Input((3, 8, 8))
    x = keras.layers.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs)
    with pytest.raises(ModelError, match="channels_first"):
        plan(keras.Model(inputs, x), PruneChannels(retain=0.5))
