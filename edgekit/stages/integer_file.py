"""What an integer graph has learned, written back into its file: grids, weights and biases, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.stages.integer_graph import IntegerGraph
from edgekit.stages.integer_pass import Integers
from edgekit.tflite.surgery import pack, schema, unpack


def with_integers(graph: IntegerGraph, integers: Integers) -> bytes:
    """The file of `graph` with other integers; operators and shapes stay as they are."""
    tree = unpack(graph.file)
    tensors = tree.subgraphs[0].tensors
    for group, (scale, zero) in zip(graph.groups, integers.grids, strict=True):
        for index in group:
            _set_grid(tensors[index], [scale], zero)
    for index, (values, scales, zero) in integers.constants.items():
        if scales:
            _set_grid(tensors[index], scales, zero)
        _set_data(tree, tensors[index], values)
    _empty_unread(tree)
    return pack(tree)


def _set_grid(tensor: Any, scales: Sequence[float], zero: int) -> None:
    grid = tensor.quantization
    grid.scale, grid.zeroPoint = list(scales), [zero] * len(scales)
    grid.min = grid.max = None


def _set_data(tree: Any, tensor: Any, values: np.ndarray[Any, Any]) -> None:
    """Give the tensor a buffer of its own: equal constants may have shared one."""
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    buffer.offset = buffer.size = 0
    tree.buffers.append(buffer)
    tensor.buffer = len(tree.buffers) - 1


def _empty_unread(tree: Any) -> None:
    """Take the data from buffers that no tensor reads any more; their places stay, as others come after them."""
    read = {tensor.buffer for graph in tree.subgraphs for tensor in graph.tensors}
    read |= {entry.buffer for entry in tree.metadata or ()}
    for index, buffer in enumerate(tree.buffers):
        if index not in read:
            buffer.data = None
