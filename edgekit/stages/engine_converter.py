"""The engine `converter`: the quantizer inside TensorFlow's TFLite converter, fed with our ranges.

Full int8 starts from the float32 file. The other schemes are options of the conversion itself, so they lower the
exported SavedModel once more; the export is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ModelError, RecipeError
from edgekit.stages.integer_graph import COPIES
from edgekit.stages.numerics import Quantize
from edgekit.stages.trained_ranges import noted_ranges
from edgekit.tf import import_tensorflow, quiet
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.surgery import with_ranges

if TYPE_CHECKING:
    from edgekit.stages.quantize import Source


_MOST_CALLS = 20


def quantize(source: Source, stage: Quantize) -> bytes:
    """Quantize with TensorFlow's converter. Raises ModelError with its reason where it refuses the model."""
    if stage.scheme == "int8":
        return _int8(source, stage)
    if stage.keep_float:
        raise RecipeError(f"engine 'converter' keeps no operator of {stage.scheme} in float", "use engine=litert")
    if noted_ranges(source.model):
        raise RecipeError(
            f"engine 'converter' would round {stage.scheme} to the 8-bit ranges that the model was trained with",
            "use engine=litert, or int8",
        )
    if source.exported is None:
        raise RecipeError(
            f"engine 'converter' makes {stage.scheme} files only from Keras models and SavedModels", "use engine=litert"
        )
    return source.exported().lower(lambda converter: _prepare(converter, source, stage))


def _int8(source: Source, stage: Quantize) -> bytes:
    """The int8 file, the same for the same source.

    The converter settles the scales around operators that copy in an order that differs from call to call, and may
    leave one of them in float (seen with SPLIT of unrolled LSTM and GRU, in every second call). Of eight calls for
    each of three networks, all files without such an operator were equal; so it is called again.
    """
    for _ in range(_MOST_CALLS):
        file = _called(source, stage)
        if not _forgotten(read_contents(file), source, stage):
            break
    return file


def _forgotten(file: ModelContents, source: Source, stage: Quantize) -> bool:
    """Whether an operator that only copies was left in float, between integers, though nobody asked for it."""
    main = [op for op in file.operators if op.subgraph == 0]
    casts = {index for op in main if op.name == "DEQUANTIZE" for index in op.outputs}
    return any(
        op.name in COPIES - {*stage.keep_float}
        and op.dtype == "float32"
        and bool(casts & {*op.inputs})
        and op.output_name not in source.keep
        for op in main
    )


def _called(source: Source, stage: Quantize) -> bytes:
    tf = import_tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        with quiet():
            quantized = mlir_quantize(
                with_ranges(source.model, source.ranges),
                denylisted_ops=list(stage.keep_float) or None,
                denylisted_nodes=list(source.keep) or None,
                disable_per_channel=stage.granularity == "per-tensor",
                disable_per_channel_for_dense_layers=stage.dense_granularity == "per-tensor",
                input_data_type=tf.int8,
                output_data_type=tf.int8,
            )
    except Exception as cause:  # the converter raises bare Exception subclasses of many kinds
        raise ModelError(f"the converter's quantizer refused the model: {cause}", "try engine=litert") from cause
    return bytes(quantized)


def _prepare(converter: Any, source: Source, stage: Quantize) -> None:
    tf = import_tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = stage.granularity == "per-tensor"
    converter._experimental_disable_per_channel_quantization_for_dense_layers = stage.dense_granularity == "per-tensor"
    if stage.scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif stage.scheme == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.representative_dataset = lambda: _samples(source)
        converter.inference_input_type = converter.inference_output_type = tf.int16


def _samples(source: Source) -> Iterator[list[Any]]:
    """The samples in batches of the file's own size; the last sample is repeated to fill the last one."""
    shape, count = read_contents(source.model).inputs[0].shape, len(source.samples[0])
    batch = max(shape[0], 1) if shape else 1
    for start in range(0, count, batch):
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        yield [array[rows] for array in source.samples]
