"""One-operator files in any types: what the forecast says of them can be asked of the interpreter itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tiny_models
from ai_edge_litert import schema_py_generated as schema

CODES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "uint32": schema.TensorType.UINT32,
    "float64": schema.TensorType.FLOAT64,
    "uint16": schema.TensorType.UINT16,
    "uint64": schema.TensorType.UINT64,
    "int4": schema.TensorType.INT4,
}
_SCALES = {"int8": 0.1, "uint8": 0.1, "int16": 0.001, "int4": 0.1}
_X = (1, 4, 4, 8)


class Spec:
    """Shapes of the inputs (an array: a constant) and of the outputs, options, and the scale of an integer output."""

    def __init__(
        self,
        *inputs: tuple[int, ...] | list[Any],
        out: tuple[int, ...] | None = _X,
        options: dict[str, Any] | None = None,
        kind: str = "",
        scales: dict[str, tuple[float, int]] | None = None,
        outputs: int = 1,
    ) -> None:
        self.inputs, self.out, self.outputs = inputs, out, outputs
        self.options, self.kind, self.scales = options or {}, kind, scales or {}


_SMALL = {"int8": (1 / 256, -128), "int16": (1 / 32768, 0)}
_SOFTMAX = {**_SMALL, "int8 to int16": (1 / 65536, -32768)}
_STRIDE = {"strideW": 1, "strideH": 1}
_POOL = {**_STRIDE, "filterWidth": 1, "filterHeight": 1}
_BINARY = "SQUARED_DIFFERENCE MAXIMUM MINIMUM EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL"
_UNARY = "ABS RSQRT SIN COS LOG SQRT SQUARE CEIL EXP FLOOR ROUND NEG ELU HARD_SWISH RELU RELU6 ZEROS_LIKE"
SPECS: dict[str, Spec] = {
    **{name: Spec(_X) for name in f"{_UNARY} DEQUANTIZE CAST LOGICAL_NOT".split()},
    **{name: Spec(_X, _X) for name in f"{_BINARY} LOGICAL_AND LOGICAL_OR ADD_N".split()},
    **{name: Spec(_X, _X, kind=f"{name.title()}Options") for name in ("ADD", "SUB", "MUL")},
    "DIV": Spec(_X, np.ones(_X), kind="DivOptions"),
    **{name: Spec(_X, np.ones(_X)) for name in ("FLOOR_DIV", "FLOOR_MOD")},
    "QUANTIZE": Spec(_X, scales={"int32": (0.1, 0)}),
    "LOGISTIC": Spec(_X, scales=_SMALL),
    "TANH": Spec(_X, scales={"int8": (1 / 128, 0), "int16": (1 / 32768, 0)}),
    "LOG_SOFTMAX": Spec((1, 8), out=(1, 8), scales={"int8": (16 / 256, 127)}),
    "SOFTMAX": Spec((1, 8), out=(1, 8), kind="SoftmaxOptions", options={"beta": 1.0}, scales=_SOFTMAX),
    "LEAKY_RELU": Spec(_X, kind="LeakyReluOptions", options={"alpha": 0.1}),
    "PRELU": Spec(_X, [0] * 8),
    "L2_NORMALIZATION": Spec((1, 8), out=(1, 8), kind="L2NormOptions", scales={"int8": (1 / 128, 0)}),
    **{f"{name}_POOL_2D": Spec(_X, kind="Pool2DOptions", options=_POOL) for name in ("AVERAGE", "MAX", "L2")},
    "CONV_2D": Spec(_X, np.zeros((8, 1, 1, 8)), kind="Conv2DOptions", options=_STRIDE),
    "DEPTHWISE_CONV_2D": Spec(
        _X, np.zeros((1, 1, 1, 8)), kind="DepthwiseConv2DOptions", options={**_STRIDE, "depthMultiplier": 1}
    ),
    "FULLY_CONNECTED": Spec((1, 8), np.zeros((4, 8)), out=(1, 4), kind="FullyConnectedOptions"),
    "TRANSPOSE_CONV": Spec([1, 4, 4, 8], np.zeros((8, 1, 1, 8)), _X, kind="TransposeConvOptions", options=_STRIDE),
    "BATCH_MATMUL": Spec((1, 4, 8), (1, 8, 2), out=(1, 4, 2), kind="BatchMatMulOptions"),
    "CONCATENATION": Spec(_X, _X, out=(1, 4, 4, 16), kind="ConcatenationOptions", options={"axis": 3}),
    "PACK": Spec((4,), (4,), out=(2, 4), kind="PackOptions", options={"valuesCount": 2}),
    "UNPACK": Spec((2, 4), out=(4,), kind="UnpackOptions", options={"num": 2}, outputs=2),
    "SPLIT": Spec(np.array(0), (2, 4), out=(1, 4), kind="SplitOptions", options={"numSplits": 2}, outputs=2),
    "SPLIT_V": Spec((2, 4), [1, 1], np.array(0), out=(1, 4), kind="SplitVOptions", options={"numSplits": 2}, outputs=2),
    "RESHAPE": Spec(_X, [4, 32], out=(4, 32), kind="ReshapeOptions", options={"newShape": [4, 32]}),
    "SQUEEZE": Spec((1, 4), out=(4,), kind="SqueezeOptions", options={"squeezeDims": [0]}),
    "SHAPE": Spec(_X, out=(4,), kind="ShapeOptions"),
    "EXPAND_DIMS": Spec((4, 8), np.array(0), out=(1, 4, 8)),
    "TRANSPOSE": Spec((4, 8), [1, 0], out=(8, 4)),
    "PAD": Spec((1, 4), [[0, 0], [0, 0]], out=(1, 4)),
    "PADV2": Spec((1, 4), [[0, 0], [0, 0]], np.array(0), out=(1, 4)),
    "MIRROR_PAD": Spec((1, 4), [[0, 0], [1, 1]], out=(1, 6), kind="MirrorPadOptions"),
    "STRIDED_SLICE": Spec((4, 8), [0, 0], [2, 8], [1, 1], out=(2, 8), kind="StridedSliceOptions"),
    "SLICE": Spec((4, 8), [0, 0], [2, 8], out=(2, 8)),
    "GATHER": Spec((4, 8), (2,), out=(2, 8), kind="GatherOptions"),
    "GATHER_ND": Spec((4, 8), (2, 1), out=(2, 8)),
    "SELECT_V2": Spec(_X, _X, _X),
    "CUMSUM": Spec((4, 8), np.array(0), out=(4, 8), kind="CumsumOptions"),
    "REVERSE_V2": Spec((4, 8), [1], out=(4, 8)),
    "FILL": Spec([2, 4], np.array(0), out=(2, 4)),
    "BROADCAST_TO": Spec((1, 4), [2, 4], out=(2, 4)),
    "BROADCAST_ARGS": Spec([2, 4], [1, 4], out=(2,)),
    "ARG_MAX": Spec((4, 8), np.array(1), out=(4,), kind="ArgMaxOptions", options={"outputType": CODES["int32"]}),
    "ARG_MIN": Spec((4, 8), np.array(1), out=(4,), kind="ArgMinOptions", options={"outputType": CODES["int32"]}),
    **{
        name: Spec((4, 8), [1], out=(4, 1), kind="ReducerOptions", options={"keepDims": True})
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL")
    },
    "RESIZE_BILINEAR": Spec(_X, [8, 8], out=(1, 8, 8, 8), kind="ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": Spec(_X, [8, 8], out=(1, 8, 8, 8), kind="ResizeNearestNeighborOptions"),
    "DEPTH_TO_SPACE": Spec(_X, out=(1, 8, 8, 2), kind="DepthToSpaceOptions", options={"blockSize": 2}),
    "SPACE_TO_DEPTH": Spec(_X, out=(1, 2, 2, 32), kind="SpaceToDepthOptions", options={"blockSize": 2}),
    "SPACE_TO_BATCH_ND": Spec(_X, [2, 2], [[0, 0], [0, 0]], out=(4, 2, 2, 8)),
    "BATCH_TO_SPACE_ND": Spec((4, 2, 2, 8), [2, 2], [[0, 0], [0, 0]], out=_X),
    "EMBEDDING_LOOKUP": Spec((1,), np.zeros((2, 4)), out=(1, 4)),
    "DYNAMIC_UPDATE_SLICE": Spec((4, 8), (1, 8), [0, 0], out=(4, 8)),
}
"""Operators that a file of one can be made of; IF, WHILE, CALL_ONCE and the variables need more."""


def one_operator(name: str, inputs: Sequence[str], output: str) -> bytes:
    """A file with this operator, its inputs and outputs in these types."""
    spec, graph = SPECS[name], tiny_models.Graph()
    fed, read = [], []
    for place, (shape, dtype) in enumerate(zip(spec.inputs, inputs, strict=True)):
        scale = _SCALES.get(dtype, 0.0)
        if isinstance(shape, tuple):
            index = graph.tensor(f"x{place}", shape, CODES[dtype], scale)
            fed.append(index)
        else:
            index = _constant(graph, f"c{place}", np.asarray(shape), dtype, scale)
        read.append(index)
    usual = spec.scales.get(output, (_SCALES.get(output, 0.0), 0))
    scale, zero = spec.scales.get(f"{inputs[0]} to {output}", usual)
    written = [graph.tensor(f"y{place}", spec.out or (), CODES[output], scale, zero) for place in range(spec.outputs)]
    graph.operator(getattr(schema.BuiltinOperator, name), read, written)
    if spec.kind:
        _options(graph.graph.operators[-1], spec)
    return graph.bytes(fed, written)


def _constant(graph: tiny_models.Graph, name: str, values: np.ndarray, dtype: str, scale: float) -> int:
    index = graph.tensor(name, values.shape, CODES[dtype], scale)
    graph.graph.tensors[index].shape = list(values.shape)
    stored = values.astype(np.int8 if dtype == "int4" else dtype)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes()[: max(stored.nbytes // (2 if dtype == "int4" else 1), 1)], np.uint8)
    graph.model.buffers.append(buffer)
    graph.graph.tensors[index].buffer = len(graph.model.buffers) - 1
    return index


def _options(operator: Any, spec: Spec) -> None:
    options = getattr(schema, f"{spec.kind}T")()
    for key, value in spec.options.items():
        assert hasattr(options, key), (spec.kind, key)
        setattr(options, key, value)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, spec.kind)
    operator.builtinOptions = options
