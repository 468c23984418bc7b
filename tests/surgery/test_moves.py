"""CONCATENATION of many tensors, in steps."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import answers, names, partitions
from toys import Toy

from edgekit.surgery.rewrite import rewrite


def joined(count: int, kind: str, axis: int = -1) -> bytes:
    toy = Toy()
    inputs = [toy.tensor((1, 2, 2, 1 + index), kind) for index in range(count)]
    total = count * (count + 1) // 2
    a, b = (toy.tensor((1, 2, 2, total), kind) for _ in range(2))
    toy.operator("CONCATENATION", inputs, [a], "ConcatenationOptions", 2, axis=axis)
    toy.operator("MUL", [a, a], [b], "MulOptions", 2)
    return toy.bytes(inputs, [b])


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("count", [6, 9])
@pytest.mark.parametrize("axis", [-1, 3])
def test_many_tensors_are_joined_in_two_steps(count: int, kind: str, axis: int) -> None:
    file = joined(count, kind, axis)
    done = rewrite(file)
    assert [found.rule for found in done.applied] == ["joined-in-steps"]
    assert names(done.file) == ["CONCATENATION", "CONCATENATION", "MUL"]
    assert partitions(done.file) == 1
    inputs = [np.random.default_rng(index).integers(-9, 9, (1, 2, 2, 1 + index)) for index in range(count)]
    np.testing.assert_array_equal(answers(done.file, *inputs)[0], answers(file, *inputs)[0])


@pytest.mark.parametrize("count", [5, 10])
def test_five_stay_and_more_than_nine_would_need_more_steps(count: int) -> None:
    file = joined(count, "float32")
    assert rewrite(file).file is file
