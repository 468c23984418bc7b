"""Latency of a Keras model on this host, as its deployed file: what a budget of latency is measured by."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekit.bench.plan import Plan
from edgekit.bench.run import measure
from edgekit.bench.statistics import summarize
from edgekit.model.live import from_keras
from edgekit.stages.calibrate import calibrate
from edgekit.stages.convert import export
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import CALIBRATED, Source, quantize

_CALIBRATING = 16


def host_latency(
    stage: Quantize,
    samples: Sequence[npt.NDArray[Any]] = (),
    *,
    batch: int = 1,
    plan: Plan | None = None,
) -> Callable[[Any], float]:
    """A function from a Keras model to the median seconds of a run of its file on this host.

    `stage` is resolved and says the number format; schemes with integer activations are calibrated on a few of
    `samples`, one array `[samples, ...]` for each input, because their values do not matter for speed. The function
    raises what conversion, quantization and `measure` raise.
    """
    few = tuple(array[:_CALIBRATING] for array in samples)

    def seconds(network: Any) -> float:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            exported = export(from_keras(network, network.name, network.name, None), batch, Path(folder) / "export")
            lowered = exported.lower()
            ranges = calibrate(lowered, few) if stage.scheme in CALIBRATED else {}
            file = quantize(Source(lowered, ranges, lambda: exported, few), stage)
        return float(summarize(measure(file, plan)).p50_seconds.value)

    return seconds
