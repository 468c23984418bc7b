"""Each operator of a file as a file of its own, to be timed alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from edgekit.tflite.extract import extract
from edgekit.tflite.inspect import ModelContents, OperatorInfo, read_contents
from edgekit.tflite.surgery import pack, schema, unpack

STATEFUL = {"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE", "HASHTABLE_FIND"}
CALLING = {"IF", "WHILE", "CALL", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"}
NUMBERS = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")


class Piece(NamedTuple):
    """One operator of the main graph: `file` with it alone, or the reason why there is none."""

    operator: OperatorInfo
    file: bytes | None
    reason: str = ""


def pieces(model: bytes) -> Iterator[Piece]:
    """Each operator of the main graph that computes at run time, in order.

    What only prepares constants (DEQUANTIZE of float16 weights) belongs to the pieces that read them. Raises ModelError
    for a damaged file, MissingDependency where no LiteRT is installed.
    """
    contents, tree = read_contents(model), unpack(model)
    main = [op for op in contents.operators if op.subgraph == 0]
    constant = _constants(main, contents, tree)
    makers = {index: op for op in main for index in op.outputs}
    for operator in main:
        if operator.inputs and all(index in constant for index in operator.inputs if index >= 0):
            continue
        reason = _reason(operator, contents, constant)
        if reason:
            yield Piece(operator, None, reason)
        else:
            chosen = [*_preparing(operator, constant, makers), operator]
            yield Piece(operator, _cut(tree, chosen, constant))


def empty() -> bytes:
    """A file that computes nothing: what a call costs before any operator runs. Raises MissingDependency."""
    fb = schema()
    model, graph, tensor = fb.ModelT(), fb.SubGraphT(), fb.TensorT()
    tensor.shape, tensor.type, tensor.name, tensor.buffer = np.asarray([1], np.int32), fb.TensorType.FLOAT32, "x", 0
    graph.tensors, graph.operators = [tensor], []
    graph.inputs = graph.outputs = np.asarray([0], np.int32)
    model.version, model.operatorCodes, model.buffers, model.subgraphs = 3, [], [fb.BufferT()], [graph]
    return pack(model)


def _constants(operators: Iterable[OperatorInfo], contents: ModelContents, tree: Any) -> set[int]:
    """The tensors whose values are known before the first run."""
    given = {*map(int, tree.subgraphs[0].inputs)}
    written = {index for op in operators for index in op.outputs}
    found = {*range(len(contents.tensors))} - given - written
    for operator in operators:
        if operator.inputs and all(index in found for index in operator.inputs if index >= 0):
            found.update(operator.outputs)
    return found


def _reason(operator: OperatorInfo, contents: ModelContents, constant: set[int]) -> str:
    """Why an operator cannot run alone on random inputs; empty where it can."""
    if operator.custom or operator.name in CALLING or operator.name in STATEFUL:
        return "calls other graphs, keeps a state, or is a custom operator"
    live = [index for index in operator.inputs if index >= 0 and index not in constant]
    if not live:
        return "has no inputs"
    tensors = contents.tensors
    if any(tensors[index].dtype not in NUMBERS for index in (*live, *operator.outputs)):
        return "works on other things than numbers"
    first = next(index for index in operator.inputs if index >= 0)
    if any(index != first and tensors[index].dtype in ("int32", "int64") for index in live):
        return "takes a shape or indices that are computed while running"
    return ""


def _preparing(operator: OperatorInfo, constant: set[int], makers: dict[int, OperatorInfo]) -> list[OperatorInfo]:
    """The operators that make an operator's constants, those first that others need."""
    found: list[OperatorInfo] = []
    for index in operator.inputs:
        if index in constant and index in makers:
            found += [*_preparing(makers[index], constant, makers), makers[index]]
    return found


def _cut(tree: Any, operators: list[OperatorInfo], constant: set[int]) -> bytes:
    last = operators[-1]
    live = dict.fromkeys(index for index in last.inputs if index >= 0 and index not in constant)
    return extract(tree, [op.index for op in operators], [*live], last.outputs)
