"""tfmot's side of `quantize_aware.py`: runs where tensorflow-model-optimization and tf_keras are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from job import QuantizeAware
from pruning_tfmot import Turns
from turns import one_thread

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from networks import network


def main() -> None:
    """Train as told."""
    job = QuantizeAware.told()
    one_thread(tf)
    arrays = job.arrays()
    x, y = arrays["x_train"], arrays["y_train"]
    model = network(tf_keras, job.network, x.shape[1:], job.seed)
    if job.quantized:
        model = tfmot.quantization.keras.quantize_model(model)
    rate = tf_keras.optimizers.schedules.CosineDecay(job.learning_rate, job.epochs * (len(x) // job.batch_size))
    model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, job.batch_size, job.epochs, verbose=2, callbacks=[Turns(job.turns)])


if __name__ == "__main__":
    main()
