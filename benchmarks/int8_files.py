"""The files that `int8_speed.py` compares: each tool's int8 file of an architecture of keras.applications."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.model.live import from_keras
from edgekit.stages.calibrate import calibrate
from edgekit.stages.convert import export
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tf import import_keras, import_tensorflow

NAMES = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0"),
    *("ResNet50", "ResNet50V2", "InceptionV3", "Xception", "DenseNet121", "NASNetMobile", "ConvNeXtTiny"),
)
FROM_BYTES = ("MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny")
SIZE, SAMPLES = 96, 8

Array = np.ndarray[Any, Any]


def prepare(name: str, folder: Path) -> tuple[dict[str, bytes], Array]:
    """The files of an architecture by the tool that made them, and the samples; what the folder has is not remade."""
    folder.mkdir(parents=True, exist_ok=True)
    network: list[Any] = []

    def built() -> tuple[Any, Array]:
        network[:] = network or [build(name)]
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
    return files, samples


def build(name: str) -> tuple[Any, Array]:
    """The network with random weights, and samples.

    Normalizations have the statistics of the samples, and layer scales are 0.1, so that activations have the size that
    they have in a trained network.
    """
    keras, tensorflow = import_keras(), import_tensorflow()
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    small = np.random.default_rng(0).uniform(-1, 1, (4 * SAMPLES, 6, 6, 3)).astype(np.float32)
    images = np.clip(tensorflow.image.resize(small, (SIZE, SIZE), "bicubic").numpy(), -1, 1)
    images = images * 127.5 + 127.5 if name in FROM_BYTES else images
    layers = list(network._flatten_layers())
    norms = [(each, each.momentum) for each in layers if isinstance(each, keras.layers.BatchNormalization)]
    for norm, _ in norms:
        norm.momentum = 0.0
    network(images, training=True)
    for norm, momentum in norms:
        norm.momentum = momentum
    for each in layers:
        if type(each).__name__ == "LayerScale":
            each.gamma.assign(np.full(each.gamma.shape, 0.1, np.float32))
    return network, images[:SAMPLES]


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


def by_edgekit(float32: bytes, samples: Array) -> bytes:
    """Full int8 of edgekit for the host, before it is rewritten."""
    source = Source(float32, calibrate(float32, [samples]), samples=[samples])
    return quantize(source, Quantize("int8", "per-channel", "per-channel", "int8", "converter"))


def _single(samples: Array) -> Iterator[list[Array]]:
    for index in range(len(samples)):
        yield [samples[index : index + 1]]
