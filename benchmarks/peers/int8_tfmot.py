"""tfmot's side of `int8_files.py`: `python int8_tfmot.py NAME OUT` in a process of its own, which has tf_keras.

The network is wrapped for quantization-aware training and sees the samples once, so that each range is one; then the
TFLite converter makes the int8 file, as the guide of tensorflow-model-optimization shows it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from applications import build


def int8_file(name: str) -> bytes:
    """The int8 file of an architecture. Raises whatever tfmot raises for a network that it cannot wrap."""
    network, samples = build(name, tf_keras)
    wrapped: Any = tfmot.quantization.keras.quantize_model(network)
    wrapped(samples, training=True)
    converter = tf.lite.TFLiteConverter.from_keras_model(wrapped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main() -> int:
    """Write the file; or, where tfmot refuses the network, one line that says so, and 2."""
    name, out = sys.argv[1:]
    try:
        file = int8_file(name)
    except Exception as refusal:  # tfmot raises anything for a layer that it does not know
        print(f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:300]}")
        return 2
    Path(out).write_bytes(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
