"""A U-Net that finds discs, squares and triangles, and the images it learns from, drawn by this program.

`python train.py out` writes out/shapes.npz, out/shapes.keras and out/scene.png, one of the test images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

SIZE = 96
CLASSES = ("background", "disc", "square", "triangle")


def textbook() -> keras.Model:
    """The U-Net as it is mostly written: nearest neighbours upwards, softmax at each pixel."""
    return network(lambda channels: layers.UpSampling2D(2), "softmax")


def unet() -> keras.Model:
    """The same for an Edge TPU: transposed convolutions upwards, logits at each pixel."""
    return network(lambda channels: layers.Conv2DTranspose(channels, 2, strides=2), None)


def network(up: Callable[[int], layers.Layer], activation: str | None) -> keras.Model:
    """Images [96, 96, 3] of 0..255 to [96, 96, 4]: a number for each class at each pixel."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x, skips = layers.Rescaling(1 / 255)(image), []
    for channels in (16, 24, 32):
        x = convolved(x, channels, strides=2)
        skips.append(x)
    x = convolved(convolved(x, 48, strides=2), 48)
    for skip in reversed(skips):
        x = layers.Concatenate()([up(skip.shape[-1])(x), skip])
        x = convolved(x, skip.shape[-1])
    x = layers.Conv2D(len(CLASSES), 1)(up(8)(x))
    return keras.Model(image, layers.Activation(activation, name="mask")(x), name="shapes")


def convolved(x: keras.KerasTensor, channels: int, strides: int = 1) -> keras.KerasTensor:
    """A 3x3 convolution, normalized, with ReLU."""
    x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [count, 96, 96, 3] of bright shapes on dark in noise, and their masks uint8 [count, 96, 96]."""
    random = np.random.default_rng(seed)
    images, masks = np.empty((count, SIZE, SIZE, 3), np.uint8), np.zeros((count, SIZE, SIZE), np.uint8)
    down, across = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    for image, mask in zip(images, masks, strict=True):
        scene = np.full(image.shape, random.uniform(20, 100, 3), np.float32)
        for kind in random.integers(1, len(CLASSES), random.integers(1, 5)):
            size, (y, x) = random.uniform(10, 20), random.uniform(10, SIZE - 10, 2)
            where = inside(int(kind), (down - y) / size, (across - x) / size)
            mask[where], scene[where] = kind, random.uniform(120, 255, 3)
        light = (random.uniform(-0.3, 0.3) * across + random.uniform(-0.3, 0.3) * down)[..., None]
        image[:] = np.clip(scene + light + random.normal(0, 15, image.shape), 0, 255)
    return images, masks


def inside(kind: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Which points are in a disc, square or triangle around the origin, from -1 to 1."""
    if kind == 1:
        return x**2 + y**2 < 1
    if kind == 2:
        return np.maximum(abs(x), abs(y)) < 0.9
    return (y < 0.8) & (2 * abs(x) < y + 1)


def main(out: Path) -> None:
    """Draw, train, save."""
    out.mkdir(parents=True, exist_ok=True)
    (x_train, y_train), (x_test, y_test) = drawn(800, seed=0), drawn(200, seed=1)
    np.savez(out / "shapes.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    Image.fromarray(x_test[0]).save(out / "scene.png")
    model = unet()
    rate = keras.optimizers.schedules.CosineDecay(0.01, decay_steps=8 * 50)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(x_train, y_train, batch_size=16, epochs=8, verbose=2)
    model.save(out / "shapes.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
