"""Unrolled recurrent layers compute the same, and their file has no loop."""

from __future__ import annotations

from typing import Any

import architectures
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.graph.unroll import unrolled
from edgekit.tf import import_keras


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_an_unrolled_model_is_the_same_function(name: str) -> None:
    model = architectures.build(name)
    samples = architectures.samples(model, 4)
    found = unrolled(model)
    assert found is not model
    for before, after in zip(architectures.outputs(model, samples), architectures.outputs(found, samples), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_model_without_recurrent_layers_stays_itself() -> None:
    model = architectures.build("autoencoder")
    assert unrolled(model) is model
    again = unrolled(architectures.build("gru"))
    assert unrolled(again) is again


def test_too_many_steps_are_named() -> None:
    keras = import_keras()

    def recurrent(steps: int | None) -> Any:
        return keras.Sequential([keras.Input((steps, 2)), keras.layers.GRU(3, name="memory")])

    with pytest.raises(ModelError, match="'memory' runs 500 steps"):
        unrolled(recurrent(500))
    with pytest.raises(ModelError, match="an open number of steps"):
        unrolled(recurrent(None))
