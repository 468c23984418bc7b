"""The float model that all tools of `bench_peers.py` begin with, trained by plain Keras 3: `model.fit`.

Writes the model, its weights for tools that live on the older Keras, and what it says to a few samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from job import Making

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from networks import network

_PROBES = 8


def main() -> None:
    """Train as told."""
    job = Making.told()
    arrays = job.arrays()
    x, y = arrays["x_train"], arrays["y_train"]
    model = network(keras, job.network, x.shape[1:], job.seed)
    rate = keras.optimizers.schedules.CosineDecay(job.learning_rate, job.epochs * -(-len(x) // job.batch_size))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, job.batch_size, job.epochs, verbose=0)
    few = arrays["x_test"][:_PROBES]
    np.savez(job.weights, *model.get_weights())
    np.savez(Path(job.weights).with_suffix(".probes.npz"), x=few, y=model.predict(few, verbose=0))
    model.save(job.model)


if __name__ == "__main__":
    main()
