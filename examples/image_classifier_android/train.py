"""An image classifier and the folder of images that it learns from.

`python train.py out` writes scikit-learn's handwritten digits as PNG files and trains out/classifier.keras on them.
`python train.py out fashion_mnist.npz` takes clothes: the arrays x_train, y_train, x_test, y_test of Fashion-MNIST.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image
from sklearn.datasets import load_digits

import edgekit

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLOTHES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
Samples = Iterator[tuple[str, str, np.ndarray]]


def digits() -> Samples:
    """Part, class and image uint8 [8, 8] of 1,797 handwritten digits, white on black."""
    images, labels = load_digits(return_X_y=True)
    for place, number in enumerate(np.random.default_rng(0).permutation(len(images))):
        part = "train" if place < 1400 else "test"
        yield part, DIGITS[labels[number]], (images[number].reshape(8, 8) * (255 / 16)).astype(np.uint8)


def clothes(archive: Path) -> Samples:
    """Part, class and image uint8 [28, 28] of the first 6,000 and 1,000 pieces of Fashion-MNIST."""
    with np.load(archive) as arrays:
        for part, count in (("train", 6000), ("test", 1000)):
            for image, label in zip(arrays[f"x_{part}"][:count], arrays[f"y_{part}"][:count], strict=True):
                yield part, CLOTHES[label], image


def written(samples: Samples, folder: Path) -> None:
    """Write PART/CLASS/NUMBER.png, 32x32 pixels, in place of what an earlier call wrote."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, (part, name, image) in enumerate(samples):
        path = folder / part / name / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC).save(path)


def network(classes: int) -> keras.Model:
    """Images [32, 32, 1] of -1..1 to a share for each class, by separable convolutions."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 1), name="image")
    for channels in (32, 64, 128, 256):
        convolution = layers.Conv2D if x is image else layers.SeparableConv2D
        x = convolution(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="share")(x), name="classifier")


def main(out: Path, archive: Path | None = None) -> None:
    """Write the images; train on what edgekit reads of them, so classes and preprocessing are the same everywhere."""
    written(clothes(archive) if archive else digits(), out / "images")
    data = edgekit.load_dataset("data.toml")
    train = data.part("train")
    model = network(len(data.class_names))
    rate = keras.optimizers.schedules.CosineDecay(0.005, decay_steps=15 * len(train) // 32)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train.array(), *train.labels, batch_size=32, epochs=15, verbose=2)
    model.save(out / "classifier.keras")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
