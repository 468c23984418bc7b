"""XNNPACK forecasts of operators that are not quite right: random changes of sound ones, against the real delegate."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from delegated import forecast_equals_reality
from test_xnnpack import BINARY, IMAGE, KINDS, MOVES, UNARY, WEIGHTED, layer, single

TYPES = [getattr(schema.TensorType, kind.upper()) for kind in (*KINDS, "int64", "bool")]
SCALES = [0.1, 0.1, 0.2, 1e-3, 1e-5, 30.0, 300.0]


def _sound(chance: random.Random) -> bytes:
    kind = chance.choice(KINDS[:4])
    name = chance.choice([*MOVES, *MOVES, *UNARY, *BINARY, *[*WEIGHTED] * 10])
    if name in MOVES:
        return MOVES[name](kind)
    if name in WEIGHTED:
        dynamic = kind == "float32" and chance.random() < 0.3
        return layer(name, kind, **({"weights": "int8"} if dynamic else {}), channels=chance.random() < 0.5)
    return single(name, *[(IMAGE, kind)] * (2 if name in BINARY else 1))


def _another_type(chance: random.Random, model: Any) -> None:
    """Of a tensor that is computed; a constant would have the wrong number of bytes, which no runtime opens."""
    tensor = chance.choice([tensor for tensor in model.subgraphs[0].tensors if not tensor.buffer])
    tensor.type = chance.choice(TYPES)


def _another_scale(chance: random.Random, model: Any) -> None:
    tensor = chance.choice(model.subgraphs[0].tensors)
    if tensor.quantization and len(tensor.quantization.scale):
        tensor.quantization.scale = [chance.choice(SCALES)] * len(tensor.quantization.scale)


def _another_zero_point(chance: random.Random, model: Any) -> None:
    tensor = chance.choice(model.subgraphs[0].tensors)
    if tensor.quantization and len(tensor.quantization.scale):
        tensor.quantization.zeroPoint = [chance.choice([0, 3, -128, 128, 255])] * len(tensor.quantization.scale)


def _no_quantization(chance: random.Random, model: Any) -> None:
    chance.choice(model.subgraphs[0].tensors).quantization = None


def _no_constant(chance: random.Random, model: Any) -> None:
    chance.choice(model.subgraphs[0].tensors).buffer = 0


def _another_option(chance: random.Random, model: Any) -> None:
    options = model.subgraphs[0].operators[0].builtinOptions
    numbers = [name for name, value in vars(options or object).items() if type(value) is int]
    if options and numbers:
        setattr(options, chance.choice(numbers), chance.choice([0, 1, 2, 3]))


def _no_options(chance: random.Random, model: Any) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.builtinOptions, operator.builtinOptionsType = None, 0


CHANGES: tuple[Callable[[random.Random, Any], None], ...] = (
    _another_type,
    _another_scale,
    _another_zero_point,
    _no_quantization,
    _no_constant,
    _another_option,
    _no_options,
)


def _mutant(seed: int) -> bytes:
    chance = random.Random(seed)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(_sound(chance)))
    for _ in range(chance.randint(1, 2)):
        chance.choice(CHANGES)(chance, model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("decade", range(4))
def test_mutants(decade: int) -> None:
    for seed in range(decade * 10, decade * 10 + 10):
        _hold(seed)


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(10))
def test_many_mutants(hundred: int) -> None:
    for seed in range(1000 + hundred * 100, 1100 + hundred * 100):
        _hold(seed)


def _hold(seed: int) -> None:
    try:
        forecast_equals_reality(_mutant(seed))
    except AssertionError as cause:
        raise AssertionError(f"mutant {seed}: {cause}") from cause
