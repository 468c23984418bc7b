"""What may be cut, and what is refused in words."""

from __future__ import annotations

import pytest
import tiny_models
from toy_networks import Network, chain, skipping, two_inputs
from toys import Toy

from edgekit.errors import ModelError
from edgekit.split.flow import read_flow


def test_a_chain_can_be_cut_between_any_two() -> None:
    flow = read_flow(chain((8, 8, 8)))
    assert flow.cuts() == (1, 2)
    assert [len(tensors) for tensors in flow.crossing()] == [0, 1, 1, 0]


def test_what_is_read_later_crosses_every_cut_until_then() -> None:
    flow = read_flow(skipping())
    first = flow.written(flow.order[0])[0]
    assert [first in tensors for tensors in flow.crossing()] == [False, True, True, True, True, True, False]
    assert [len(tensors) for tensors in flow.crossing()] == [0, 1, 2, 2, 2, 2, 0]


def test_what_nobody_needs_is_left_out() -> None:
    net = Network()
    used = net.dense(net.dense(net.x))
    net.dense(used, 100)
    flow = read_flow(net.file(used))
    assert flow.order == (0, 1)


def test_constants_that_are_made_belong_to_their_reader() -> None:
    net = Network()
    half = net.toy.tensor([8, 8], "float16", data=True)
    full = net.toy.tensor([8, 8])
    net.toy.operator("DEQUANTIZE", [half], [full], "DequantizeOptions", 3)
    at, out = net.dense(net.x), net.tensor(8)
    net.toy.operator("FULLY_CONNECTED", [at, full, -1], [out], "FullyConnectedOptions", 6)
    flow = read_flow(net.file(out))
    assert flow.order == (1, 2)
    assert flow.preparing[2] == (0,)
    assert flow.read(2) == (at,)


def test_operators_with_one_state_are_not_parted() -> None:
    net = Network()
    state = net.tensor(8)
    net.toy.graph.tensors[state].isVariable = True
    one, two = net.add(net.dense(net.x), state), net.tensor(8)
    between = net.dense(one)
    net.toy.operator("ADD", [between, state], [two], "AddOptions")
    flow = read_flow(net.file(net.dense(two)))
    assert flow.together == (frozenset({1, 3}),)
    assert flow.cuts() == (1, 4)
    assert state not in flow.read(1)


def test_sizes_that_values_decide_do_not_cross() -> None:
    net = Network()
    at, found, last = net.dense(net.x), net.toy.tensor([1, 1], "int64"), net.toy.tensor([1, 1], "float32")
    net.toy.operator("WHERE", [at], [found])
    net.toy.operator("CAST", [found], [last], "CastOptions")
    assert read_flow(net.file(last)).cuts() == (1,)


def test_sizes_that_are_computed_do_not_cross_until_they_are_told_again() -> None:
    net = Network()
    rows, sizes = net.toy.tensor([-1, -1]), net.toy.tensor([2], "int32", data=[-1, 4])
    at, back = net.dense(net.x), net.toy.tensor([-1, 8])
    net.toy.operator("RESHAPE", [at, sizes], [rows])  # stored as [1, 1], and really [2, 4]
    same, wide = net.toy.tensor([-1, -1]), net.toy.tensor([2], "int32", data=[-1, 8])
    net.toy.operator("NEG", [rows], [same])
    net.toy.operator("RESHAPE", [same, wide], [back])
    assert read_flow(net.file(net.dense(back))).cuts() == (1, 4)


def test_a_custom_operator_is_an_operator() -> None:
    net = Network()
    out = net.tensor(8)
    net.toy.operator("MyOperator", [net.dense(net.x)], [out])
    assert read_flow(net.file(net.dense(out))).cuts() == (1, 2)


def test_two_inputs_and_outputs() -> None:
    flow = read_flow(two_inputs())
    assert len(flow.order) == 7
    assert flow.cuts() == (1, 2, 3, 4, 5, 6)


def open_size() -> bytes:
    toy = Toy()
    x, y = toy.tensor([1, -1]), toy.tensor([1, -1])
    toy.operator("NEG", [x], [y])
    return toy.bytes([x], [y])


def resource() -> bytes:
    net = Network()
    handle = net.toy.tensor([], "resource")
    out = net.tensor(8)
    net.toy.operator("VAR_HANDLE", [], [handle])
    net.toy.operator("READ_VARIABLE", [handle], [out])
    return net.file(net.add(net.x, out))


def calling() -> bytes:
    net = Network()
    out = net.tensor(8)
    net.toy.operator("WHILE", [net.x], [out], "WhileOptions")
    return net.file(out)


def two_signatures() -> bytes:
    net = Network()
    out = net.dense(net.dense(net.x))
    net.toy.model.subgraphs.append(net.toy.graph)
    net.toy.signature("train", {"x": net.x}, {"y": out}, subgraph=1)
    net.toy.signature("serve", {"x": net.x}, {"y": out})
    return net.file(out)


def passing() -> bytes:
    net = Network()
    return net.file(net.dense(net.x), net.x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (open_size, "open sizes"),
        (resource, "keeps its state outside"),
        (calling, "calls another graph"),
        (two_signatures, "2 graphs for the signatures train, serve"),
        (passing, "computed by no operator"),
        (lambda: chain()[:-200], "damaged|truncated"),
        (lambda: b"PK\x03\x04 nothing", "not a TFLite file"),
    ],
    ids=["open size", "resource", "calling", "signatures", "passing", "truncated", "zip"],
)
def test_what_cannot_be_cut_is_refused(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=words) as refused:
        read_flow(make(), "it")
    assert refused.value.mend


def test_one_operator_has_no_cut() -> None:
    assert read_flow(tiny_models.custom()).cuts() == ()
