"""The main graph in full: options, versions, scales and constants are those that the official object reader sees."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import ModelError
from edgekit.tflite.graph import Graph, read_graph

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
SHARED = pytest.mark.skipif(not FILES, reason="the shared models are not here")


def _official(path: Path) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))


def _same_options(ours: dict[str, object], theirs: object) -> None:
    for name, mine in ours.items():
        value = getattr(theirs, name[0].lower() + name[1:])
        expected = () if value is None else tuple(value) if isinstance(mine, tuple) else value
        assert mine == (expected.decode() if isinstance(expected, bytes) else expected), name


@SHARED
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_options_and_scales_are_those_of_the_official_reader(path: Path) -> None:
    graph, official = read_graph(path), _official(path)
    main = official.subgraphs[0]
    assert len(graph.operators) == len(main.operators)
    for ours, theirs in zip(graph.operators, main.operators, strict=True):
        assert ours.version == official.operatorCodes[theirs.opcodeIndex].version
        assert bool(ours.options) == bool(vars(theirs.builtinOptions) if theirs.builtinOptions else {})
        _same_options(ours.options, theirs.builtinOptions)
    for tensor, other in zip(graph.tensors, main.tensors, strict=True):
        scales = other.quantization.scale if other.quantization else None
        np.testing.assert_array_equal(tensor.scales, () if scales is None else scales)


@SHARED
def test_constants_have_the_shape_of_their_tensor() -> None:
    graph = read_graph(next(path for path in FILES if path.stem == "ad01_int8"))
    dense = graph.operators[0]
    weights = graph.tensors[dense.inputs[1]].values()
    assert (dense.name, dense.activation) == ("FULLY_CONNECTED", "RELU")
    assert weights is not None
    assert (weights.dtype, weights.shape) == (np.int8, (128, 640))
    assert graph.tensors[graph.inputs[0]].values() is None


@SHARED
def test_a_damaged_file_is_an_error_of_ours() -> None:
    data = bytearray(next(path for path in FILES if path.stem == "pretrainedResnet_quant").read_bytes())
    chance = random.Random(5)
    for _ in range(300):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            copy[chance.randrange(min(len(copy), 60_000))] = chance.randrange(256)
        try:
            graph = read_graph(copy)
        except ModelError:
            continue
        assert isinstance(graph, Graph)
        [tensor.values() for tensor in graph.tensors]
