"""The networks that the suite measures on. Weights are random where only the amount of work matters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import networks
import numpy as np

from edgekit.model import load_model
from edgekit.recipe import Recipe
from edgekit.stages.calibrate import calibrate
from edgekit.stages.convert import export
from edgekit.stages.quantize import Source, quantize
from edgekit.target import load_target
from edgekit.tf import import_keras

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def mobilenet(alpha: float) -> Any:
    """MobileNetV2 for 96x96 images and 10 classes, its batch normalization fitted to random images.

    Without that its activations fade from layer to layer, and int16x8 scales leave their range.
    """
    keras = import_keras()
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=alpha, weights=None, classes=10)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images(64, (96, 96, 3)), training=True)
    return model


def digits(folder: Path) -> Any:
    """The network of the demo, trained as the demo trains it."""
    sys.path.insert(0, str(EXAMPLES))
    from demo import digits as data
    from demo import trained

    return import_keras().models.load_model(trained(data(folder), folder))


def ds_cnn() -> Any:
    """A depthwise-separable network for 28x28 images."""
    return networks.ds_cnn(import_keras(), (28, 28, 1))


def resnet8() -> Any:
    """The residual network of MLPerf Tiny's image classification, for 32x32 colour images."""
    return networks.resnet8(import_keras(), (32, 32, 3))


def autoencoder() -> Any:
    """The dense autoencoder of MLPerf Tiny's anomaly detection: 640 inputs, little arithmetic for each weight."""
    keras = import_keras()
    layers = keras.layers
    x = start = layers.Input((640,))
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(x)))
    return keras.Model(start, layers.Dense(640)(x))


def float_file(model: Any, folder: Path) -> bytes:
    """The float32 TFLite file of a Keras model; `folder` must not exist."""
    return export(load_model(model), 1, folder).lower()


def int8_file(file: bytes, samples: np.ndarray[Any, Any]) -> bytes:
    """The int8 file that `--target host --recipe int8` makes of a float32 file."""
    stage = Recipe.parse("int8").resolve(load_target("host")).quantize
    return quantize(Source(file, calibrate(file, [samples])), stage)


def images(count: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Random float32 samples in [0, 1), always the same ones."""
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)
