"""Scale and shift by channel in one operator: nearer to real numbers than the two that it replaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from toys import Toy

from edgekit.surgery.rewrite import cutting, rewrite

IN, OUT = (0.05, -3), (0.11, -128)
SHIFTS = np.array([3, -128, 127, 0], np.int8)


def scaled(
    factors: Any,
    *,
    shape: tuple[int, ...] = (4,),
    fused: int = 1,
    shift_scale: float = 0.02,
    swapped: bool = False,
    shared: bool = False,
    second: str = "ADD",
) -> bytes:
    toy = Toy()
    x, y, z = (toy.tensor((1, 8, 8, 4), "int8", [scale], [zero]) for scale, zero in (IN, (0.06, 2), OUT))
    m = toy.tensor(shape, "int8", [0.01], [5], data=np.resize(np.array(factors, np.int8), shape))
    a = toy.tensor((4,), "int8", [shift_scale], data=SHIFTS)
    toy.operator("MUL", [m, x] if swapped else [x, m], [y], "MulOptions", 2)
    table = f"{second.title()}Options"
    toy.operator(second, [a, y] if swapped else [y, a], [z], table, 2, fusedActivationFunction=fused)
    return toy.bytes([x], [z, *([y] if shared else [])])


def _distances(file: bytes, factors: Any, shift_scale: float = 0.02) -> np.ndarray[Any, Any]:
    x = every_integer((1, 8, 8, 4))
    real = (x.astype(np.float64) - IN[1]) * IN[0] * (np.array(factors, np.float64) - 5) * 0.01 + SHIFTS * shift_scale
    wanted = np.clip(np.maximum(real, 0) / OUT[0] + OUT[1], -128, 127)
    found: np.ndarray[Any, Any] = np.abs(answers(file, x)[0] - wanted)
    return found


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_product_and_a_sum_become_one_layer_that_rounds_once(shape: tuple[int, ...], swapped: bool) -> None:
    factors = [100, -90, 7, 127]
    file = scaled(factors, shape=shape, swapped=swapped)
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["scale-and-shift"]
    assert names(done.file) == ["DEPTHWISE_CONV_2D"]
    assert partitions(done.file) == 1
    assert _distances(done.file, factors).max() <= 0.51
    assert _distances(done.file, factors).mean() <= _distances(file, factors).mean()


def test_factors_next_to_zero_beside_large_terms_do_not_overflow() -> None:
    """A factor of 0 (5 on its grid), and terms of millions of steps."""
    factors = [5, 6, 5, 127]
    done = rewrite(scaled(factors, shift_scale=1000.0))
    assert [found.rule for found in done.applied] == ["scale-and-shift"]
    assert _distances(done.file, factors, 1000.0).max() <= 0.51


@pytest.mark.parametrize(
    "settings",
    [{"shape": (1, 8, 8, 4)}, {"shape": (1,)}, {"shared": True}, {"second": "SUB"}],
    ids=["a factor for each pixel", "one factor for all", "the product is read elsewhere", "no sum"],
)
def test_what_is_no_scale_and_shift_by_channel_stays(settings: dict[str, Any]) -> None:
    file = scaled([100, -90, 7, 127], **settings)
    assert rewrite(file).file is file


def test_a_sum_that_cuts_the_graph_and_goes_with_its_product_is_not_looked_for_again() -> None:
    """Images that nobody scaled leave terms next to nothing beside the product: XNNPACK refuses that ADD."""
    toy = Toy()
    x, y, z = (toy.tensor((1, 8, 8, 4), "int8", [scale], [zero]) for scale, zero in (IN, (0.06, 2), OUT))
    end = toy.tensor((1, 4, 4, 4), "int8", [OUT[0]], [OUT[1]])
    m = toy.tensor((4,), "int8", [0.01], [5], data=np.array([100, -90, 7, 127], np.int8))
    a = toy.tensor((4,), "int8", [OUT[0] / 5000], data=SHIFTS)
    toy.operator("MUL", [x, m], [y], "MulOptions", 2)
    toy.operator("ADD", [y, a], [z], "AddOptions", 2)
    window = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2}
    toy.operator("MAX_POOL_2D", [z], [end], "Pool2DOptions", 2, **window)
    file = toy.bytes([x], [end])
    assert cutting(file) == {"ADD": 1}
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["scale-and-shift"]
    assert names(done.file) == ["DEPTHWISE_CONV_2D", "MAX_POOL_2D"]
