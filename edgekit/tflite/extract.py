"""Some operators of a file as a file of their own: their tensors, their constants, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.tflite.surgery import pack, schema


def extract(tree: Any, operators: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The operators of the main graph of `tree` (from `unpack`) by number, in this order, between these tensors.

    Tensors keep their names, types and scales; dimensions left open are closed at the size they have in the file.
    """
    fb, old = schema(), tree.subgraphs[0]
    part, graph = fb.ModelT(), fb.SubGraphT()
    part.version, part.buffers, part.subgraphs = tree.version, [fb.BufferT()], [graph]
    chosen = [old.operators[index] for index in operators]
    used = dict.fromkeys([*inputs, *(index for one in chosen for index in _tensors_of(one)), *outputs])
    place = {index: number for number, index in enumerate(used)} | {-1: -1}
    stored: dict[int, int] = {}
    graph.tensors = [_tensor(part, tree, old.tensors[index], stored) for index in used]
    codes = {code: number for number, code in enumerate(dict.fromkeys(one.opcodeIndex for one in chosen))}
    part.operatorCodes = [tree.operatorCodes[code] for code in codes]
    graph.operators = [_moved(one, place, codes) for one in chosen]
    graph.inputs, graph.outputs = _placed(inputs, place), _placed(outputs, place)
    return pack(part)


def _tensors_of(operator: Any) -> list[int]:
    lists = (operator.inputs, operator.outputs, operator.intermediates)
    return [int(index) for found in lists if found is not None for index in found if index >= 0]


def _tensor(part: Any, tree: Any, tensor: Any, stored: dict[int, int]) -> Any:
    """A tensor with its constant, if it has one, in the buffers of the part; one that is `stored` already is shared."""
    moved, buffer = copy.copy(tensor), tree.buffers[tensor.buffer]
    moved.shapeSignature, moved.buffer = None, 0
    if buffer.data is not None and len(buffer.data):
        if tensor.buffer not in stored:
            stored[tensor.buffer] = len(part.buffers)
            part.buffers.append(buffer)
        moved.buffer = stored[tensor.buffer]
    return moved


def _moved(operator: Any, place: Mapping[int, int], codes: Mapping[int, int]) -> Any:
    moved = copy.copy(operator)
    moved.opcodeIndex = codes[operator.opcodeIndex]
    moved.inputs, moved.outputs = _placed(operator.inputs, place), _placed(operator.outputs, place)
    if operator.intermediates is not None:
        moved.intermediates = _placed(operator.intermediates, place)
    return moved


def _placed(indices: Iterable[int], place: Mapping[int, int]) -> np.ndarray[Any, Any]:
    return np.asarray([place[int(index)] for index in indices], np.int32)
