"""The small networks that compression is judged on, for ten classes.

They are built with the `keras` that is given, so that a peer which lives on the older Keras has the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, int, int]

MOMENTUM = 0.9  # of batch statistics; with Keras's 0.99 they lag an epoch or two behind on so few samples


def ds_cnn(keras: Any, shape: Shape, strides: int = 2) -> Any:
    """A depthwise-separable network (Zhang et al. 2017, arXiv:1711.07128, DS-CNN small)."""
    layers = keras.layers
    x = start = layers.Input(shape)
    x = _normal(keras, layers.Conv2D(64, (10, 4), strides=strides, padding="same", use_bias=False)(x))
    for _ in range(4):
        x = _normal(keras, layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _normal(keras, layers.Conv2D(64, 1, use_bias=False)(x))
    return _classes(keras, start, x)


def resnet8(keras: Any, shape: Shape, pooled: bool = False) -> Any:
    """The residual network of MLPerf Tiny's image classification.

    `pooled` begins it as large ResNets begin, with a stride of 2 and a pooling, so that a sixteenth of the positions is
    left.
    """
    layers = keras.layers
    x = start = layers.Input(shape)
    x = _normal(keras, layers.Conv2D(16, 3, strides=2 if pooled else 1, padding="same")(x))
    x = layers.MaxPooling2D(3, 2, padding="same")(x) if pooled else x
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = _normal(keras, layers.Conv2D(filters, 3, strides=strides, padding="same")(x))
        y = layers.BatchNormalization(momentum=MOMENTUM)(layers.Conv2D(filters, 3, padding="same")(y))
        short = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides)(x)
        x = layers.ReLU()(layers.Add()([short, y]))
    return _classes(keras, start, x)


def mobilenet(keras: Any, shape: Shape) -> Any:
    """MobileNetV2 0.35 (Sandler et al. 2018, arXiv:1801.04381) of keras.applications, for 32x32, padded to it."""
    inner = keras.applications.MobileNetV2((32, 32, 1), alpha=0.35, weights=None, classes=10)
    for layer in inner.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    if shape == (32, 32, 1):
        return inner
    x = start = keras.layers.Input(shape)
    x = keras.layers.ZeroPadding2D((32 - shape[0]) // 2)(x)
    return keras.Model(start, inner(x))


def mobilenet_v3(keras: Any, shape: Shape) -> Any:
    """MobileNetV3Small 0.5 (Howard et al. 2019, arXiv:1905.02244) of keras.applications: hard-swish, and gates."""
    build = keras.applications.MobileNetV3Small
    model = build(input_shape=shape, alpha=0.5, weights=None, classes=10, include_preprocessing=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return model


def _normal(keras: Any, x: Any) -> Any:
    layers = keras.layers
    return layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x))


def _classes(keras: Any, start: Any, x: Any) -> Any:
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, keras.layers.Dense(10, activation="softmax")(pooled))


def unequal(keras: Any, model: Any, seed: int) -> Any:
    """A copy of a chain of convolutions with ReLU that computes the same from channels scaled by e^-1.5 to e^1.5."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    rng = np.random.default_rng(seed)
    norms = [layer for layer in copy.layers if isinstance(layer, keras.layers.BatchNormalization)]
    following = [layer for layer in copy.layers if "Conv2D" in type(layer).__name__][1:]
    for norm, layer in zip(norms, following, strict=False):
        scale = np.exp(rng.uniform(-1.5, 1.5, norm.gamma.shape)).astype(np.float32)
        norm.gamma.assign(norm.gamma * scale)
        norm.beta.assign(norm.beta * scale)
        kernel, *rest = layer.get_weights()
        layer.set_weights([kernel / scale[:, None], *rest])
    return copy


def network(keras: Any, name: str, shape: Shape, seed: int) -> Any:
    """The network of this name, its weights are drawn by `seed`."""
    keras.utils.set_random_seed(seed)
    return {**NETWORKS, **TIMED, **SIDE_BY_SIDE}[name](keras, shape)


def _application(name: str, **settings: Any) -> Callable[[Any, Shape], Any]:
    return lambda keras, shape: getattr(keras.applications, name)(
        input_shape=shape, weights=None, classes=10, **settings
    )


NETWORKS: dict[str, Callable[[Any, Shape], Any]] = {
    "ds-cnn": lambda keras, shape: ds_cnn(keras, shape, strides=4),
    "resnet-8": lambda keras, shape: resnet8(keras, shape, pooled=True),
    "mobilenet-v2-0.35": mobilenet,
}
"""As small as training them dozens of times asks for."""

CHAINS = ("ds-cnn",)
"""Those in which every normalization is followed by ReLU and one convolution."""

TIMED: dict[str, Callable[[Any, Shape], Any]] = {
    "MobileNetV2 0.35": _application("MobileNetV2", alpha=0.35),
    "DS-CNN": ds_cnn,
    "ResNet50": _application("ResNet50"),
}
"""As large as on a device, to time steps of training."""

SIDE_BY_SIDE: dict[str, Callable[[Any, Shape], Any]] = {
    "DS-CNN": ds_cnn,
    "ResNet-8": resnet8,
    "MobileNetV3Small 0.5": mobilenet_v3,
}
"""What all tools of `bench_peers.py` get, small enough for images of 8x8 pixels and for minutes."""
