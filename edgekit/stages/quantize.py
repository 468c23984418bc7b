"""Quantize a float32 TFLite file after training, by one of two engines behind one seam.

q = round(r / scale) + zero_point (Jacob et al. 2018, arXiv:1712.05877, equation 1); weights are symmetric,
per output channel or per tensor; activations are affine int8, or symmetric int16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.stages import engine_converter, engine_litert
from edgekit.stages.calibrate import Ranges
from edgekit.stages.convert import Exported
from edgekit.stages.numerics import Quantize
from edgekit.tflite.surgery import inline_buffers, with_io_type

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


def quantize(source: Source, stage: Quantize) -> bytes:
    """The quantized TFLite file; `stage` is resolved (nothing left at `auto`).

    Raises ModelError where the engine refuses the model, RecipeError where it cannot do what is asked.
    """
    if stage.scheme == "float32":
        return source.model
    quantized = inline_buffers(_ENGINES[stage.engine](source, stage))
    return with_io_type(quantized, stage.io) if stage.scheme in CALIBRATED else quantized
