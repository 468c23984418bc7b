"""Train a small network to tell ten spoken words apart: `python train.py RECORDINGS -o build`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from frontend import BANDS, CLIP, FRAMES, energies, features
from recordings import TEST_TAKES, Array, Recording, clip, recordings

from edgekit.tf import import_keras


def clips(found: list[Recording], seed: int) -> Array:
    """Samples `[recordings, 8064]`, each recording somewhere in its second."""
    random = np.random.default_rng(seed)
    return np.stack([clip(one.samples, int(random.integers(max(1, CLIP - len(one.samples))))) for one in found])


def heard(found: list[Recording], seed: int) -> tuple[Array, Array]:
    """What the model takes of these clips, `[recordings, 62, 24]`, and the words."""
    x = [features(energies(samples)) for samples in clips(found, seed)]
    return np.stack(x), np.array([one.word for one in found])


def write_data(found: list[Recording], copies: int, path: Path) -> None:
    """An `.npz` for edgekit: the test takes once, the others `copies` times, each time shifted otherwise."""
    taught = [one for one in found if one.take >= TEST_TAKES]
    parts = [heard(taught, seed) for seed in range(1, copies + 1)]
    x_test, y_test = heard([one for one in found if one.take < TEST_TAKES], 0)
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    speech = np.tile(np.arange(len(taught)), copies)  # copies of a recording never part
    np.savez(path, x_train=x, y_train=y, groups_train=speech, x_test=x_test, y_test=y_test)


def train(data: Path, epochs: int, path: Path) -> None:
    """A depthwise-separable network (Zhang et al. 2017, arXiv:1711.07128) on int8 features as they are."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input((FRAMES, BANDS), name="features")
    x = layers.Reshape((FRAMES, BANDS, 1))(x)
    x = layers.Conv2D(24, (8, 4), (2, 2), "same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    for stride in (2, 1, 1):
        x = layers.SeparableConv2D(48, 3, stride, "same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", name="word")(x), name="keyword")
    with np.load(data) as arrays:
        rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-len(arrays["x_train"]) // 32))
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(arrays["x_train"].astype(np.float32), arrays["y_train"], batch_size=32, epochs=epochs, verbose=2)
    model.save(path)


def main() -> None:
    """Features, then the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("recordings", type=Path, help="folder recordings/ of the data set, or an .npz")
    options.add_argument("-o", "--out", type=Path, default=Path("build"))
    options.add_argument("--takes", type=int, default=50, help="of each word and speaker, the first five to test")
    options.add_argument("--copies", type=int, default=3, help="shifted otherwise, of each recording")
    options.add_argument("--epochs", type=int, default=12)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    write_data(recordings(given.recordings, given.takes), given.copies, given.out / "features.npz")
    train(given.out / "features.npz", given.epochs, given.out / "keyword.keras")


if __name__ == "__main__":
    main()
