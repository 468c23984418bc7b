"""The fastest variant is chosen beyond the noise, with the operators named that cost the wished one its speed."""

from __future__ import annotations

import pytest
from run_examples import measured
from toys import Toy

from edgekit.choice import choose


def _cut() -> bytes:
    """LOGISTIC, HARD_SWISH, LOGISTIC in int8."""
    toy = Toy()
    tensors = [toy.tensor((1, 8), "int8") for _ in range(4)]
    for index, name in enumerate(("LOGISTIC", "HARD_SWISH", "LOGISTIC")):
        toy.operator(name, [tensors[index]], [tensors[index + 1]])
    return toy.bytes(tensors[:1], tensors[-1:])


def test_the_wished_variant_stays_where_it_is_the_fastest() -> None:
    found = choose({"int8": measured(b"a", 10_000), "float32": measured(b"b", 20_000)}, "int8", _cut())
    assert (found.name, found.reason) == ("int8", "")
    assert found.seconds["int8"].value < found.seconds["float32"].value


@pytest.mark.parametrize("share", [1.0, 0.99])
def test_it_stays_where_the_difference_is_noise_or_next_to_nothing(share: float) -> None:
    other = measured(b"b", int(20_000 * share))
    assert choose({"int8": measured(b"a", 20_000), "float32": other}, "int8", _cut()).name == "int8"


def test_the_fastest_of_several_is_named_with_the_reason() -> None:
    times = {"int8": 30_000, "float32": 20_000, "dynamic-int8": 15_000}
    found = choose({name: measured(b"", time) for name, time in times.items()}, "int8", _cut())
    assert found.name == "dynamic-int8"
    assert found.reason.startswith("int8 takes 2")
    assert found.reason.endswith("XNNPACK leaves 1 HARD_SWISH, and makes 2 pieces of the rest")


def test_kernels_that_are_slow_by_themselves_are_said_to_be() -> None:
    toy = Toy()
    x, y = (toy.tensor((1, 8), "int8") for _ in range(2))
    toy.operator("LOGISTIC", [x], [y])
    found = choose({"int8": measured(b"", 30_000), "float32": measured(b"", 20_000)}, "int8", toy.bytes([x], [y]))
    assert "XNNPACK takes all of it" in found.reason
