"""The trained network of the digits with layers named by what they are, and a few of its samples in all parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.model import load_model


def named_network(digits: Path) -> Any:
    model = load_model(digits / "digits.keras").keras
    for number, layer in enumerate(model.layers[:-1]):
        layer.name = f"{type(layer).__name__.lower()}_{number}"
    return model


def small_data(digits: Path, network: Any, place: Path) -> Dataset:
    """800 samples to train on; the file of them is put into the folder `place`."""
    with np.load(digits / "digits.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
        rest = {"x_validation": x[800:], "y_validation": y[800:], "x_calibration": x[:20]}
        path = place / "small.npz"
        np.savez(path, x_train=x[:800], y_train=y[:800], x_test=arrays["x_test"], y_test=arrays["y_test"], **rest)
    return match(load_dataset(path), network.inputs, network.outputs)
