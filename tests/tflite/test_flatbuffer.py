"""Operators are named as the runtime names them; parts that are shared, and numbers of nothing, do no harm."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import flatbuffers
import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from tiny_models import NEG, Graph

from edgekit.errors import ModelError
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.metadata import read_metadata
from edgekit.tflite.surgery import pack, unpack


@pytest.mark.parametrize(("older", "newer"), [(NEG, NEG), (NEG, 0), (0, NEG)])
def test_an_operator_code_is_the_larger_of_its_fields(older: int, newer: int) -> None:
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(NEG, [x], [y])
    code = graph.model.operatorCodes[0]
    code.deprecatedBuiltinCode, code.builtinCode = older, newer
    file = graph.bytes([x], [y])
    assert [operator.name for operator in read_graph(file).operators] == ["NEG"]
    assert [operator.name for operator in read_contents(file).operators] == ["NEG"]


def test_a_newer_operator_is_named_too() -> None:
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(schema.BuiltinOperator.GELU, [x], [y])
    graph.model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    assert [operator.name for operator in read_graph(graph.bytes([x], [y])).operators] == ["GELU"]


def shared(graphs: int = 1, tensors: int = 1, rank: int = 1, name: int = 1, metadata: int = 0) -> bytes:
    """A small file that claims any number of graphs, tensors, sizes and letters, since all of them are the same one."""
    builder = flatbuffers.Builder()

    def vector(offset: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def table(slots: int, **offsets: int) -> int:
        builder.StartObject(slots)
        for slot, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(int(slot[1:]), offset, 0)
        return int(builder.EndObject())

    letters, axis = builder.CreateString("n" * name), table(6)
    builder.StartVector(4, rank, 4)
    for _ in range(rank):
        builder.PrependInt32(1)
    sizes = builder.EndVector()
    sparsity = table(3, _2=vector(axis, metadata))
    tensor = table(10, _0=sizes, _3=letters, _6=sparsity)
    graph = table(5, _0=vector(tensor, tensors))
    builder.Finish(table(8, _2=vector(graph, graphs)), b"TFL3")
    return bytes(builder.Output())


READS = (read_contents, read_graph, read_metadata, unpack, batched_twin)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "claim", [{"graphs": 2_000}, {"rank": 20_000}, {"name": 100_000}, {"metadata": 20_000}], ids=str
)
def test_parts_that_are_shared_cost_no_time(claim: dict[str, int], read: Callable[..., object]) -> None:
    data, begun = shared(tensors=2_000, **claim), time.process_time()
    with suppress(ModelError):
        read(data)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("read", READS)
def test_a_text_that_is_shared_costs_no_memory(read: Callable[..., object]) -> None:
    data = shared(tensors=2_000, name=1_000_000)
    tracemalloc.start()
    try:
        with suppress(ModelError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_texts_that_are_shared_by_an_honest_writer_are_read() -> None:
    assert len(read_contents(shared(tensors=300, name=100)).tensors) == 300


def test_a_tensor_of_too_many_dimensions_is_refused() -> None:
    with pytest.raises(ModelError, match="65 dimensions"):
        read_contents(shared(rank=65))


@pytest.mark.parametrize(("side", "index"), [("inputs", 9), ("outputs", -2)])
def test_nothing_that_is_not_there_is_edited(side: str, index: int) -> None:
    tree = unpack(tiny_models.negative())
    setattr(tree.subgraphs[0].operators[0], side, np.array([index], np.int32))
    with pytest.raises(ModelError, match=r"not there|out of range"):
        unpack(pack(tree))
    tree = unpack(tiny_models.negative())
    tree.subgraphs[0].tensors[0].buffer = 99
    with pytest.raises(ModelError, match="a buffer that is not there"):
        unpack(pack(tree))
