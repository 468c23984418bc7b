"""tfmot's side of `pruning.py`: runs where tensorflow-model-optimization and tf_keras are installed, edgekit is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from job import BEGIN, END, POWER, UPDATES, Pruning
from turns import Clock, one_thread

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from networks import network

sparsity = tfmot.sparsity.keras


class Turns(tf_keras.callbacks.Callback):
    """Trains in blocks of so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._clock = Clock(steps)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Wait for the turn."""
        self._clock()


def pruning(model: Any, share: float, steps: int) -> Any:
    """The model with the wrappers that prune it along the polynomial schedule."""
    end = int(END * steps)
    schedule = sparsity.PolynomialDecay(0.0, share, int(BEGIN * steps), end, POWER, max(end // UPDATES, 1))
    return sparsity.prune_low_magnitude(model, schedule)


def main() -> None:
    """Prune as told."""
    job = Pruning.told()
    one_thread(tf)
    arrays = job.arrays()
    x, y = arrays["x_train"], arrays["y_train"]
    model = network(tf_keras, job.network, x.shape[1:], job.seed)
    model.set_weights(job.initial())
    each = len(x) // job.batch_size
    steps = each * job.epochs
    pruned = pruning(model, job.sparsity, steps)
    rate = tf_keras.optimizers.schedules.CosineDecay(job.learning_rate, steps)
    pruned.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    order = np.random.default_rng(job.seed).permutation(len(x))[: each * job.batch_size]
    callbacks = [sparsity.UpdatePruningStep(), *([Turns(job.turns)] if job.turns else [])]
    talk = 2 if job.turns else 0  # a progress line an epoch
    pruned.fit(x[order], y[order], job.batch_size, job.epochs, verbose=talk, callbacks=callbacks)
    layers = [layer for layer in pruned.layers if hasattr(layer, "pruning_vars") and layer.pruning_vars]
    masks = [mask.numpy() for layer in layers for _, mask, _ in layer.pruning_vars]
    zeros = sum(int((mask == 0).sum()) for mask in masks) / sum(mask.size for mask in masks)
    job.tell(sparsity.strip_pruning(pruned).predict(arrays["x_test"], verbose=0), zeros)


if __name__ == "__main__":
    main()
