"""Operators are named as the runtime names them, whichever of the two fields of an operator code is filled."""

from __future__ import annotations

import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_models import NEG, Graph

from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents


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
