from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.stages.calibrate import calibrate
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize


@pytest.fixture(scope="session")
def int8_file(float_file: bytes, digits: Path) -> bytes:
    """The digits network in full int8, int8 in and out."""
    with np.load(digits / "digits.npz") as arrays:
        ranges = calibrate(float_file, [arrays["x_train"][:100]])
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert")
    return quantize(Source(float_file, ranges), stage)
