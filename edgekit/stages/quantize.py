"""Quantize a float32 TFLite file after training, by one of two engines behind one seam.

q = round(r / scale) + zero_point (Jacob et al. 2018, arXiv:1712.05877, equation 1); weights are symmetric,
per output channel or per tensor; activations are affine int8, or symmetric int16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.stages import engine_converter, engine_litert
from edgekit.stages.calibrate import Ranges
from edgekit.stages.convert import Exported
from edgekit.stages.numerics import Quantize
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.metadata import with_files_of
from edgekit.tflite.surgery import inline_buffers, with_io_type, with_rescaled_copies, without_negation

CALIBRATED = ("int8", "int16x8")


@dataclass(frozen=True)
class Source:
    """What an engine may start from: the float32 file, its ranges, the export it came from, the samples.

    `keep` names tensors whose operators stay in float, beside the operator types that the stage keeps.
    """

    model: bytes
    ranges: Ranges = field(default_factory=dict)
    exported: Callable[[], Exported] | None = None
    samples: Sequence[np.ndarray[Any, Any]] = ()
    keep: tuple[str, ...] = ()


_ENGINES: dict[str, Callable[[Source, Quantize], bytes]] = {
    "litert": engine_litert.quantize,
    "converter": engine_converter.quantize,
}


def quantize(source: Source, stage: Quantize, *, rescaled: bool = True) -> bytes:
    """The quantized TFLite file; `stage` is resolved (nothing left at `auto`).

    Without `rescaled`, operators that copy integers may have two scales, as the engine has left them.

    Raises ModelError where the engine refuses the model, RecipeError where it cannot do what is asked.
    """
    if stage.scheme == "float32":
        return source.model
    made = _calibrated(source, stage, rescaled) if stage.scheme in CALIBRATED else _made(source, stage)
    return with_files_of(made, source.model)


def _made(source: Source, stage: Quantize) -> bytes:
    return inline_buffers(_ENGINES[stage.engine](source, stage))


def _calibrated(source: Source, stage: Quantize, rescaled: bool) -> bytes:
    model = source.model if "NEG" in stage.keep_float else without_negation(source.model)
    sound = replace(source, model=model, ranges=widened(source.model, source.ranges))
    quantized = _made(sound, stage)
    return with_io_type(with_rescaled_copies(quantized) if rescaled else quantized, stage.io)


def refuse_rounded_ids(model: bytes) -> None:
    """Raise ModelError for a float32 file that casts an input to whole numbers: an integer file would round them."""
    contents = read_contents(model)
    casts = [op for op in contents.operators if op.subgraph == 0 and op.name == "CAST" and op.dtype == "float32"]
    ids = [op for op in casts if any(contents.tensors[index].dtype in ("int32", "int64") for index in op.outputs)]
    for index, tensor in zip(contents.input_indices, contents.inputs, strict=True):
        if any(index in op.inputs for op in ids):
            raise ModelError(
                f"input {tensor.name!r} is float32 and the model casts it to whole numbers (ids), which an integer "
                "file would round: int8 has 256 of them",
                "build it with keras.Input(shape, dtype='int32'); the same weights load",
            )


def silent(model: bytes, ranges: Ranges) -> list[str]:
    """The outputs of layers with weights that were zero on every sample; `model` is the float32 file."""
    layers = [op.output_name for op in read_contents(model).operators if op.weight_dtype and op.macs]
    return [name for name in layers if name in ranges and not _width(ranges[name])]


def widened(model: bytes, ranges: Ranges) -> Ranges:
    """The ranges, each that is empty as wide as the widest before its operator; `model` is the float32 file.

    A tensor that was zero on every sample (a dead ReLU, a kernel of zeros) would get a scale next to nothing, with
    which XNNPACK refuses to prepare the operator that writes it.
    """
    if all(map(_width, ranges.values())):
        return ranges
    contents, found = read_contents(model), dict(ranges)
    names = [tensor.name for tensor in contents.tensors]
    for operator in contents.operators:
        if operator.subgraph == 0:
            known = [found[names[index]] for index in operator.inputs if index >= 0 and names[index] in found]
            empty = [names[index] for index in operator.outputs if not _width(found.get(names[index], _UNIT))]
            found.update(dict.fromkeys(empty, max(known, key=_width, default=_UNIT)))
    return {name: pair if _width(pair) else _UNIT for name, pair in found.items()}


def _width(pair: tuple[float, float]) -> float:
    return pair[1] - pair[0]


_UNIT = (0.0, 1.0)
