"""Builders of the architectures that graph rewrites are tested on: small inputs, random weights, random statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.graph.walk import walk
from edgekit.tf import import_keras

APPLICATIONS: dict[str, tuple[int, int, int]] = {
    "MobileNet": (64, 64, 3),
    "MobileNetV2": (64, 64, 3),
    "MobileNetV3Small": (64, 64, 3),
    "MobileNetV3Large": (64, 64, 3),
    "EfficientNetB0": (64, 64, 3),
    "EfficientNetV2B0": (64, 64, 3),
    "ResNet50": (64, 64, 3),
    "ResNet50V2": (64, 64, 3),
    "InceptionV3": (75, 75, 3),
    "Xception": (71, 71, 3),
    "DenseNet121": (64, 64, 3),
    "NASNetMobile": (64, 64, 3),
    "ConvNeXtTiny": (64, 64, 3),
    "InceptionResNetV2": (75, 75, 3),
    "VGG16": (64, 64, 3),
}


def application(name: str) -> Any:
    """A network of keras.applications with random weights and ten classes."""
    keras = import_keras()
    return getattr(keras.applications, name)(weights=None, input_shape=APPLICATIONS[name], classes=10)


def resnet8() -> Any:
    """ResNet-8 of MLPerf Tiny: three residual stages on 32x32."""
    keras = import_keras()
    layers = keras.layers

    def conv(x: Any, filters: int, size: int, strides: int) -> Any:
        return layers.Conv2D(filters, size, strides, padding="same")(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(conv(inputs, 16, 3, 1)))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(layers.BatchNormalization()(conv(x, filters, 3, strides)))
        y = layers.BatchNormalization()(conv(y, filters, 3, 1))
        x = layers.ReLU()(layers.Add()([y, x if strides == 1 else conv(x, filters, 1, strides)]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Dense(10, "softmax")(x), name="resnet8")


def ds_cnn() -> Any:
    """DS-CNN of MLPerf Tiny: keyword spotting with depthwise separable convolutions."""
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((49, 10, 1))
    x = layers.Conv2D(64, (10, 4), 2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.2)(x)
    for _ in range(4):
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(64, 1)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.4)(x))
    return keras.Model(inputs, layers.Dense(12, "softmax")(x), name="ds_cnn")


def autoencoder() -> Any:
    """The fully connected auto-encoder of MLPerf Tiny, as a Sequential model."""
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential([keras.Input((640,))], name="autoencoder")
    for units in (128, 128, 8, 128, 128):
        model.add(layers.Dense(units, use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.Dense(640))
    return model


def conv1d() -> Any:
    """A 1-D network with separable, depthwise and dilated convolutions and a flatten."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((64, 6)),
            layers.Conv1D(24, 5, activation="relu"),
            layers.BatchNormalization(),
            layers.SeparableConv1D(32, 3, depth_multiplier=2, activation="relu"),
            layers.MaxPooling1D(2),
            layers.DepthwiseConv1D(3, depth_multiplier=2),
            layers.PReLU(shared_axes=[1]),
            layers.Conv1D(16, 3, dilation_rate=2, activation="tanh"),
            layers.Flatten(),
            layers.Dense(24, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ],
        name="conv1d",
    )


def unet() -> Any:
    """A small U-Net: transposed convolutions, upsampling, skip connections by concatenation."""
    keras = import_keras()
    layers = keras.layers

    def block(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    skips, x = [], inputs
    for filters in (16, 24):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 32)
    x = layers.Conv2DTranspose(24, 2, 2)(x)
    x = block(layers.Concatenate()([x, skips.pop()]), 24)
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    x = block(layers.Concatenate()([x, skips.pop()]), 16)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="sigmoid")(x), name="unet")


def two_in_two_out() -> Any:
    """An image and a vector give a class and a value; inputs and outputs are dictionaries."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    image, vector = keras.Input((16, 16, 3), name="image"), keras.Input((5,), name="vector")
    x = layers.Conv2D(16, 3, activation="relu")(image)
    x = layers.BatchNormalization()(x)
    gate = layers.Dense(16, activation="sigmoid")(vector)
    x = x * ops.reshape(gate, (-1, 1, 1, 16))
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Concatenate()([x, layers.Dense(8, activation="relu")(vector)])
    hidden = layers.Dense(24, activation="relu")(x)
    outputs = {"kind": layers.Dense(3, "softmax", name="kind")(hidden), "value": layers.Dense(1, name="value")(hidden)}
    return keras.Model({"image": image, "vector": vector}, outputs, name="two_in_two_out")


def lstm() -> Any:
    """Convolution, then a bidirectional and a plain LSTM."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20, 6)),
            layers.Conv1D(16, 3, activation="relu"),
            layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
            layers.LSTM(12),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, "softmax"),
        ],
        name="lstm",
    )


def gru() -> Any:
    """Tokens with a mask through a GRU."""
    keras = import_keras()
    layers = keras.layers
    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = layers.Embedding(50, 16, mask_zero=True)(tokens)
    x = layers.GRU(12)(layers.Dropout(0.1)(x))
    x = layers.Dense(16, activation="gelu")(x)
    return keras.Model(tokens, layers.Dense(3)(x), name="gru")


def vit() -> Any:
    """A small vision transformer."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(0.5)(inputs)
    x = layers.Conv2D(32, 8, 8)(x)
    x = layers.Reshape((16, 32))(x)
    x = x + layers.Embedding(16, 32)(ops.arange(16))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8)(y, y)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(32)(layers.Dense(64, activation="gelu")(y))
    x = ops.mean(layers.LayerNormalization()(x), axis=1)
    return keras.Model(inputs, layers.Dense(10)(x), name="vit")


def nested() -> Any:
    """Nested models two deep, with clashing names; one is called twice, and a Sequential is among them."""
    keras = import_keras()
    layers = keras.layers

    def block(name: str, channels: int, filters: int) -> Any:
        inputs = keras.Input((None, None, channels))
        x = layers.Conv2D(filters, 3, padding="same", name="conv")(inputs)
        x = layers.BatchNormalization(name="norm")(x)
        return keras.Model(inputs, layers.ReLU(name="relu")(x), name=name)

    inner = block("inner", 8, 8)
    start = keras.Input((None, None, 8))
    outer = keras.Model(start, layers.Add()([inner(inner(start)), start]), name="outer")
    head = keras.Sequential(
        [keras.Input((8,)), layers.Dense(12, "relu", name="conv"), layers.Dense(5, name="logits")], name="head"
    )
    inputs = keras.Input((16, 16, 3), name="image")
    x = outer(block("stem", 3, 8)(inputs))
    x = layers.GlobalAveragePooling2D()(outer(x, training=False))
    return keras.Model(inputs, head(x), name="nested")


def shared() -> Any:
    """A Siamese network: two inputs through the same layers, then their difference."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    left, right = keras.Input((12, 12, 1), name="left"), keras.Input((12, 12, 1), name="right")
    conv, norm = layers.Conv2D(16, 3), layers.BatchNormalization()
    dense = layers.Dense(12, activation="relu")

    def tower(x: Any) -> Any:
        return dense(layers.GlobalAveragePooling2D()(ops.relu(norm(conv(x)))))

    distance = ops.abs(tower(left) - tower(right))
    return keras.Model([left, right], layers.Dense(1, "sigmoid")(distance), name="shared")


OWN: dict[str, Callable[[], Any]] = {
    build.__name__: build
    for build in (resnet8, ds_cnn, autoencoder, conv1d, unet, two_in_two_out, lstm, gru, vit, nested, shared)
}
ALL = (*OWN, *APPLICATIONS)


def build(name: str, seed: int = 0, dtype: str = "float32") -> Any:
    """The architecture with this name, its weights and statistics drawn at random."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        model = OWN[name]() if name in OWN else application(name)
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)
    randomize(model, seed)
    return model


def randomize(model: Any, seed: int = 0) -> None:
    """Draw every vector of weights, so that scales differ from one and biases from zero, then set the statistics.

    Statistics are those of random inputs, or else signals die out in deep networks and no test would see an error.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1 and weight.dtype.startswith("float"):
            weight.assign(rng.uniform(0.05, 0.1, weight.shape))
    for layer in walk(model).layers.values():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    norms = [layer for layer in walk(model).layers.values() if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(samples(model, 8), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def samples(model: Any, count: int = 2, seed: int = 1) -> Any:
    """Random inputs in the structure that the model takes."""
    keras = import_keras()
    rng = np.random.default_rng(seed)

    def draw(tensor: Any) -> Any:
        shape = (count, *(8 if size is None else size for size in tensor.shape[1:]))
        if "int" in tensor.dtype:
            return rng.integers(0, 10, shape).astype(tensor.dtype)
        return rng.normal(0, 2, shape).astype(tensor.dtype)

    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(draw, structure)


def outputs(model: Any, inputs: Any) -> list[np.ndarray[Any, Any]]:
    """What the model gives for `inputs`, flat."""
    return [np.asarray(output) for output in import_keras().tree.flatten(model(inputs, training=False))]
