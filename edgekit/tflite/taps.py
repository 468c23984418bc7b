"""Look inside a deployed file: the same operators, with the tensors between them as outputs or as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.pieces import NUMBERS
from edgekit.tflite.surgery import pack, unpack


def with_inner_outputs(model: bytes) -> bytes:
    """The model with every tensor that its main graph computes as an output, in the order in which they are computed.

    Raises ModelError for a damaged file, MissingDependency where no LiteRT is installed.
    """
    tree = unpack(model)
    graph = tree.subgraphs[0]
    graph.outputs = np.asarray(computed_tensors(read_contents(model)), graph.outputs.dtype)
    tree.signatureDefs = []  # they name the outputs as they were
    return pack(tree)


def computed_tensors(contents: ModelContents) -> list[int]:
    """The tensors of numbers that the main graph computes, in the order in which they are computed."""
    written = [index for op in contents.operators if op.subgraph == 0 for index in op.outputs]
    return list(dict.fromkeys(index for index in written if contents.tensors[index].dtype in NUMBERS))


def with_operators_apart(model: bytes, tensors: Sequence[int]) -> bytes:
    """The model with each of `tensors` (of its main graph, by index) fed: what was read from it is read from an input.

    The new inputs come after those that there are, in the order of `tensors`. Each tensor is still written, under its
    old number: so a run gives what each operator alone makes of what it is fed.
    """
    tree = unpack(model)
    graph, fed = tree.subgraphs[0], {}
    for index in tensors:
        twin = copy(graph.tensors[index])
        twin.name = b"fed_" + (twin.name or b"")
        graph.tensors.append(twin)
        fed[index] = len(graph.tensors) - 1
    for operator in graph.operators:
        operator.inputs = np.array([fed.get(int(index), int(index)) for index in operator.inputs], np.int32)
    graph.inputs = np.array([*graph.inputs, *fed.values()], np.int32)
    tree.signatureDefs = []  # they name the inputs as they were
    return pack(tree)
