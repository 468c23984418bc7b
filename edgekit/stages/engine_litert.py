"""The engine `litert`: the package litert-quantizer, the documented successor of the converter's own quantizer."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingDependency, ModelError, RecipeError
from edgekit.stages.numerics import Quantize
from edgekit.tf import quiet
from edgekit.tflite.inspect import inspect_model

if TYPE_CHECKING:
    from edgekit.stages.quantize import Source

_HALF_OPERATORS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "EMBEDDING_LOOKUP")
_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
"""Operators that litert-quantizer does not call as the schema does."""


def quantize(source: Source, stage: Quantize) -> bytes:
    """Quantize with litert-quantizer. Raises ModelError with its reason where it refuses the model."""
    try:
        from litert_quantizer import qtyping, quantizer
    except ModuleNotFoundError:
        raise MissingDependency("engine 'litert' needs litert-quantizer", "pip install 'edgekit[convert]'") from None
    if stage.scheme == "dynamic-int8" and "per-tensor" in (stage.granularity, stage.dense_granularity):
        raise RecipeError(
            "engine 'litert' with per-tensor dynamic-int8 weights gives files that the runtime computes wrongly",
            "use per-channel weights, or engine=converter",
        )  # measured on ai-edge-litert 2.3: 9 % accuracy where per-channel keeps 99 %, with and without XNNPACK
    try:
        worker = quantizer.Quantizer(bytearray(source.model))
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError, struct.error) as cause:
        raise ModelError(f"litert-quantizer cannot read the model: {cause}", "export it again") from cause
    _configure(worker, stage, qtyping.QuantGranularity)
    for name in source.keep:
        _keep(worker, "*", f"^{re.escape(name)};")  # it names an operator by its outputs, each with a semicolon
    ranges = _statistics(source) if worker.need_calibration else None
    try:
        with quiet():  # it prints its progress
            result = worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as cause:
        raise ModelError(f"litert-quantizer refused the model: {cause}", "try engine=converter") from cause
    return bytes(result.quantized_model)


def _configure(worker: Any, stage: Quantize, granularities: Any) -> None:
    def granularity(word: str) -> Any:
        return granularities.TENSORWISE if word == "per-tensor" else granularities.CHANNELWISE

    if stage.scheme == "float16":
        for operator in _HALF_OPERATORS:
            worker.add_weight_only_config(".*", operator, 16, algorithm_key="float_casting")
        return
    for operator, word in (("*", stage.granularity), ("FULLY_CONNECTED", stage.dense_granularity)):
        if stage.scheme == "dynamic-int8":
            worker.add_dynamic_config(".*", operator, 8, granularity(word))
        else:
            worker.add_static_config(".*", operator, 16 if stage.scheme == "int16x8" else 8, 8, granularity(word))
    for operator in stage.keep_float:
        _keep(worker, operator)


def _keep(worker: Any, operator: str, scope: str = ".*") -> None:
    try:
        worker.update_quantization_recipe(scope, _NAMES.get(operator, operator), algorithm_key="no_quantize")
    except ValueError:
        return  # an operator that litert-quantizer does not know stays in float anyway


def _statistics(source: Source) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Ranges as litert-quantizer keeps them: arrays of the tensor's own rank, all sizes one."""
    ranks = {tensor.name: len(tensor.shape) for tensor in inspect_model(source.model).tensors}
    return {
        name: {"min": np.full([1] * ranks[name], low, np.float32), "max": np.full([1] * ranks[name], high, np.float32)}
        for name, (low, high) in source.ranges.items()
        if name in ranks
    }
