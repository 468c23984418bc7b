"""Look inside a deployed file: the same operators, with the tensors between them as outputs."""

from __future__ import annotations

import numpy as np

from edgekit.tflite.inspect import read_contents
from edgekit.tflite.surgery import pack, unpack

_NUMBERS = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")


def with_inner_outputs(model: bytes) -> bytes:
    """The model with every tensor that its main graph computes as an output, in the order in which they are computed.

    Raises ModelError for a damaged file, MissingDependency where no LiteRT is installed.
    """
    contents, tree = read_contents(model), unpack(model)
    written = [index for op in contents.operators if op.subgraph == 0 for index in op.outputs]
    numeric = [index for index in written if contents.tensors[index].dtype in _NUMBERS]
    graph = tree.subgraphs[0]
    graph.outputs = np.asarray(list(dict.fromkeys(numeric)), graph.outputs.dtype)
    tree.signatureDefs = []  # they name the outputs as they were
    return pack(tree)
