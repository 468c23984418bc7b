"""edgekit's side of `quantize_aware.py`: trains until it is stopped, the network itself or its int8 file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from job import QuantizeAware
from pruning_edgekit import Turns
from turns import one_thread

from edgekit.dataset import load_dataset, match
from edgekit.model import load_model
from edgekit.stages import quantize_aware as stage
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.tf import import_keras, import_tensorflow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from networks import network


def main() -> None:
    """Train as told."""
    job = QuantizeAware.told()
    one_thread(import_tensorflow())
    data = load_dataset(job.data)
    model = network(import_keras(), job.network, data.part("train").inputs[0].shape[1:], job.seed)
    loaded = load_model(model)
    data = replace(match(data, loaded.inputs, loaded.outputs), validation=None)
    training = Training(job.epochs, job.batch_size, job.learning_rate, patience=0)
    turns = [Turns(job.turns)]
    if job.quantized:
        stage.quantize_aware(model, stage.QuantizeAware(training=training), data, callbacks=turns, seed=job.seed)
    else:
        fine_tune(model, data, training, callbacks=turns, seed=job.seed)


if __name__ == "__main__":
    main()
