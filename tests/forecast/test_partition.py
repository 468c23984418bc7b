"""Pieces of a delegate: the laws of a partition, and the numbers of the runtime's own partitioner."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from delegated import forecast_equals_reality
from toys import Toy

from edgekit.forecast.partition import partition
from edgekit.tflite.graph import Graph, Operator, read_graph

INSIDE, OUTSIDE = ("NEG", "ABS", "ADD"), ("SIGN", "FLOOR_DIV")


def _random_graph(seed: int) -> bytes:
    chance, toy = random.Random(seed), Toy()
    tensors = inputs = [toy.tensor([1, 4]) for _ in range(chance.randint(1, 3))]
    for _ in range(chance.randint(2, 25)):
        name = chance.choice(INSIDE + OUTSIDE)
        read = [chance.choice(tensors[-6:]), chance.choice(tensors)][: 2 if name in ("ADD", "FLOOR_DIV") else 1]
        written = toy.tensor([1, 4])
        toy.operator(name, read, [written], "AddOptions" if name == "ADD" else "")
        tensors = [*tensors, written]
    return toy.bytes(inputs, tensors[-3:][: chance.randint(1, 3)] if len(tensors) > len(inputs) + 3 else tensors[-1:])


@pytest.mark.parametrize("seed", range(25))
def test_pieces_are_those_of_the_runtime(seed: int) -> None:
    forecast_equals_reality(_random_graph(seed))


@pytest.mark.parametrize("seed", range(25))
def test_each_operator_runs_once_after_what_it_reads(seed: int) -> None:
    graph = read_graph(_random_graph(seed))
    taken = {operator.index for operator in graph.operators if operator.name in INSIDE}
    pieces = partition(graph, taken)
    assert pieces is not None
    order = [index for piece in pieces for index in piece.operators]
    assert sorted(order) == [operator.index for operator in graph.operators]
    assert all((index in taken) == piece.taken for piece in pieces for index in piece.operators)
    assert all(before.taken != after.taken for before, after in pairwise(pieces))
    known = {index for index, _ in enumerate(graph.tensors)} - {out for op in graph.operators for out in op.outputs}
    for index in order:
        assert {place for place in graph.operators[index].inputs if place >= 0} <= known
        known |= set(graph.operators[index].outputs)


def test_an_operator_outside_does_not_cut_what_goes_around_it() -> None:
    toy = Toy()
    x, aside, first, second = (toy.tensor([1, 4]) for _ in range(4))
    toy.operator("NEG", [x], [first])
    toy.operator("SIGN", [first], [aside])
    toy.operator("ABS", [first], [second])
    pieces = partition(read_graph(toy.bytes([x], [aside, second])), {0, 2})
    assert pieces is not None
    assert [piece.operators for piece in pieces] == [(0, 2), (1,)]


def test_operators_on_variables_keep_their_order() -> None:
    toy = Toy()
    x, handle, state, y = toy.tensor([1, 4]), toy.tensor([1], "resource"), toy.tensor([1, 4]), toy.tensor([1, 4])
    toy.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", sharedName="v")
    toy.operator("READ_VARIABLE", [handle], [state])
    toy.operator("SIGN", [state], [y])
    toy.operator("ASSIGN_VARIABLE", [handle, y], [])
    graph = read_graph(toy.bytes([x], [y]))
    pieces = partition(graph, {0, 1, 3})
    assert pieces is not None
    assert [piece.operators for piece in pieces] == [(0, 1), (2,), (3,)]


def test_an_operator_that_reads_its_own_output_has_no_order() -> None:
    toy = Toy()
    x, y = toy.tensor([1, 4]), toy.tensor([1, 4])
    toy.operator("ADD", [x, y], [y], "AddOptions")
    assert partition(read_graph(toy.bytes([x], [y])), {0}) is None


def test_time_grows_with_the_number_of_operators() -> None:
    small, large = _chain(2_000), _chain(16_000)
    assert _seconds(large) < 8 * 4 * _seconds(small)


def _chain(length: int) -> Graph:
    toy = Toy()
    toy.operator("NEG", [toy.tensor([1])], [toy.tensor([1])])
    graph = read_graph(toy.bytes([0], [1]))
    many = tuple(Operator(place, "NEG", 1, False, (place,), (place + 1,), {}) for place in range(length))
    return Graph(many, graph.tensors[:1] * (length + 1), (0,), (length,))


def _seconds(graph: Graph) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        pieces = partition(graph, range(0, len(graph.operators), 2))
        best = min(best, time.perf_counter() - start)
        assert pieces is not None
        assert len(pieces) == len(graph.operators)
    return best
