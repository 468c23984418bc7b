"""Dropping a branch and learning from a teacher, on every architecture there is a builder for."""

from __future__ import annotations

from typing import Any

import architectures
import numpy as np
import pytest

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import DataSpec
from edgekit.errors import RecipeError
from edgekit.graph.walk import walk
from edgekit.stages.distill import Distill, distill
from edgekit.stages.drop_layers import DropLayers, apply, branches, plan
from edgekit.stages.training import Training
from edgekit.tf import import_keras

FAST = ("resnet8", "autoencoder", "conv1d", "unet", "two_in_two_out", "gru", "shared")
SWEEP = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in architectures.ALL]


def _samples(model: Any, count: int) -> tuple[np.ndarray[Any, Any], ...]:
    return tuple(np.asarray(part) for part in import_keras().tree.flatten(architectures.samples(model, count)))


def _outputs(model: Any, samples: tuple[np.ndarray[Any, Any], ...]) -> list[np.ndarray[Any, Any]]:
    return architectures.outputs(model, import_keras().tree.pack_sequence_as(model.input, samples))


def _quieten(model: Any) -> None:
    """Make what every branch adds small, as in a trained network."""
    graph = walk(model)
    for branch in branches(graph):
        for name in branch.layers:
            for weight in getattr(graph.operations[name], "trainable_weights", ()):
                weight.assign(0.1 * weight)


@pytest.mark.covers("layers")
@pytest.mark.parametrize("name", SWEEP)
def test_the_branch_that_costs_least_goes(name: str, record_property: Any) -> None:
    model = architectures.build(name)
    samples, stage = _samples(model, 8), DropLayers(threshold=1.0, most=1)
    found = branches(walk(model))
    record_property("covered", f"1 of {len(found)}" if found else "-")
    if not found:
        with pytest.raises(RecipeError, match="no residual branch"):
            plan(model, stage, samples)
        return
    _quieten(model)
    made = plan(model, stage, samples)
    ((_, change),) = made.drop
    assert change <= min(cost for _, cost in made.stay) if made.stay else True
    pairs = zip(_outputs(model, samples), _outputs(apply(made), samples), strict=True)
    moved = max(np.linalg.norm(new - old) / np.linalg.norm(old - old.mean(axis=0)) for old, new in pairs)
    assert moved == pytest.approx(change, rel=1e-2, abs=1e-4)


@pytest.mark.covers("distill")
@pytest.mark.parametrize("name", SWEEP)
def test_a_student_takes_a_step_towards_its_teacher(name: str) -> None:
    teacher, student = (architectures.build(name, seed) for seed in (0, 1))
    types = tuple("float32" if "float" in tensor.dtype else tensor.dtype for tensor in teacher.inputs)
    part = Part("train", _samples(teacher, 4), input_types=types)
    data = Dataset(part, None, None, None, DataSpec(name), "", "none")
    stage = Distill(alpha=1.0, training=Training(epochs=1, batch_size=4, patience=0))
    found = distill(teacher, student, stage, data)
    assert np.isfinite(found.history[-1].loss)
    pairs = zip(found.model.get_weights(), student.get_weights(), strict=True)
    assert all(np.isfinite(new).all() for new, _ in pairs)
    moved = [np.abs(new - old).max() > 0 for new, old in zip(_trained(found.model), _trained(student), strict=True)]
    assert np.mean(moved) > 0.9, "nearly every weight has a gradient"


def _trained(model: Any) -> list[np.ndarray[Any, Any]]:
    return [variable.numpy() for variable in model.trainable_variables]
