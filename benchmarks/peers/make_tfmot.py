"""tensorflow-model-optimization's side of `bench_peers.py`, with tf_keras: train as its guides show, then convert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from job import Making
from making import File, Maker, run
from pruning_tfmot import pruning  # it asks for the older Keras, so it comes before TensorFlow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import int8_files
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from networks import network

SPARSITY, VALUES = 0.8, 16  # as in the recipes of edgekit
_NEAR = 1e-4


def quantization_aware(job: Making) -> File:
    """Quantization-aware training; the converter makes the integers that were trained."""
    wrapped = tfmot.quantization.keras.quantize_model(_opened(job))
    _trained(wrapped, job)
    converter = tf.lite.TFLiteConverter.from_keras_model(wrapped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return File(bytes(converter.convert()))


def pruned(job: Making) -> File:
    """Magnitude pruning along the polynomial schedule, then full int8 by the converter."""
    sparsity = tfmot.sparsity.keras
    wrapped = pruning(_opened(job), SPARSITY, _steps(job))
    _trained(wrapped, job, sparsity.UpdatePruningStep())
    return _int8(sparsity.strip_pruning(wrapped), job)


def clustered(job: Making) -> File:
    """Weights that share values, then full int8 by the converter."""
    clustering = tfmot.clustering.keras
    wrapped = clustering.cluster_weights(_opened(job), VALUES)
    _trained(wrapped, job)
    return _int8(clustering.strip_clustering(wrapped), job)


def _opened(job: Making) -> Any:
    model = network(tf_keras, job.network, job.arrays()["x_train"].shape[1:], job.seed)
    model.set_weights(job.initial())
    return model


def refuse_another_function(job: Making) -> None:
    """Raise ValueError unless the network with these weights computes what the Keras 3 model computed."""
    with np.load(Path(job.weights).with_suffix(".probes.npz")) as found:
        apart = np.abs(_opened(job)(found["x"], training=False).numpy() - found["y"]).max()
    if apart > _NEAR:
        raise ValueError(f"{job.network} is another function in tf_keras: outputs are {apart:.3g} apart")


def _steps(job: Making) -> int:
    return job.epochs * -(-len(job.arrays()["x_train"]) // job.batch_size)


def _trained(wrapped: Any, job: Making, *callbacks: Any) -> None:
    arrays = job.arrays()
    tf_keras.utils.set_random_seed(job.seed)
    rate = tf_keras.optimizers.schedules.CosineDecay(job.learning_rate, _steps(job))
    wrapped.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    wrapped.fit(arrays["x_train"], arrays["y_train"], job.batch_size, job.epochs, verbose=0, callbacks=list(callbacks))


def _int8(model: Any, job: Making) -> File:
    return File(int8_files.by_converter(model, job.arrays()["x_calibration"]))


MAKERS: dict[tuple[str, str], Maker] = {
    ("tfmot", "qat"): quantization_aware,
    ("tfmot", "zeros"): pruned,
    ("tfmot", "values"): clustered,
}

if __name__ == "__main__":
    refuse_another_function(Making.told())
    run(MAKERS)
