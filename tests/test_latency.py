"""Latency of a Keras model as its deployed file, and a recipe that has a budget of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bench.plan import plan_for
from edgekit.compress import compress_model
from edgekit.errors import DataError
from edgekit.latency import host_latency
from edgekit.stages.numerics import Quantize
from edgekit.tf import import_keras

INT8 = Quantize("int8", "per-channel", "per-channel", "int8", "converter")


def _network(filters: int) -> Any:
    layers = import_keras().layers
    inputs = import_keras().Input((24, 24, 8))
    x = layers.Conv2D(filters, 3, activation="relu")(inputs)
    return import_keras().Model(inputs, layers.Conv2D(filters, 3)(x), name=f"wide{filters}")


@pytest.mark.parametrize("stage", [Quantize("float32"), INT8], ids=["float32", "int8"])
def test_a_network_of_fifty_times_the_work_takes_longer(stage: Quantize) -> None:
    samples = (np.random.default_rng(0).normal(size=(20, 24, 24, 8)).astype("float32"),)
    seconds = host_latency(stage, samples, plan=plan_for(runs=20))
    assert 0 < seconds(_network(8)) < seconds(_network(96))


def test_int8_without_samples_is_an_error() -> None:
    with pytest.raises(DataError, match="no calibration data"):
        host_latency(INT8)(_network(8))


@pytest.mark.slow
def test_a_recipe_with_a_budget_of_latency(digits: Path, tmp_path: Path) -> None:
    stage = '[[stages]]\nstage = "prune_channels"\nlatency = 0.8\nmultiple = 4\n'
    (tmp_path / "fast.toml").write_text(f'name = "fast"\n{stage}[[stages]]\nstage = "convert"\n')
    found = compress_model(digits / "digits.keras", str(tmp_path / "fast.toml"), data=digits / "digits.npz")
    (step,) = found.steps
    assert any("100.0% of the latency" in note for note in step.report.notes)
    assert found.model.count_params() < 60_000
