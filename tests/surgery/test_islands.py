"""Operators in float32 inside of an int8 piece: one rounding, and none between neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from scipy.special import erf
from toys import Toy

from edgekit.surgery.rewrite import rewrite
from edgekit.tflite.surgery import with_io_type

GRID = (0.05, -3)
_GRIDS = (0.05, 0.03, 0.2), (-3, 7, 1)


def surrounded(*middle: str, second: Any = None, grid: tuple[float, int] = GRID, last: bool = False) -> bytes:
    """int8 operators one after the other, between two that XNNPACK takes; `last` leaves the second of these out.

    `second` is the second input of the first of them, a constant of int8 on a grid of 0.05.
    """
    toy = Toy()
    count = len(middle) + 2 - last
    tensors = [toy.tensor((1, 8, 8, 4), "int8", [grid[0]], [grid[1]]) for _ in range(count + 1)]
    toy.operator("TRANSPOSE", [tensors[0], toy.tensor((4,), "int32", data=[0, 1, 2, 3])], [tensors[1]], "", 2)
    for place, name in enumerate(middle):
        more = [toy.tensor(np.shape(second), "int8", [0.05], data=second)] if second is not None and not place else []
        table = {"SOFTMAX": "SoftmaxOptions", "MUL": "MulOptions", "ADD": "AddOptions"}.get(name, "")
        options = {"beta": 1.0} if name == "SOFTMAX" else {}
        version = 1 if name in ("HARD_SWISH", "RELU_N1_TO_1") else 2
        toy.operator(name, [tensors[place + 1], *more], [tensors[place + 2]], table, version, **options)
    if not last:
        axes = toy.tensor((4,), "int32", data=[0, 1, 2, 3])
        toy.operator("TRANSPOSE", [tensors[-2], axes], [tensors[-1]], "", 2)
    return toy.bytes(tensors[:1], tensors[-1:])


def _gelu(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def _distance(file: bytes, wanted: Any) -> float:
    x = every_integer((1, 8, 8, 4))
    real = wanted((x.astype(np.float64) - GRID[1]) * GRID[0])
    rounded = np.clip(real / GRID[0] + GRID[1], -128, 127)
    return float(np.abs(answers(file, x)[0] - rounded).max())


@pytest.mark.parametrize(
    ("name", "wanted"), [("GELU", _gelu), ("ABS", np.abs), ("RELU_N1_TO_1", lambda x: x.clip(-1, 1))]
)
def test_an_operator_of_float_only_stays_in_the_piece_and_is_rounded_once(name: str, wanted: Any) -> None:
    file = surrounded(name)
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["float-island"]
    assert names(done.file) == ["TRANSPOSE", "DEQUANTIZE", name, "QUANTIZE", "TRANSPOSE"]
    assert (partitions(file), partitions(done.file)) == (2, 1)
    assert _distance(done.file, wanted) <= 0.501


def test_neighbours_pass_on_values_that_nobody_has_rounded() -> None:
    done = rewrite(surrounded("GELU", "ABS"))
    assert names(done.file) == ["TRANSPOSE", "DEQUANTIZE", "GELU", "ABS", "QUANTIZE", "TRANSPOSE"]
    assert _distance(done.file, lambda x: np.abs(_gelu(x))) <= 0.501


def test_a_rounded_value_that_goes_out_is_still_written() -> None:
    """What else reads the integers of an island gets them."""
    toy = Toy()
    a, b, c, d = (toy.tensor((1, 8), "int8") for _ in range(4))
    axes = toy.tensor((2,), "int32", data=[0, 1])
    toy.operator("GELU", [a], [b])
    toy.operator("GELU", [b], [c])
    toy.operator("TRANSPOSE", [c, axes], [d], "", 2)
    file = toy.bytes([a], [d, b])
    done = rewrite(file)
    assert names(done.file) == ["DEQUANTIZE", "GELU", "QUANTIZE", "GELU", "QUANTIZE", "TRANSPOSE"]
    assert len(answers(done.file, every_integer((1, 8)))) == 2


def test_constants_of_an_island_become_float_constants() -> None:
    second = np.array([1, -50, 127, -128], np.int8)
    done = rewrite(surrounded("SQUARED_DIFFERENCE", second=second))
    assert names(done.file) == ["TRANSPOSE", "DEQUANTIZE", "SQUARED_DIFFERENCE", "QUANTIZE", "TRANSPOSE"]
    assert _distance(done.file, lambda x: (x - second * 0.05) ** 2) <= 0.501


def test_the_last_operator_of_a_graph_cuts_nothing_and_stays() -> None:
    file = surrounded("SOFTMAX", last=True)
    assert rewrite(file).file is file
    cast = with_io_type(file, "float32")
    assert rewrite(cast).file is cast
    assert [found.operator for found in rewrite(surrounded("SOFTMAX")).applied] == ["SOFTMAX"]


def test_operators_that_xnnpack_has_in_no_type_stay() -> None:
    toy = Toy()
    a, b = (toy.tensor((1, 8), "int8") for _ in range(2))
    c = toy.tensor((1, 8), "int8")
    toy.operator("SIGN", [a], [b])
    toy.operator("LOGISTIC", [b], [c])
    file = toy.bytes([a], [c])
    assert rewrite(file).file is file


@pytest.mark.parametrize("flipped", [False, True])
def test_the_product_of_two_computed_matrices_is_an_island(flipped: bool) -> None:
    """As in attention: XNNPACK wants the zero point 0 for the second, which ranges of activations do not give."""
    toy, shapes = Toy(), ((1, 2, 8, 16), (1, 2, 4, 16) if flipped else (1, 2, 16, 4), (1, 2, 8, 4))
    first, second, out = (
        toy.tensor(shape, "int8", [grid], [zero]) for shape, grid, zero in zip(shapes, *_GRIDS, strict=True)
    )
    moved, last = toy.tensor(shapes[1], "int8", [0.03], [7]), toy.tensor(shapes[2], "int8", [0.2], [1])
    axes = toy.tensor((4,), "int32", data=[0, 1, 2, 3])
    toy.operator("TRANSPOSE", [second, axes], [moved], "", 2)
    toy.operator("BATCH_MATMUL", [first, moved], [out], "BatchMatMulOptions", 2, adjY=flipped)
    toy.operator("TRANSPOSE", [out, axes], [last], "", 2)
    file = toy.bytes([first, second], [last])
    done = rewrite(file)
    assert names(done.file) == ["TRANSPOSE", "DEQUANTIZE", "DEQUANTIZE", "BATCH_MATMUL", "QUANTIZE", "TRANSPOSE"]
    assert (partitions(file), partitions(done.file)) == (2, 1)
    a, b = (np.random.default_rng(0).integers(-128, 128, shape, np.int8) for shape in shapes[:2])
    second_real = (b - 7.0) * 0.03
    wanted = (a + 3.0) * 0.05 @ (np.swapaxes(second_real, 2, 3) if flipped else second_real)
    assert np.abs(answers(done.file, a, b)[0] - np.clip(wanted / 0.2 + 1, -128, 127)).max() <= 0.501
