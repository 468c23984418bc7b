"""The units of a target: every accelerator, delegate and interpreter of it that a forecast exists for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgekit.forecast.edgetpu import forecast_edgetpu
from edgekit.forecast.gpu import forecast_gpu
from edgekit.forecast.micro import forecast_micro
from edgekit.forecast.nnapi import forecast_nnapi
from edgekit.forecast.placement import Forecast, Unit
from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.target import Target
from edgekit.tflite.graph import Graph

TITLES: dict[Unit, str] = {
    "edgetpu": "the Edge TPU",
    "ethos-u": "the Ethos-U",
    "xnnpack": "XNNPACK",
    "gpu": "the GPU delegate",
    "nnapi": "NNAPI",
    "cpu": "the CPU",
    "micro": "TensorFlow Lite Micro",
}

_FORECASTS: dict[str, Callable[[Graph], Forecast]] = {
    "gpu": forecast_gpu,
    "micro": forecast_micro,
    "xnnpack": forecast_xnnpack,
}


def forecasts(graph: Graph, target: Target) -> tuple[Forecast, ...]:
    """What each unit of a target takes of a graph, the unit that the target is for coming first.

    NNAPI is asked only where the target names an API level, on which everything depends, and XNNPACK where LiteRT is
    the preferred runtime: the rules are those of its version.
    """
    asked = (*target.runtime.delegates, *(["micro"] if target.planner == "micro" else []))
    known = _FORECASTS | {"edgetpu": partial(forecast_edgetpu, runtime_version=target.runtime.edgetpu_runtime)}
    if target.runtime.packages[0] != "ai-edge-litert":
        del known["xnnpack"]
    if (level := target.runtime.api_level) is not None:
        known["nnapi"] = partial(forecast_nnapi, api_level=level)
    return tuple(known[unit](graph) for unit in asked if unit in known)
