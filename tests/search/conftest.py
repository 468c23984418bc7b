"""What the tests of a search share: a network that takes no time to train, and its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.tf import import_keras


@pytest.fixture(scope="session")
def blobs(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder with blobs.keras, a small dense network, and blobs.npz, three clouds of points that it tells apart."""

    def make(folder: Path) -> None:
        keras = import_keras()
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        y = np.arange(4200) % 3
        x = (rng.normal(size=(3, 16))[y] + 0.8 * rng.normal(size=(4200, 16))).astype(np.float32)
        layers = [keras.Input((16,)), *(keras.layers.Dense(64, "relu", name=f"hidden{n}") for n in range(2))]
        model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax", name="class")], name="blobs")
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[:3700], y[:3700], 64, epochs=2, verbose=0)
        model.save(folder / "blobs.keras")
        parts = {"train": slice(3700), "validation": slice(3700, 4000), "test": slice(4000, None)}
        np.savez(folder / "blobs.npz", **{f"{k}_{n}": v[p] for n, p in parts.items() for k, v in (("x", x), ("y", y))})

    return once("blobs", make)
