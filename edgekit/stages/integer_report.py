"""What quantization-aware training did: each kernel in the file, the ranges that moved, the proof."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from edgekit.graph.walk import walk
from edgekit.stages.agreement import SimulationAgreement
from edgekit.stages.integer_graph import IntegerGraph, read_graph
from edgekit.stages.integer_names import operators_of_layers
from edgekit.stages.integer_weights import Weight
from edgekit.stages.moved_ranges import MovedRange
from edgekit.tflite.inspect import read_contents


class QuantizedKernel(Struct, frozen=True):
    """A kernel in the file: distinct integers, share of zeros, share of the integers that training has changed."""

    tensor: str
    operator: str
    weights: int
    bits: int
    values: int
    sparsity: float
    changed: float


class QuantizeAwareReport(Struct, frozen=True):
    """What was trained, the proof that the file computes it, and the operators that stayed in float.

    `derived` are the layers that compute a kernel from their weights, which is trained as the file has it; `frozen` are
    those with constants that stayed as they were.
    """

    kernels: tuple[QuantizedKernel, ...]
    ranges: tuple[MovedRange, ...]
    agreement: SimulationAgreement
    float_operators: tuple[str, ...]
    derived: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table under `HEADER`."""
        return [
            (k.tensor, k.operator, str(k.weights), str(k.bits), str(k.values), f"{k.sparsity:.1%}", f"{k.changed:.1%}")
            for k in self.kernels
        ]


HEADER = ("tensor", "operator", "weights", "bits", "values", "zeros", "changed")


def report(
    graph: IntegerGraph,
    file: bytes,
    model: Any,
    weights: dict[int, Weight],
    bits: dict[int, int],
    moved: tuple[MovedRange, ...],
    proof: SimulationAgreement,
) -> QuantizeAwareReport:
    """The report on a file that was written from a trained graph; `bits` are those of each kernel's tensor."""
    derived, frozen = (_layers_with(graph, model, found) for found in _apart(weights))
    return QuantizeAwareReport(tuple(_kernels(graph, file, bits)), moved, proof, _floats(file), derived, frozen)


def _kernels(graph: IntegerGraph, file: bytes, bits: dict[int, int]) -> list[QuantizedKernel]:
    after = read_graph(file, graph.source).tensors
    found = []
    for index, constant in graph.constants.items():
        old, new = constant.tensor.data, after[index].data
        if constant.role == "kernel" and constant.tensor.quantized and old is not None and new is not None:
            found.append(
                QuantizedKernel(
                    graph.tensors[constant.operator.outputs[0]].name,
                    constant.operator.name,
                    new.size,
                    bits[index],
                    len(np.unique(new)),
                    float((new == 0).mean()),
                    float((new != old).mean()),
                )
            )
    return found


def _apart(weights: dict[int, Weight]) -> tuple[set[int], set[int]]:
    """The constants that are computed from the model's weights and trained, and those that are frozen."""
    frozen = {source for source, weight in weights.items() if not weight.trainable}
    return {source for source, weight in weights.items() if weight.derived} - frozen, frozen


def _layers_with(graph: IntegerGraph, model: Any, sources: set[int]) -> tuple[str, ...]:
    """The layers with weights that some constants belong to."""
    constants = graph.constants.values()
    written = {graph.tensors[each.operator.outputs[0]].name for each in constants if each.source in sources}
    layers, owners = walk(model).layers, operators_of_layers(read_contents(graph.source), model)
    weighted = (name for name in owners if getattr(layers[name], "variables", None))
    return tuple(name for name in weighted if written & {*owners[name]})


def _floats(file: bytes) -> tuple[str, ...]:
    contents = read_contents(file)
    casts = {"QUANTIZE", "DEQUANTIZE"}
    return tuple(
        f"{op.name} {op.output_name}" for op in contents.operators if op.dtype == "float32" and op.name not in casts
    )
