"""Write small tf_keras models into the folder named on the command line; run with TF_USE_LEGACY_KERAS=1."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

layers = keras.layers


def network() -> Any:
    """Convolutions with and without a normalization, and one that stands before a ReLU layer."""
    image = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    x = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Conv2D(16, 3, activation="relu", name="second")(x)
    x = layers.ReLU(name="third_relu")(layers.Conv2D(16, 1, name="third")(x))
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(x))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="head")(x))


def lonely() -> Any:
    """A normalization after a layer without weights, which cannot be folded."""
    image = layers.Input((8, 8, 2), name="image")
    x = layers.BatchNormalization(name="lonely")(layers.MaxPooling2D(name="pool")(image))
    return keras.Model(image, layers.Dense(3, activation="softmax", name="head")(layers.Flatten(name="flat")(x)))


def nested() -> Any:
    image = layers.Input((8, 8, 2), name="image")
    inner = keras.Sequential([layers.Input((8, 8, 2)), layers.Conv2D(8, 3, name="conv")], name="inside")
    x = layers.Conv2D(8, 3, name="block/conv")(inner(image))
    return keras.Model(image, layers.Dense(3, activation="softmax", name="head")(layers.Flatten(name="flat")(x)))


class Doubled(layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def ended(layer: Any) -> Any:
    return keras.Sequential([layers.Input((8, 8, 2)), layer, layers.Flatten(), layers.Dense(3, activation="softmax")])


def main(folder: Path) -> None:
    keras.utils.set_random_seed(3)
    model = network()
    with np.load(folder / "data.npz") as data:
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(data["x_train"], data["y_train"], epochs=2, batch_size=32, verbose=0)
    for name, each in {"network": model, "lonely": lonely(), "nested": nested(), "custom": ended(Doubled())}.items():
        each.save(folder / f"{name}.h5", include_optimizer=False)
    model.save(folder / "network.keras")
    lonely().save(folder / "lonely.keras")
    model.save(folder / "saved", save_format="tf")
    model.export(folder / "exported")
    ended(layers.Lambda(lambda x: 2 * x, name="twice")).save(folder / "lambda", save_format="tf")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
