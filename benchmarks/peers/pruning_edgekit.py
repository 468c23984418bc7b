"""edgekit's side of `pruning.py`: prunes every kernel that tfmot prunes, and keeps the last weights as tfmot does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from job import BEGIN, END, POWER, Pruning
from turns import Clock, one_thread

from edgekit.dataset import load_dataset, match
from edgekit.model import load_model
from edgekit.stages.kernels import kernels_of
from edgekit.stages.masks import Pruner
from edgekit.stages.sparsity import Pattern
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Callback, Training
from edgekit.tf import import_keras, import_tensorflow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from networks import network

KINDS = ("convolution", "pointwise", "dense")


class Turns(Callback):
    """Trains in blocks of so many steps."""

    def __init__(self, steps: int) -> None:
        self._clock = Clock(steps)

    def before_step(self, step: int) -> None:
        """Wait for the turn."""
        self._clock()


def main() -> None:
    """Prune as told."""
    job = Pruning.told()
    one_thread(import_tensorflow())
    data = load_dataset(job.data)
    model = network(import_keras(), job.network, data.part("train").inputs[0].shape[1:], job.seed)
    model.set_weights(job.initial())
    loaded = load_model(model)
    data = replace(match(data, loaded.inputs, loaded.outputs), validation=None)
    shares = {kernel.name: job.sparsity for kernel in kernels_of(model) if kernel.kind in KINDS}
    callbacks: list[Any] = [Pruner(shares, Pattern.parse("1x1"), BEGIN, END, POWER)]
    callbacks += [Turns(job.turns)] if job.turns else []
    training = Training(job.epochs, job.batch_size, job.learning_rate, patience=0)
    pruned = fine_tune(model, data, training, callbacks=callbacks, seed=job.seed).model
    values = [kernel.value for kernel in kernels_of(pruned) if kernel.name in shares]
    zeros = sum(int((value == 0).sum()) for value in values) / sum(value.size for value in values)
    job.tell(load_model(pruned).predict([np.asarray(job.arrays()["x_test"])])[0], zeros)


if __name__ == "__main__":
    main()
