"""The files that `int8_speed.py` compares: each tool's int8 file of an architecture of keras.applications."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from applications import build

from edgekit.model.live import from_keras
from edgekit.stages.calibrate import calibrate
from edgekit.stages.convert import export
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tf import import_keras, import_tensorflow

Array = np.ndarray[Any, Any]
TFMOT = Path(__file__).resolve().parent / "peers" / "int8_tfmot.py"
_REFUSED = 2


def prepare(name: str, folder: Path) -> tuple[dict[str, bytes], Array]:
    """The files of an architecture by the tool that made them, and the samples; what the folder has is not remade.

    tfmot is left out where it refuses the architecture; `NAME.tfmot.txt` in the folder says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network: list[Any] = []

    def built() -> tuple[Any, Array]:
        network[:] = network or [build(name, import_keras())]
        return network[0]

    def kept(kind: str, make: Callable[[], bytes]) -> bytes:
        path = folder / f"{name}.{kind}.tflite"
        if not path.exists():
            path.write_bytes(make())
        return path.read_bytes()

    samples_file = folder / f"{name}.npy"
    if not samples_file.exists():
        np.save(samples_file, built()[1])
    samples = np.load(samples_file)
    float32 = kept("float32", lambda: _float32(built()[0], folder / f"{name}.exported"))
    files = {
        "float32": float32,
        "converter": kept("converter", lambda: by_converter(built()[0], samples)),
        "litert-quantizer": kept("litert", lambda: by_litert_quantizer(built()[0], samples)),
        "before": kept("plain-converter", lambda: by_edgekit(float32, samples)),
    }
    theirs = by_tfmot(name, folder)
    return files | ({"tfmot": theirs} if theirs else {}), samples


def _float32(network: Any, folder: Path) -> bytes:
    shutil.rmtree(folder, ignore_errors=True)
    found = export(from_keras(network, network.name, network.name, None), 1, folder).lower()
    shutil.rmtree(folder)
    return found


def by_converter(network: Any, samples: Array) -> bytes:
    """Full int8 as the TensorFlow documentation shows it."""
    tensorflow = import_tensorflow()
    lite = tensorflow.lite
    converter = lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _single(samples)
    converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    return bytes(converter.convert())


def by_litert_quantizer(network: Any, samples: Array) -> bytes:
    """Full int8 as the README of litert-quantizer shows it, of the converter's float file."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    file = import_tensorflow().lite.TFLiteConverter.from_keras_model(network).convert()
    (key, signature), *_ = Interpreter(model_content=file).get_signature_list().items()
    worker = quantizer.Quantizer(bytearray(file))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = worker.calibrate({key: [{signature["inputs"][0]: one[0]} for one in _single(samples)]})
    return bytes(worker.quantize(ranges).quantized_model)


def by_tfmot(name: str, folder: Path) -> bytes | None:
    """Full int8 of tensorflow-model-optimization; None where it refuses the network, which is remembered."""
    file, refusal = folder / f"{name}.tfmot.tflite", folder / f"{name}.tfmot.txt"
    if not (file.exists() or refusal.exists()):
        argv = [sys.executable, str(TFMOT), name, str(file)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        if done.returncode == _REFUSED:
            refusal.write_text(done.stdout.splitlines()[-1] + "\n")
        else:
            done.check_returncode()
    return None if refusal.exists() else file.read_bytes()


def by_edgekit(float32: bytes, samples: Array) -> bytes:
    """Full int8 of edgekit for the host, before it is rewritten."""
    source = Source(float32, calibrate(float32, [samples]), samples=[samples])
    return quantize(source, Quantize("int8", "per-channel", "per-channel", "int8", "converter"))


def _single(samples: Array) -> Iterator[list[Array]]:
    for index in range(len(samples)):
        yield [samples[index : index + 1]]
