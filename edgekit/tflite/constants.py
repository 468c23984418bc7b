"""Give constants of a TFLite file other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.tflite import flatbuffer
from edgekit.tflite.surgery import pack, schema, unpack

Array = npt.NDArray[Any]


def with_constants(model: bytes, values: Mapping[int, Array]) -> bytes:
    """The file with other values in constants of its main graph, by index of the tensor; shapes and types stay.

    A buffer that several tensors share is left to the others. Raises ModelError for a tensor that is no constant, or
    for values of another shape or type.
    """
    tree = unpack(model)
    for index, array in values.items():
        tensor = tree.subgraphs[0].tensors[index]
        shape, dtype = tuple(tensor.shape), flatbuffer.type_names()[tensor.type]
        if tree.buffers[tensor.buffer].data is None or (array.shape, array.dtype.name) != (shape, dtype):
            raise ModelError(
                f"tensor {index} ({dtype} {shape}) cannot hold {array.dtype} {array.shape}",
                "give constants of the file, in their own shape and type",
            )
        _set_data(tree, tensor, array)
    return pack(tree)


def _set_data(tree: Any, tensor: Any, values: Array) -> None:
    shared = sum(one.buffer == tensor.buffer for graph in tree.subgraphs for one in graph.tensors) > 1
    if shared:
        tree.buffers.append(schema().BufferT())
        tensor.buffer = len(tree.buffers) - 1
    buffer = tree.buffers[tensor.buffer]
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    buffer.offset = buffer.size = 0
