"""Make the golden files of this folder: small models trained by tensorflow-model-optimization, and what they compute.

Run in an environment with tensorflow, tf_keras, h5py and tensorflow-model-optimization 0.8.1:

    TF_USE_LEGACY_KERAS=1 python tests/model/tfmot_goldens/make.py

Each NAME.h5 comes with NAME.npz: `x`, and `y`, the outputs of the stripped model (of the model itself for `qat`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras

layers = keras.layers
sparsity, clustering, quantization = tfmot.sparsity.keras, tfmot.clustering.keras, tfmot.quantization.keras
HERE = Path(__file__).parent


def sequential():
    parts = [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.ReLU(name="relu")]
    parts += [layers.DepthwiseConv2D(3, padding="same", name="depthwise"), layers.MaxPooling2D(name="pool")]
    return keras.Sequential([layers.Input((8, 8, 3)), *parts, layers.Flatten(name="flat"), dense(3, "softmax")])


def functional():
    x = layers.Input((8, 8, 3), name="image")
    a = layers.Conv2D(4, 3, padding="same", activation="relu", name="left")(x)
    b = layers.Conv2D(4, 1, use_bias=False, name="right")(x)
    b = layers.ReLU(6.0, name="six")(layers.BatchNormalization(name="norm")(b))
    y = layers.Concatenate(name="joined")([layers.Add(name="sum")([a, b]), b])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return keras.Model(x, [dense(3, "softmax")(y), layers.Dense(1, activation="sigmoid", name="score")(y)])


def activations():
    parts = [layers.Conv2D(4, 3, name="conv"), layers.Activation("relu", name="relu")]
    parts += [layers.DepthwiseConv2D(3, padding="same", name="depthwise"), layers.Activation("relu6", name="six")]
    parts += [layers.Flatten(name="flat"), layers.Dense(3, name="last"), layers.Activation("softmax", name="dense")]
    return keras.Sequential([layers.Input((8, 8, 3)), *parts])


def partly():
    parts = [layers.Conv2D(4, 3, activation="relu", name="conv"), layers.Conv2D(2, 3, name="chosen")]
    return keras.Sequential([layers.Input((8, 8, 3)), *parts, layers.Flatten(name="flat"), dense(3, "softmax")])


def dense(units, activation):
    return layers.Dense(units, activation=activation, name="dense")


def recurrent():
    return keras.Sequential([layers.Input((5, 3)), layers.LSTM(4, name="lstm"), layers.Dense(3, name="dense")])


def nested():
    x = layers.Input((8, 8, 3), name="image")
    part = [layers.Conv2D(4, 3, name="inner"), layers.Conv2D(2, 3, name="last")]
    inner = keras.Sequential([layers.Input((8, 8, 3)), *part], name="inside")
    return keras.Model(x, dense(3, None)(layers.Flatten(name="flat")(inner(x))))


def trained(model, callbacks=()):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, *model.input_shape[1:])).astype("float32")
    targets = [rng.uniform(size=(64, *shape[1:])) for shape in shapes(model)]
    model.compile(keras.optimizers.legacy.SGD(0.05), "mse")
    model.fit(x, targets, epochs=3, verbose=0, callbacks=list(callbacks))
    return model


def shapes(model):
    return model.output_shape if isinstance(model.output_shape, list) else [model.output_shape]


def pruned(model):
    wrapped = sparsity.prune_low_magnitude(model, sparsity.ConstantSparsity(0.5, 0, frequency=1))
    return trained(wrapped, [sparsity.UpdatePruningStep()]), sparsity.strip_pruning


def clustered(model, clusters=4, **settings):
    start = clustering.CentroidInitialization.LINEAR
    wrapped = clustering.cluster_weights(model, clusters, cluster_centroids_init=start, **settings)
    return trained(wrapped), clustering.strip_clustering


def quantized(model):
    return trained(quantization.quantize_model(trained(model))), lambda found: found


def selected(model, names):
    def annotated(layer):
        return quantization.quantize_annotate_layer(layer) if layer.name in names else layer

    marked = keras.models.clone_model(model, clone_function=annotated)
    return trained(quantization.quantize_apply(marked)), lambda found: found


def sparse(model):
    for weight in model.trainable_weights:
        if "kernel" in weight.name:
            weight.assign(np.where(np.abs(weight.numpy()) < 0.2, 0, weight.numpy()))
    return model


CASES = {
    "pruned": lambda: pruned(trained(sequential())),
    "pruned_functional": lambda: pruned(trained(functional())),
    "pruned_nested": lambda: pruned(trained(nested())),
    "clustered": lambda: clustered(trained(sequential())),
    "clustered_functional": lambda: clustered(trained(functional())),
    "clustered_per_channel": lambda: clustered(trained(sequential()), cluster_per_channel=True),
    "clustered_sparse": lambda: clustered(sparse(sequential()), preserve_sparsity=True),
    "clustered_recurrent": lambda: clustered(recurrent()),
    "qat": lambda: quantized(sequential()),
    "qat_functional": lambda: quantized(functional()),
    "qat_activations": lambda: quantized(activations()),
    "qat_selected": lambda: selected(partly(), ("chosen", "dense")),
}


def smaller(source, target):
    """Copy an HDF5 file without what it holds for training only, and the slack that its writer left in it."""
    with h5py.File(source) as old, h5py.File(target, "w", libver="latest") as new:
        new.attrs["model_config"] = smallest(json.loads(old.attrs["model_config"]))
        old.copy("model_weights", new)


def smallest(config):
    return json.dumps(without_training(config), separators=(",", ":"))


def without_training(node):
    if isinstance(node, list):
        return [without_training(item) for item in node]
    if not isinstance(node, dict):
        return node
    training = ("_initializer", "_regularizer", "_constraint", "build_config", "trainable")
    return {key: without_training(value) for key, value in node.items() if not key.endswith(training)}


def make(name):
    keras.utils.set_random_seed(7)
    model, strip = CASES[name]()
    full = HERE / f"{name}.full.h5"
    model.save(full, include_optimizer=False)
    smaller(full, HERE / f"{name}.h5")
    full.unlink()
    x = np.random.default_rng(9).normal(size=(4, *model.input_shape[1:])).astype("float32")
    outputs = strip(model).predict(x, verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    np.savez_compressed(HERE / f"{name}.npz", x=x, **{f"y{place}": value for place, value in enumerate(outputs)})


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
