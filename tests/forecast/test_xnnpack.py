"""XNNPACK forecasts are what the runtime does: by operator, type, option, scale and constant, and for real files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from delegated import forecast_equals_reality
from toys import Toy

from edgekit.forecast.xnnpack_rules import RULES

DATA = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
FILES = sorted(DATA.rglob("*.tflite"))
KINDS = ("float32", "float16", "int8", "uint8", "int16", "int32")
UNARY = [
    name for name, rule in RULES.items() if rule.visitor == "VisitUnaryNode" and name not in ("QUANTIZE", "DEQUANTIZE")
]
BINARY = [name for name, rule in RULES.items() if rule.visitor == "VisitBinaryNode"]
IMAGE = (1, 4, 4, 8)
WINDOW = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2}
STEPS = {"strideW": 1, "strideH": 1}
MORE = ("SIGN", "EXPAND_DIMS", "SQUEEZE", "CAST", "MIRROR_PAD", "ARG_MAX", "L2_NORMALIZATION", "RELU_0_TO_1")

Build = Callable[[Toy], tuple[list[int], list[int]]]


def _file(build: Build) -> bytes:
    toy = Toy()
    inputs, outputs = build(toy)
    return toy.bytes(inputs, outputs)


def single(
    name: str, first: Any, *others: Any, out: Any = None, table: str = "", version: int = 1, **options: Any
) -> bytes:
    """A file of one operator. Tensors are `(shape, kind, {more})`; those with `data` are constants, -1 is absent."""
    toy = Toy()
    tensors = [tensor if tensor == -1 else toy.tensor(*tensor[:2], **dict(*tensor[2:])) for tensor in (first, *others)]
    outputs = [
        toy.tensor(*tensor[:2], **dict(*tensor[2:])) for tensor in (out if isinstance(out, list) else [out or first])
    ]
    toy.operator(name, tensors, outputs, table, version, **options)
    fed = [index for index in tensors if index >= 0 and not toy.graph.tensors[index].buffer]
    return toy.bytes(fed, outputs)


def _numbers(*values: Any, kind: str = "int32") -> Any:
    data = np.asarray(values[0] if len(values) == 1 else values)
    return (data.shape, kind, {"data": data})


def _tables() -> dict[str, str]:
    return {"LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions", "DIV": "DivOptions"} | {
        name: f"{name.title()}Options" for name in ("ADD", "SUB", "MUL")
    }


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("name", [*UNARY, *MORE])
def test_operators_of_one_input(name: str, kind: str) -> None:
    options = {"alpha": 0.3} if name == "LEAKY_RELU" else {}
    file = single(name, (IMAGE, kind), table=_tables().get(name, ""), **options)
    forecast_equals_reality(file)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*BINARY, "FLOOR_DIV", "POW"])
def test_operators_of_two_inputs(name: str, kind: str) -> None:
    for second in ((IMAGE, kind), ((8,), kind, {"data": True})):
        forecast_equals_reality(single(name, (IMAGE, kind), second, table=_tables().get(name, "")))


WEIGHTED = {
    "CONV_2D": ((4, 3, 3, 8), 0, "Conv2DOptions", {**STEPS}),
    "DEPTHWISE_CONV_2D": ((1, 3, 3, 8), 3, "DepthwiseConv2DOptions", {**STEPS, "depthMultiplier": 1}),
    "FULLY_CONNECTED": ((4, 8), 0, "FullyConnectedOptions", {}),
    "TRANSPOSE_CONV": ((4, 2, 2, 8), 0, "TransposeConvOptions", {"strideW": 2, "strideH": 2}),
}


def layer(name: str, kind: str = "float32", weights: str = "", bias: str = "", **changes: Any) -> bytes:
    """A layer with weights: `channels` scales by channel, along `axis`; `stored` whether the weights are constants."""
    shape, axis, table, options = WEIGHTED[name]
    axis, count = changes.pop("axis", axis), shape[axis]
    weights, integer = weights or kind, {"float32": "float32", "float16": "float16"}.get(kind, "int32")
    scales = (
        {"scales": [0.1] * shape[changes.get("along", axis)], "axis": axis} if changes.pop("channels", False) else {}
    )
    stored = {"data": True} if changes.pop("stored", True) else {}
    out_channels = shape[3] if name == "DEPTHWISE_CONV_2D" else shape[0]
    rank = changes.pop("rank", 2 if name == "FULLY_CONNECTED" else 4)
    image = ((1, 8) if rank == 2 else IMAGE[:rank] if rank < 4 else (1,) * (rank - 4) + IMAGE, kind)
    spread = {"scales": [0.01] * (out_channels if scales and count == out_channels else 1)}
    tensors = [image, (shape, weights, scales | stored)]
    bias_scales = spread if (bias or integer) == "int32" else {}
    tensors.append(-1 if bias == "none" else ((out_channels,), bias or integer, bias_scales | {"data": True}))
    if name == "TRANSPOSE_CONV":
        tensors = [_numbers(1, 8, 8, 4), tensors[1], tensors[0], tensors[2]]
    sides = {"TRANSPOSE_CONV": (1, 8, 8), "FULLY_CONNECTED": (1,)}.get(name, (1, 4, 4))
    out = ((*sides, out_channels), changes.pop("out", kind))
    return single(name, *tensors, out=out, table=table, version=changes.pop("version", 3), **options | changes)


LAYERS: list[dict[str, Any]] = [
    *({"kind": kind} for kind in KINDS[:5]),
    {"kind": "int8", "channels": True},
    {"kind": "int8", "channels": True, "axis": 1},
    {"kind": "float32", "weights": "int8"},
    {"kind": "float32", "weights": "int8", "channels": True},
    {"kind": "float32", "weights": "int4", "channels": True},
    {"kind": "uint8", "weights": "int8"},
    {"kind": "int8", "bias": "int64"},
    {"kind": "int8", "out": "float32"},
    {"stored": False},
    {"bias": "none"},
    {"rank": 3},
    {"rank": 5},
    *({"fusedActivationFunction": code} for code in range(6)),
]


@pytest.mark.parametrize("changes", LAYERS, ids=str)
@pytest.mark.parametrize("name", WEIGHTED)
def test_layers_with_weights(name: str, changes: dict[str, Any]) -> None:
    forecast_equals_reality(layer(name, **changes))


@pytest.mark.parametrize(
    "changes", [{"strideW": 0}, {"dilationHFactor": 0}, {"padding": 1}, {"dilationWFactor": 2}], ids=str
)
def test_options_of_convolutions(changes: dict[str, Any]) -> None:
    forecast_equals_reality(layer("CONV_2D", **changes))


MOVES: dict[str, Callable[[str], bytes]] = {
    "AVERAGE_POOL_2D": lambda kind: single("AVERAGE_POOL_2D", (IMAGE, kind), table="Pool2DOptions", **WINDOW),
    "MAX_POOL_2D": lambda kind: single("MAX_POOL_2D", (IMAGE, kind), table="Pool2DOptions", **WINDOW),
    "long strides": lambda kind: single("MAX_POOL_2D", (IMAGE, kind), table="Pool2DOptions", **WINDOW | {"strideW": 3}),
    "SOFTMAX": lambda kind: single("SOFTMAX", (IMAGE, kind), table="SoftmaxOptions", beta=1.0),
    "beta": lambda kind: single("SOFTMAX", (IMAGE, kind), table="SoftmaxOptions", beta=2.0),
    "MEAN": lambda kind: single("MEAN", (IMAGE, kind), _numbers(1, 2), out=((1, 8), kind), table="ReducerOptions"),
    "SUM": lambda kind: single("SUM", (IMAGE, kind), _numbers(1, 2), out=((1, 8), kind), table="ReducerOptions"),
    "REDUCE_MAX": lambda kind: single("REDUCE_MAX", (IMAGE, kind), _numbers(3), out=((1, 4, 4), kind)),
    "REDUCE_MIN": lambda kind: single("REDUCE_MIN", (IMAGE, kind), _numbers(-1), out=((1, 4, 4), kind)),
    "computed axes": lambda kind: single("MEAN", (IMAGE, kind), ((2,), "int32"), out=((1, 8), kind)),
    "PAD": lambda kind: single(
        "PAD", (IMAGE, kind), _numbers([[0, 0], [1, 1], [1, 1], [0, 0]]), out=((1, 6, 6, 8), kind)
    ),
    "RESHAPE": lambda kind: single("RESHAPE", (IMAGE, kind), _numbers(1, 128), out=((1, 128), kind)),
    "RESHAPE option": lambda kind: single(
        "RESHAPE", (IMAGE, kind), out=((1, 128), kind), table="ReshapeOptions", newShape=[1, 128]
    ),
    "RESHAPE flat": lambda kind: single("RESHAPE", (IMAGE, kind), _numbers([-1]), out=((128,), kind)),
    "RESHAPE int64": lambda kind: single(
        "RESHAPE", (IMAGE, kind), _numbers(1, 128, kind="int64"), out=((1, 128), kind)
    ),
    "RESHAPE computed": lambda kind: single("RESHAPE", (IMAGE, kind), ((2,), "int32"), out=((1, 128), kind)),
    "RESHAPE scalar": lambda kind: single("RESHAPE", ((1,), kind), ((0,), "int32", {"data": []}), out=((), kind)),
    "TRANSPOSE": lambda kind: single("TRANSPOSE", (IMAGE, kind), _numbers(0, 3, 1, 2), out=((1, 8, 4, 4), kind)),
    "SLICE": lambda kind: single(
        "SLICE", (IMAGE, kind), _numbers(0, 1, 1, 0), _numbers(1, 2, 2, 8), out=((1, 2, 2, 8), kind)
    ),
    "SLICE rest": lambda kind: single(
        "SLICE", (IMAGE, kind), _numbers(0, 1, 1, 0), _numbers(1, 2, 2, -1), out=((1, 2, 2, 8), kind)
    ),
    "STRIDED_SLICE": lambda kind: _strided(kind),
    "shrink": lambda kind: _strided(kind, shrinkAxisMask=1),
    "new axis": lambda kind: _strided(kind, newAxisMask=1),
    "steps": lambda kind: _strided(kind, (1, 2, 1, 1)),
    "RESIZE_BILINEAR": lambda kind: single(
        "RESIZE_BILINEAR", (IMAGE, kind), _numbers(8, 8), out=((1, 8, 8, 8), kind), table="ResizeBilinearOptions"
    ),
    "SPLIT": lambda kind: _split(kind, 2),
    "SPLIT in 8": lambda kind: _split(kind, 8),
    "CONCATENATION": lambda kind: _join(kind, 5),
    "CONCATENATION of 6": lambda kind: _join(kind, 6),
    "DEPTH_TO_SPACE": lambda kind: single(
        "DEPTH_TO_SPACE", (IMAGE, kind), out=((1, 8, 8, 2), kind), table="DepthToSpaceOptions", blockSize=2
    ),
    "SPACE_TO_DEPTH": lambda kind: single(
        "SPACE_TO_DEPTH", (IMAGE, kind), out=((1, 2, 2, 32), kind), table="SpaceToDepthOptions", blockSize=2
    ),
    "BATCH_MATMUL": lambda kind: single(
        "BATCH_MATMUL", ((1, 4, 8), kind), ((1, 8, 6), kind), out=((1, 4, 6), kind), table="BatchMatMulOptions"
    ),
    "BATCH_MATMUL int8": lambda kind: single(
        "BATCH_MATMUL",
        ((1, 4, 8), kind),
        ((8, 6), "int8", {"data": True}),
        out=((1, 4, 6), kind),
        table="BatchMatMulOptions",
    ),
    "QUANTIZE": lambda kind: single("QUANTIZE", (IMAGE, kind), out=(IMAGE, "int8")),
    "QUANTIZE uint8": lambda kind: single("QUANTIZE", (IMAGE, kind), out=(IMAGE, "uint8")),
    "DEQUANTIZE": lambda kind: single("DEQUANTIZE", (IMAGE, kind), out=(IMAGE, "float32")),
}


def _strided(kind: str, steps: tuple[int, ...] = (1, 1, 1, 1), **masks: int) -> bytes:
    places = (_numbers(0, 1, 1, 0), _numbers(1, 3, 3, 8), _numbers(*steps))
    return single(
        "STRIDED_SLICE", (IMAGE, kind), *places, out=((1, 2, 2, 8), kind), table="StridedSliceOptions", **masks
    )


def _split(kind: str, count: int) -> bytes:
    out = [((1, 4, 4, 8 // count), kind)] * count
    return single("SPLIT", _numbers(3), (IMAGE, kind), out=out, table="SplitOptions", numSplits=count)


def _join(kind: str, count: int) -> bytes:
    out = ((1, 4, 4, 8 * count), kind)
    return single("CONCATENATION", *[(IMAGE, kind)] * count, out=out, table="ConcatenationOptions", axis=3)


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("name", MOVES)
def test_other_operators(name: str, kind: str) -> None:
    forecast_equals_reality(MOVES[name](kind))


def test_every_rule_is_held_against_the_runtime() -> None:
    tried = {name.split()[0] for name in MOVES} | {*UNARY, *BINARY, *WEIGHTED}
    special = {
        "READ_VARIABLE",
        "ASSIGN_VARIABLE",
        "STABLEHLO_COMPOSITE",
        "odml.scaled_dot_product_attention",
    }
    assert set(RULES) - tried == special


SCALES = [0.0, 1e-40, 1e-5, 1e-3, 25.0, 26.0, 300.0, float("inf"), float("nan")]
QUANTIZED = [
    *({"scales": [scale]} for scale in SCALES),
    *({"scales": [0.1], "zeros": [zero]} for zero in (-129, -128, 127, 128, 255, 256)),
    {"scales": [0.1], "axis": 1},
    {"scales": [0.1] * 8, "axis": 3},
    {"scales": []},
]


@pytest.mark.parametrize("changes", QUANTIZED, ids=str)
@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["ADD", "MUL", "LEAKY_RELU", "QUANTIZE", "CONCATENATION"])
def test_scales_and_zero_points(name: str, kind: str, changes: dict[str, Any]) -> None:
    first, plain = (IMAGE, kind, changes), (IMAGE, kind)
    forecast_equals_reality(_quantized(name, first, plain))


def _quantized(name: str, first: Any, plain: Any) -> bytes:
    kind = plain[1]
    if name in ("ADD", "MUL"):
        return single(name, first, plain, out=plain, table=_tables()[name])
    if name == "CONCATENATION":
        return single(name, first, plain, out=((1, 4, 4, 16), kind), table="ConcatenationOptions", axis=3)
    return single(name, first, out=((1, 2, 2, 8), kind), table="Pool2DOptions", **WINDOW)
    return single(
        name, first, out=plain, table=_tables().get(name, ""), **{"alpha": 0.3} if name == "LEAKY_RELU" else {}
    )


@pytest.mark.parametrize("shape", [(), (8,), (1,) * 6, (1,) * 7, (1, 0, 4, 8), (-1, 4, 4, 8)], ids=str)
@pytest.mark.parametrize("name", ["NEG", "ADD", "SOFTMAX"])
def test_dimensions(name: str, shape: tuple[int, ...]) -> None:
    options = {"beta": 1.0} if name == "SOFTMAX" else {}
    second = [(shape, "float32")] if name == "ADD" else []
    table = "SoftmaxOptions" if name == "SOFTMAX" else _tables().get(name, "")
    forecast_equals_reality(single(name, (shape, "float32"), *second, table=table, **options))
