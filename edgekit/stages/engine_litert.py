"""The engine `litert`: the package litert-quantizer, the documented successor of the converter's own quantizer."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingDependency, ModelError
from edgekit.recipe import Quantize

if TYPE_CHECKING:
    from edgekit.stages.quantize import Source

_HALF_OPERATORS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "EMBEDDING_LOOKUP")


def quantize(source: Source, stage: Quantize) -> bytes:
    """Quantize with litert-quantizer. Raises ModelError with its reason where it refuses the model."""
    try:
        from litert_quantizer import qtyping, quantizer
    except ModuleNotFoundError:
        raise MissingDependency("engine 'litert' needs litert-quantizer", "pip install 'edgekit[convert]'") from None
    worker = quantizer.Quantizer(bytearray(source.model))
    _configure(worker, stage, qtyping.QuantGranularity)
    ranges = {name: _statistics(pair) for name, pair in source.ranges.items()} if worker.need_calibration else None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
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


def _statistics(pair: tuple[float, float]) -> dict[str, np.ndarray[Any, Any]]:
    return {"min": np.array([pair[0]], np.float32), "max": np.array([pair[1]], np.float32)}
