"""Simulate a machine, and train an autoencoder on its sound windows: `python train.py -o build`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from physics import FAULTS, vibration
from spectrum import BANDS, Array, bands

from edgekit.tf import import_keras


def sound(random: np.random.Generator, count: int) -> Array:
    """Bands `[count, 64]` of windows without a fault."""
    return bands(np.stack([vibration(random) for _ in range(count)]))


def faulty(random: np.random.Generator, count: int) -> Array:
    """Bands `[count, 64]`, the faults in turn, from hardly there to plain."""
    kinds = [FAULTS[place % len(FAULTS)] for place in range(count)]
    return bands(np.stack([vibration(random, kind, random.uniform(0.2, 1.0)) for kind in kinds]))


def write_data(windows: int, path: Path) -> None:
    """An `.npz` for edgekit: nothing but sound windows to learn from and to choose by, both kinds to test."""
    random = np.random.default_rng(0)
    x_train, x_val = sound(random, windows), sound(random, windows // 3)
    x_test = np.concatenate([sound(random, windows // 3), faulty(random, windows // 3)])
    np.savez(path, x_train=x_train, x_val=x_val, x_test=x_test, y_test=np.repeat([0, 1], windows // 3))


def train(data: Path, epochs: int, path: Path) -> None:
    """A network that has to say its input again through eight numbers, and so learns what is usual."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input((BANDS,), name="bands")
    for units in (64, 8, 64):
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.Dense(units, use_bias=False)(x)))
    model = keras.Model(inputs, layers.Dense(BANDS, name="rebuilt")(x), name="bearing")
    with np.load(data) as arrays:
        rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(arrays["x_train"]) // 32))
        model.compile(keras.optimizers.Adam(rate), "mse")
        x, held = arrays["x_train"], arrays["x_val"]
        model.fit(x, x, batch_size=32, epochs=epochs, validation_data=(held, held), verbose=2)
    model.save(path)


def main() -> None:
    """Data, then the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("-o", "--out", type=Path, default=Path("build"))
    options.add_argument(
        "--windows", type=int, default=9000, help="to learn from; a third of it each to choose and test"
    )
    options.add_argument("--epochs", type=int, default=30)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    write_data(given.windows, given.out / "bearing.npz")
    train(given.out / "bearing.npz", given.epochs, given.out / "bearing.keras")


if __name__ == "__main__":
    main()
