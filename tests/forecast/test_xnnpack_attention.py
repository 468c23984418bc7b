"""The composite of scaled dot-product attention, which XNNPACK takes whole where types and shapes fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from delegated import forecast_equals_reality
from flatbuffers import flexbuffers
from toys import Toy

ATTENTION = "odml.scaled_dot_product_attention"


def _attention(name: str = ATTENTION, keys: int = 6, depth: int = 8, kind: str = "float32", mask: str = "") -> bytes:
    toy = Toy()
    inputs = [toy.tensor([1, 4, 2, 8], kind), toy.tensor([1, keys, 2, depth], kind), toy.tensor([1, keys, 2, 8], kind)]
    inputs += [toy.tensor([1, 1, 4, 6], mask)] if mask else []
    out = toy.tensor([1, 4, 2, 8], kind)
    toy.operator("STABLEHLO_COMPOSITE", inputs, [out])
    operator, options = toy.graph.operators[0], schema.StableHLOCompositeOptionsT()
    options.name, options.decompositionSubgraphIndex, options.version = name, 1, 1
    options.compositeAttributes = list(flexbuffers.Dumps({"scale": 0.5}))
    operator.builtinOptions2Type = schema.BuiltinOptions2.StableHLOCompositeOptions
    operator.builtinOptions2 = options
    toy.model.subgraphs.append(_parts(toy, inputs, out))
    return toy.bytes(inputs, [out])


def _parts(toy: Toy, inputs: list[int], out: int) -> Any:
    """What the runtime would run in place of the composite: here only a negation of the first input."""
    parts, whole = schema.SubGraphT(), toy.graph.operators.copy()
    toy.operator("NEG", inputs[:1], [out])
    parts.operators, toy.graph.operators = toy.graph.operators[1:], whole
    parts.tensors, parts.inputs, parts.outputs = [copy.copy(one) for one in toy.graph.tensors], inputs, [out]
    return parts


@pytest.mark.parametrize("mask", ["", "float32"])
def test_attention_is_taken_whole(mask: str) -> None:
    assert forecast_equals_reality(_attention(mask=mask)).left == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "other"}, "operator"),
        ({"kind": "float16"}, "type"),
        ({"mask": "float16"}, "type"),
        ({"keys": 5, "mask": "float32"}, "options"),
        ({"depth": 4}, "options"),
    ],
    ids=str,
)
def test_attention_that_does_not_fit_stays_outside(changes: dict[str, Any], code: str) -> None:
    assert [placement.code for placement in forecast_equals_reality(_attention(**changes)).left] == [code]
