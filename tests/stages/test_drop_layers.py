"""Dropping residual branches: which there are, which go, and that the shorter network is the one that was judged."""

from __future__ import annotations

from typing import Any

import architectures
import msgspec
import numpy as np
import pytest

from edgekit.errors import DataError, RecipeError
from edgekit.graph.macs import costs, total
from edgekit.graph.walk import walk
from edgekit.stages.drop_layers import DropLayers, apply, branches, plan, report
from edgekit.tf import import_keras


def _residual(scales: tuple[float, ...] = (1.0, 0.01, 0.5, 0.0)) -> Any:
    """Blocks x + scale * f(x); the kernel of each is drawn, then scaled."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input((6,))
    for number, scale in enumerate(scales):
        y = layers.Dense(12, activation="relu", name=f"wide{number}")(x)
        y = layers.Dense(6, kernel_initializer="orthogonal", name=f"narrow{number}")(y)
        y = layers.Rescaling(scale, name=f"scale{number}")(y)
        x = layers.Add(name=f"join{number}")([y, x] if number % 2 else [x, y])
    return keras.Model(inputs, layers.Dense(3, name="end")(x), name="residual")


def _samples(model: Any, count: int = 64) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(part) for part in import_keras().tree.flatten(architectures.samples(model, count))]


def test_branches_are_found_with_all_that_only_they_need() -> None:
    found = branches(walk(_residual()))
    assert [branch.join for branch in found] == ["join0", "join1", "join2", "join3"]
    assert [branch.skip for branch in found] == [0, 1, 0, 1]
    assert found[1].layers == ("wide1", "narrow1", "scale1")


def test_branches_of_networks_as_they_are() -> None:
    assert len(branches(walk(architectures.build("resnet8")))) == 1, "two of its three shortcuts are convolutions"
    assert len(branches(walk(architectures.build("vit")))) == 4
    assert branches(walk(architectures.build("unet"))) == ()


def test_the_smallest_branches_go_first_up_to_the_threshold() -> None:
    model = _residual()
    found = plan(model, DropLayers(threshold=0.1), _samples(model))
    assert [branch.join for branch, _ in found.drop] == ["join3", "join1"]
    assert found.drop[0][1] == 0.0
    assert 0 < found.drop[1][1] <= 0.1 < found.stay[0][1]


def test_at_most_as_many_as_asked_and_none_that_is_kept() -> None:
    model = _residual()
    found = plan(model, DropLayers(threshold=1.0, most=1, keep=("wide3",)), _samples(model))
    assert [branch.join for branch, _ in found.drop] == ["join1"]
    assert "join3" not in {branch.join for branch, _ in found.stay}


def _quieten(model: Any) -> None:
    """Make what every branch adds small."""
    graph = walk(model)
    for branch in branches(graph):
        for name in branch.layers:
            for weight in getattr(graph.operations[name], "trainable_weights", ()):
                weight.assign(0.1 * weight)


@pytest.mark.parametrize("name", ["residual", "vit", "resnet8"])
def test_the_shorter_network_is_the_one_that_was_judged(name: str) -> None:
    model = _residual() if name == "residual" else architectures.build(name)
    if name != "residual":
        _quieten(model)
    samples = _samples(model, 16)
    found = plan(model, DropLayers(threshold=1.0), samples)
    before, after = (architectures.outputs(network, samples[0])[0] for network in (model, apply(found)))
    change = np.linalg.norm(after - before) / np.linalg.norm(before - before.mean(axis=0))
    assert found.drop
    assert change == pytest.approx(found.drop[-1][1], rel=1e-3, abs=1e-5)


def test_the_report_is_what_the_shorter_network_is() -> None:
    model = _residual()
    found = plan(model, DropLayers(threshold=0.1), _samples(model))
    said, short = report(found), apply(found)
    assert [branch.layers for branch in said.dropped] == [("wide3", "narrow3"), ("wide1", "narrow1")]
    assert (said.parameters_before, said.parameters_after) == (model.count_params(), short.count_params())
    assert said.macs_after == total(costs(walk(short))).macs == said.macs_before - 2 * (6 * 12 + 12 * 6)
    assert not {"wide1", "narrow3", "join1"} & {layer.name for layer in short.layers}


def test_a_layer_that_runs_once_less_costs_less() -> None:
    layers, inputs = import_keras().layers, import_keras().Input((6,))
    shared = layers.Dense(6, name="shared")
    x = layers.Add(name="join")([inputs, layers.Rescaling(0.0)(shared(inputs))])
    found = plan(model := import_keras().Model(inputs, shared(x)), DropLayers(threshold=0.1), _samples(model))
    said = report(found)
    assert (said.macs_before, said.macs_after) == (2 * 36, 36)


def test_a_branch_without_which_there_are_no_numbers_stays() -> None:
    keras = import_keras()
    inputs = keras.Input((6,))
    x = keras.layers.Add(name="join")([inputs, keras.layers.Rescaling(0.0, offset=1.0)(inputs)])
    model = keras.Model(inputs, keras.ops.log(x))
    found = plan(model, DropLayers(threshold=1.0), [np.linspace(-0.9, -0.1, 24, dtype="float32").reshape(4, 6)])
    assert not found.drop
    assert [change for _, change in found.stay] == [np.inf]


def test_what_cannot_be_is_refused() -> None:
    model = _residual()
    with pytest.raises(msgspec.ValidationError, match="`float` > 0"):
        msgspec.convert({"stage": "drop_layers", "threshold": 0}, DropLayers)
    with pytest.raises(RecipeError, match="no residual branch"):
        plan(architectures.build("unet"), DropLayers(threshold=0.1), [np.zeros((4, 32, 32, 3), "float32")])
    with pytest.raises(RecipeError, match="'wild' matches no layer"):
        plan(model, DropLayers(threshold=0.1, keep=("wild",)), _samples(model))
    with pytest.raises(DataError, match="at least two samples"):
        plan(model, DropLayers(threshold=0.1), [np.zeros((1, 6), "float32")])
