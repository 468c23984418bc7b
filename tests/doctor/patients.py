"""Small real networks on scikit-learn's digits, trained in seconds, as float32 files with their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.data.parts import Dataset
from edgekit.dataset import load_for
from edgekit.evaluate import real_specs
from edgekit.stages.calibrate import calibrate
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tflite.inspect import read_contents


@dataclass(frozen=True)
class Net:
    """A float32 file, and the arrays of its data: x_train, y_train, x_test, y_test."""

    file: bytes
    arrays: dict[str, np.ndarray]
    folder: Path

    def with_file(self, file: bytes) -> Net:
        return replace(self, file=file)

    def data(self, **others: np.ndarray) -> Dataset:
        """The data as a user gives them, with some arrays replaced."""
        path = self.folder / f"{'_'.join(['data', *others])}.npz"
        np.savez(path, **(self.arrays | others))
        contents = read_contents(self.file)
        return load_for(real_specs(contents.inputs), real_specs(contents.outputs), path)

    def int8(self, granularity: str = "per-channel", samples: np.ndarray | None = None) -> bytes:
        """The file in int8, calibrated on training samples unless others are given."""
        seen = self.arrays["x_train"][:200] if samples is None else samples
        stage = Quantize("int8", granularity, granularity, "int8", "converter")
        return quantize(Source(self.file, calibrate(self.file, [seen])), stage)


def digits_arrays() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].reshape(-1, 8, 8, 1).astype(np.float32), labels[order]
    return {"x_train": images[:1200], "y_train": labels[:1200], "x_test": images[1200:], "y_test": labels[1200:]}


def _file(model: Any, folder: Path) -> None:
    from edgekit.model import load_model
    from edgekit.stages.convert import export

    model.save(folder / "net.keras")
    (folder / "net.tflite").write_bytes(export(load_model(folder / "net.keras"), 1, folder / "export").lower())


def branched(folder: Path) -> None:
    """Two branches that are joined, a sigmoid that gates, a hard-swish, and a ReLU6: what ReLU chains do not have."""
    from edgekit.tf import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers, arrays = keras.layers, digits_arrays()

    def convolved(x: Any, channels: int, name: str, activation: str | None = None) -> Any:
        return layers.Conv2D(channels, 3, padding="same", activation=activation, name=name)(x)

    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16)(inputs)
    x = convolved(x, 24, "stem", "relu6")
    left, right = convolved(x, 16, "left", "relu"), convolved(x, 16, "right", "relu")
    x = layers.Concatenate(name="joined")([left, right])
    x = convolved(x, 32, "swished")
    x = layers.Multiply()([x, layers.Rescaling(1 / 6)(layers.ReLU(6.0)(layers.Rescaling(1.0, 3.0)(x)))])
    gate = layers.Activation("sigmoid", name="gate")(convolved(x, 32, "gated"))
    x = layers.Multiply(name="product")([x, gate])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, name="digit")(x), name="branched")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    model.fit(arrays["x_train"], arrays["y_train"], epochs=15, batch_size=64, verbose=0)
    _file(model, folder)


def measuring(folder: Path) -> None:
    """Two numbers out of one layer: how much ink a digit has, and where its weight lies."""
    from edgekit.tf import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers, arrays = keras.layers, measures()
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16)(inputs)
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(2, name="measures")(layers.Flatten()(x)), name="measuring")
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(arrays["x_train"], arrays["y_train"], epochs=10, batch_size=64, verbose=0)
    _file(model, folder)


def measures() -> dict[str, np.ndarray]:
    """The digits with two real labels, both of about one."""
    arrays = digits_arrays()
    rows = np.arange(8)[None, :, None, None]
    for part in ("train", "test"):
        x = arrays[f"x_{part}"]
        ink = x.sum((1, 2, 3))
        height = (x * rows).sum((1, 2, 3)) / ink
        arrays[f"y_{part}"] = np.stack([ink / 300, height - 3], 1).astype(np.float32)
    return arrays


Once = Callable[[str, Callable[[Path], None]], Path]


def net(once: Once, make: Callable[[Path], None], arrays: dict[str, np.ndarray], folder: Path) -> Net:
    """The network that `make` trains, once in a test run."""
    return Net((once(f"doctor_{make.__name__}", make) / "net.tflite").read_bytes(), arrays, folder)
