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
    """A float32 file, and the arrays of its data: x_train, y_train, x_test, y_test, and maybe more parts.

    `scale` is what preparing the samples once more than in training multiplies them by.
    """

    file: bytes
    arrays: dict[str, np.ndarray]
    folder: Path
    scale: float = 1 / 16

    def with_file(self, file: bytes) -> Net:
        return replace(self, file=file)

    def changed(self, side: str, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        """The samples (x) or labels (y) of every part, changed."""
        return {name: change(array) for name, array in self.arrays.items() if name.startswith(f"{side}_")}

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


def branched_network(keras: Any, shape: tuple[int, ...], scale: float = 1.0, strides: int = 1) -> Any:
    """Two branches that are joined, a sigmoid that gates, a hard-swish, and a ReLU6: what ReLU chains do not have."""
    layers = keras.layers

    def convolved(x: Any, channels: int, name: str, activation: str | None = None, strides: int = 1) -> Any:
        return layers.Conv2D(channels, 3, strides, padding="same", activation=activation, name=name)(x)

    inputs = keras.Input(shape, name="image")
    x = layers.Rescaling(scale)(inputs)
    x = convolved(x, 24, "stem", "relu6", strides)
    left, right = convolved(x, 16, "left", "relu"), convolved(x, 16, "right", "relu")
    x = layers.Concatenate(name="joined")([left, right])
    x = convolved(x, 32, "swished")
    x = layers.Multiply()([x, layers.Rescaling(1 / 6)(layers.ReLU(6.0)(layers.Rescaling(1.0, 3.0)(x)))])
    gate = layers.Activation("sigmoid", name="gate")(convolved(x, 32, "gated"))
    x = layers.Multiply(name="product")([x, gate])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="digit")(x), name="branched")


def measuring_network(keras: Any, shape: tuple[int, ...], scale: float = 1.0, strides: int = 1) -> Any:
    """Two numbers out of one layer: how much ink there is, and where its weight lies."""
    layers = keras.layers
    inputs = keras.Input(shape, name="image")
    x = layers.Rescaling(scale)(inputs)
    x = layers.Conv2D(16, 3, strides=2 * strides, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, strides=strides, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Dense(2, name="measures")(layers.Flatten()(x)), name="measuring")


def measures(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same images with two real labels, both of about one: how much ink there is, and how far down it is."""
    first = arrays["x_train"]
    rows, least = np.arange(first.shape[1])[None, :, None, None], first.min()
    usual = (first - least).sum((1, 2, 3)).mean()

    def labels(x: np.ndarray) -> np.ndarray:
        ink = (x - least).sum((1, 2, 3))
        height = ((x - least) * rows).sum((1, 2, 3)) / ink
        return np.stack([ink / usual, 2 * height / first.shape[1]], 1).astype(np.float32)

    parts = {name.removeprefix("y_") for name in arrays if name.startswith("y_")}
    return arrays | {f"y_{part}": labels(arrays[f"x_{part}"]) for part in parts}


def fitted(keras: Any, model: Any, arrays: dict[str, np.ndarray], epochs: int, rate: float = 4e-3) -> Any:
    """The network, trained: to say classes by its logits, or numbers."""
    whole = arrays["y_train"].dtype.kind in "iu"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if whole else "mse"
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(arrays["x_train"], arrays["y_train"], epochs=epochs, batch_size=64, verbose=0)
    return model


def branched(folder: Path) -> None:
    """Train the branched network on the digits."""
    _trained(branched_network, digits_arrays(), folder, 15)


def measuring(folder: Path) -> None:
    """Train the measuring network on the digits."""
    _trained(measuring_network, measures(digits_arrays()), folder, 10)


def _trained(network: Callable[..., Any], arrays: dict[str, np.ndarray], folder: Path, epochs: int) -> None:
    from edgekit.tf import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    _file(fitted(keras, network(keras, (8, 8, 1), 1 / 16), arrays, epochs), folder)


def windows(folder: Path) -> None:
    """Strides, paddings, dilations, depth multipliers, groups and a dense layer, as random as they begin."""
    from edgekit.tf import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, (5, 3), padding="same", activation="relu")(layers.Rescaling(1 / 8, -1.0)(inputs))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Conv2D(12, 3, dilation_rate=2, padding="same", activation="relu6")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 2)(x)
    x = layers.Conv2D(8, 1, groups=2)(x)
    _file(keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)), name="windows"), folder)


Once = Callable[[str, Callable[[Path], None]], Path]


def net(once: Once, make: Callable[[Path], None], arrays: dict[str, np.ndarray], folder: Path) -> Net:
    """The network that `make` trains, once in a test run."""
    return Net((once(f"doctor_{make.__name__}", make) / "net.tflite").read_bytes(), arrays, folder)
