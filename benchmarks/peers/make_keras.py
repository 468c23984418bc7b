"""The sides of `bench_peers.py` that take a Keras 3 model: the TFLite converter, litert-quantizer, and Keras itself.

Each is used as its own documentation shows it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import litert_quantizer.quantizer as quantizer
import numpy as np
import tensorflow as tf
from job import Making
from litert_quantizer import recipe
from making import File, Maker, run

from edgekit.stages.student import narrowed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import int8_files

WIDTH = 0.5  # of a student, as in the recipe of edgekit

Array = np.ndarray[Any, Any]


def _opened(job: Making) -> Any:
    return keras.models.load_model(job.model)


def converted(job: Making) -> File:
    """The converter without any option."""
    return File(_lowered(_opened(job)))


def converted_dynamic(job: Making) -> File:
    """The converter with its default optimization and without samples: int8 weights."""
    converter = tf.lite.TFLiteConverter.from_keras_model(_opened(job))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return File(bytes(converter.convert()))


def converted_int8(job: Making) -> File:
    """Full int8 by the converter."""
    return File(int8_files.by_converter(_opened(job), job.arrays()["x_calibration"]))


def quantized_dynamic(job: Making) -> File:
    """int8 weights by litert-quantizer, of the converter's float file."""
    worker = quantizer.Quantizer(bytearray(_lowered(_opened(job))))
    worker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    return File(bytes(worker.quantize().quantized_model))


def quantized_int8(job: Making) -> File:
    """Full int8 by litert-quantizer."""
    return File(int8_files.by_litert_quantizer(_opened(job), job.arrays()["x_calibration"]))


def exported(job: Making) -> File:
    """Keras's own export."""
    return File(_exported(_opened(job)))


def exported_int8(job: Making) -> File:
    """Keras's own quantization, and its own export."""
    model = _opened(job)
    model.quantize("int8")
    return File(_exported(model))


def distilled(job: Making) -> File:
    """A student taught by Keras, with the loss of the temperature as an object."""
    return _distilled(job, keras.losses.KLDivergence())


def distilled_by_default(job: Making) -> File:
    """The same as the example in Keras's documentation has it, with the default loss.

    That is the word "kl_divergence", which Keras 3.15 takes for a function and gives logits instead of probabilities.
    """
    return _distilled(job, "kl_divergence")


def _distilled(job: Making, loss: Any) -> File:
    """A student taught by `keras.distillation.Distiller` with its default shares, and converted.

    The student is the one that edgekit derives, with the same first weights. The loss wants logits, so the last
    activations of both are off while it learns.
    """
    teacher, arrays = _opened(job), job.arrays()
    student = narrowed(teacher, WIDTH, seed=job.seed)
    last = student.layers[-1].activation
    for model in (teacher, student):
        model.layers[-1].activation = keras.activations.linear
    soft = keras.distillation.LogitsDistillation(temperature=3.0, loss=loss)
    distiller = keras.distillation.Distiller(teacher, student, distillation_losses=soft)
    steps = job.epochs * -(-len(arrays["x_train"]) // job.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(job.learning_rate, steps)
    distiller.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keras.utils.set_random_seed(job.seed)
    distiller.fit(arrays["x_train"], arrays["y_train"], job.batch_size, job.epochs, verbose=0)
    student.layers[-1].activation = last
    return File(_lowered(student))


def _lowered(model: Any) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _exported(model: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder, "model.tflite")
        model.export(path, format="litert", verbose=False)
        return path.read_bytes()


MAKERS: dict[tuple[str, str], Maker] = {
    ("TFLite converter", "float32"): converted,
    ("TFLite converter", "dynamic-int8"): converted_dynamic,
    ("TFLite converter", "int8"): converted_int8,
    ("litert-quantizer", "dynamic-int8"): quantized_dynamic,
    ("litert-quantizer", "int8"): quantized_int8,
    ("Keras", "float32"): exported,
    ("Keras", "dynamic-int8"): exported_int8,
    ("Keras", "student"): distilled,
    ("Keras, default loss", "student"): distilled_by_default,
}

if __name__ == "__main__":
    run(MAKERS)
