"""Results joined: nothing lost, nothing twice, the order that of the reader."""

from __future__ import annotations

from itertools import permutations

import pytest
import tiny_models
from msgspec.structs import replace

from edgekit.bench.merge import merge
from edgekit.bench.plan import plan_for
from edgekit.bench.result import Measurement, Results
from edgekit.bench.run import measure


@pytest.fixture(scope="module")
def three() -> list[Measurement]:
    one = measure(tiny_models.negative(), plan_for(runs=3), name="a")
    return [one, replace(one, device="pi"), replace(one, model=replace(one.model, name="b"))]


def test_the_order_of_files_does_not_matter(three: list[Measurement]) -> None:
    for order in permutations(three):
        assert merge(Results((one,)) for one in order) == Results(tuple(three))


def test_what_is_there_twice_is_kept_once_and_another_run_stays(three: list[Measurement]) -> None:
    again = replace(three[0], started="9999")
    both = merge([Results(tuple(three)), Results((three[0], again))])
    assert both.measurements == (three[0], again, *three[1:])
    assert merge([both, both]) == both


def test_nothing_is_lost_in_a_file(three: list[Measurement]) -> None:
    both = merge([Results(tuple(three))])
    assert Results.from_json(both.to_json()) == both
