"""The thirteen architectures of keras.applications that `int8_files.py` compares, with random weights, in any Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0"),
    *("ResNet50", "ResNet50V2", "InceptionV3", "Xception", "DenseNet121", "NASNetMobile", "ConvNeXtTiny"),
)
FROM_BYTES = ("MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny")
SIZE, SAMPLES = 96, 8

Array = np.ndarray[Any, Any]


def build(name: str, keras: Any) -> tuple[Any, Array]:
    """The network with random weights, and samples `[samples, height, width, channels]`; `keras` may be tf_keras.

    Normalizations have the statistics of the samples, and layer scales are 0.1, so that activations have the size that
    they have in a trained network.
    """
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    images = _images(name)
    layers = list(network._flatten_layers())
    norms = [(each, each.momentum) for each in layers if isinstance(each, keras.layers.BatchNormalization)]
    for norm, _ in norms:
        norm.momentum = 0.0
    network(images, training=True)
    for norm, momentum in norms:
        norm.momentum = momentum
    for each in layers:
        if type(each).__name__ == "LayerScale":
            each.gamma.assign(np.full(each.gamma.shape, 0.1, np.float32))
    return network, images[:SAMPLES]


def _images(name: str) -> Array:
    """Smooth noise, in the range that the architecture takes."""
    import tensorflow

    small = np.random.default_rng(0).uniform(-1, 1, (4 * SAMPLES, 6, 6, 3)).astype(np.float32)
    images: Array = np.clip(tensorflow.image.resize(small, (SIZE, SIZE), "bicubic").numpy(), -1, 1)
    return images * 127.5 + 127.5 if name in FROM_BYTES else images
