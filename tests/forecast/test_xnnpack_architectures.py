"""XNNPACK forecasts of the architectures of keras.applications, in every number format, against the real delegate."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
from delegated import forecast_equals_reality

from edgekit.model.live import from_keras
from edgekit.stages.calibrate import calibrate
from edgekit.stages.convert import export
from edgekit.stages.numerics import Engine, Quantize, Scheme
from edgekit.stages.quantize import Source, quantize
from edgekit.tf import import_tensorflow

NAMES = [name for name in architectures.APPLICATIONS if name not in ("InceptionResNetV2", "VGG16")]
SCHEMES: tuple[tuple[Scheme, Engine], ...] = (
    ("float16", "litert"),
    ("dynamic-int8", "litert"),
    ("int8", "litert"),
    ("int8", "converter"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_number_format(name: str, tmp_path: Path, record_property: Any) -> None:
    model, found = architectures.build(name), {}
    for label, file in [*_with_fixed_batch(model, tmp_path), *_with_open_batch(model)]:
        forecast = forecast_equals_reality(file)
        found[label] = f"{len(forecast.left)} of {len(forecast.placements)} left, {forecast.partitions} pieces"
    record_property("forecast", found)
    gc.collect()


def _with_fixed_batch(model: Any, folder: Path) -> Iterator[tuple[str, bytes]]:
    exported = export(from_keras(model, "test", "test", None), 1, folder / "export")
    file = exported.lower()
    yield "float32", file
    samples = [architectures.samples(model, 4)]
    source = Source(file, calibrate(file, samples), lambda: exported, samples)
    for scheme, engine in SCHEMES:
        stage = Quantize(scheme, "per-channel", "per-channel", "int8" if scheme == "int8" else "float32", engine)
        yield f"{scheme} {engine}", quantize(source, stage)


def _with_open_batch(model: Any) -> Iterator[tuple[str, bytes]]:
    """As people convert who set no batch, which leaves operators on shapes in the file."""
    lite = import_tensorflow().lite
    converter = lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in architectures.samples(model, 4))
    yield "int8, open batch", bytes(converter.convert())
    assert np.all([tensor.shape[0] is None for tensor in model.inputs])
