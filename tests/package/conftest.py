"""What several tests of packages look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from edgekit.package.build import package_model


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LOGISTIC of 32 int8 values, packaged."""
    folder = tmp_path_factory.mktemp("curve")
    graph = tiny_models.Graph()
    x, y = (graph.tensor(*facts) for facts in (("x", (1, 32), 9, 0.05, 3), ("y", (1, 32), 9, 1 / 256, -128)))
    graph.operator(14, [x], [y])
    (folder / "curve.tflite").write_bytes(graph.bytes([x], [y]))
    return package_model([folder / "curve.tflite"], folder / "curve", kind="firmware", version="2.1").folder
