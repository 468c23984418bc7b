import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.tflite.inspect import TensorInfo
from edgekit.tflite.numbers import to_real, to_stored


@given(
    scale=st.floats(1e-6, 10),
    zero=st.integers(-128, 127),
    values=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=50),
)
def test_a_round_trip_is_within_half_a_quantum_or_clipped(scale: float, zero: int, values: list[float]) -> None:
    tensor = TensorInfo("t", (1,), "int8", scale, zero)
    real = np.array(values, np.float64)
    low, high = (-128 - zero) * scale, (127 - zero) * scale
    back = to_real(to_stored(real, tensor), tensor)
    assert np.all(np.abs(back - np.clip(real, low, high)) <= scale * 0.501 + 1e-5 * np.abs(back))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_every_stored_value_survives_its_real_one(dtype: str) -> None:
    limits = np.iinfo(dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(dtype)
    tensor = TensorInfo("t", (1,), dtype, 0.037, 5 if dtype != "int16" else 0)
    np.testing.assert_array_equal(to_stored(to_real(stored, tensor), tensor), stored)


def test_without_a_scale_nothing_changes() -> None:
    tensor = TensorInfo("t", (1,), "int32")
    values = np.array([3, -4], np.int32)
    assert to_stored(values, tensor) is values
    assert to_real(values, tensor) is values
