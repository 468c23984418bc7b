"""Where the bytes of a file are: its operators with weights, beside the same ones of the float32 file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgekit.report import plots
from edgekit.report.labels import clip
from edgekit.tflite.inspect import ModelSummary, OperatorInfo
from edgekit.units import format_bytes

_MOST = 40


@dataclass(frozen=True)
class Layer:
    """One operator with weights; `bar` shows its bytes, and palely those it had in the float32 file."""

    index: int
    operator: str
    name: str
    weight_dtype: str
    weight_bytes: int
    macs: int
    bar: Markup


@dataclass(frozen=True)
class Layers:
    """The operators with most weights, in the order of the graph; `others` of `other_bytes` are left out."""

    shown: tuple[Layer, ...]
    others: int
    other_bytes: int
    compared: bool


def layers(summary: ModelSummary, float32: ModelSummary | None = None) -> Layers:
    """Operators with weights of a file; compared with the float32 file where both have the same ones."""
    own = weighted(summary)
    before = weighted(float32) if float32 else []
    same = [op.name for op, _ in own] == [op.name for op, _ in before]
    was = [size for _, size in before] if same else [0] * len(own)
    most = max([*was, *(size for _, size in own)], default=1)
    kept = sorted(sorted(range(len(own)), key=lambda i: -max(own[i][1], was[i]))[:_MOST])
    shown = tuple(_layer(*own[i], was[i], most) for i in kept)
    left = sum(size for _, size in own) - sum(layer.weight_bytes for layer in shown)
    return Layers(shown, len(own) - len(shown), left, same)


def weighted(summary: ModelSummary) -> list[tuple[OperatorInfo, int]]:
    """Operators of the main graph and the bytes of their constants; a constant that is first unpacked counts too.

    float16 files keep weights as constants of DEQUANTIZE operators: those bytes belong to whoever reads them.
    """
    main = [op for op in summary.operators if op.subgraph == 0]
    unpacked = {op.outputs[0]: op.weight_bytes for op in main if op.name == "DEQUANTIZE" and op.weight_bytes}
    sizes = [(op, op.weight_bytes + sum(unpacked.get(i, 0) for i in op.inputs)) for op in main]
    return [(op, size) for op, size in sizes if size and op.outputs[0] not in unpacked]


def _layer(op: OperatorInfo, size: int, was: int, most: int) -> Layer:
    note = f"{op.output_name}: {format_bytes(size)}" + (f", {format_bytes(was)} in float32" if was else "")
    drawn = plots.bar(size / max(most, 1), was / max(most, 1), note)
    return Layer(op.index, op.name, short_name(op.output_name), op.weight_dtype, size, op.macs, drawn)


def short_name(name: str) -> str:
    """The telling end of a converter's tensor name: `net/conv2d_1/Relu;net/bn/add` -> `conv2d_1/Relu`."""
    parts: Sequence[str] = name.partition(";")[0].split("/")
    return clip("/".join(parts[-2:]), 36)
