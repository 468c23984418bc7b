"""Where a runtime lays the tensors between operators: one arena, in which tensors that never live together share bytes.

Both planners are greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288, section 4.3). LiteRT's `ArenaPlanner` takes
the tightest gap, on 64 bytes, and keeps inputs; TFLite Micro's `GreedyMemoryPlanner` the first gap, on
16 bytes. What kernels ask for themselves (scratch buffers), what a delegate keeps instead and the bodies of loops and
branches are in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo, read_contents

Planner = Literal["litert", "micro"]

_LITERT, _MICRO = 64, 16  # bytes on which tensors begin

_ON_VARIABLES = {"READ_VARIABLE", "ASSIGN_VARIABLE"}

_BYTES = {
    **dict.fromkeys(("int8", "uint8", "bool", "int4"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}


class Placed(Struct, frozen=True):
    """A tensor in the arena: bytes, offset, and the operators between which it must live, both included."""

    tensor: str
    bytes: int
    offset: int
    first: int
    last: int


class MemoryPlan(Struct, frozen=True):
    """The arena of a main graph, in bytes.

    `live_bytes` is the most that lives at once, at operator `peak`: no plan is smaller. `persistent_bytes` are states,
    which are kept apart: variable tensors, and resource variables that the graph reads or assigns, counted once for
    each handle. `dynamic` names tensors with open dimensions, counted as 1.
    """

    arena_bytes: int
    live_bytes: int
    peak: int
    persistent_bytes: int
    tensors: tuple[Placed, ...]
    dynamic: tuple[str, ...]


def plan_memory(source: bytes | bytearray | Path | ModelContents, planner: Planner = "litert") -> MemoryPlan:
    """The plan of a file's main graph. Raises ModelError for a damaged file."""
    contents = source if isinstance(source, ModelContents) else read_contents(source)
    moving = lives(contents, planner)
    sizes = {index: tensor_bytes(tensor) for index, tensor in enumerate(contents.tensors)}
    offsets, top = placed(moving, sizes, planner)
    tensors = tuple(
        Placed(contents.tensors[index].name, sizes[index], offset, *moving[index]) for index, offset in offsets.items()
    )
    live = _live_bytes(tensors)
    peak = max(live, key=lambda operator: live[operator], default=0)
    return MemoryPlan(
        arena_bytes=top,
        live_bytes=live.get(peak, 0),
        peak=peak,
        persistent_bytes=sum(_states(contents, sizes).values()),
        tensors=tensors,
        dynamic=tuple(contents.tensors[index].name for index in moving if contents.tensors[index].dynamic),
    )


def tensor_bytes(tensor: TensorInfo) -> int:
    """Bytes of a tensor's values; 0 for strings and other things without a fixed size."""
    return tensor.elements * _BYTES.get(tensor.dtype, 0)


def _states(contents: ModelContents, sizes: dict[int, int]) -> dict[int, int]:
    """{variable tensor, or handle of a resource variable: bytes of what it keeps}."""
    found = {index: sizes[index] for index, tensor in enumerate(contents.tensors) if tensor.variable}
    for operator in contents.operators:
        touched = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
        if operator.subgraph == 0 and operator.name in _ON_VARIABLES and len(touched) == 2:
            handle, value = touched
            found[handle] = sizes[value]
    return found


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


Life = tuple[int, int]


def lives(contents: ModelContents, planner: Planner) -> dict[int, Life]:
    """{tensor: first and last operator that need it}, of what moves in the arena: put in or computed, and no state.

    Outputs live to the end, with LiteRT inputs do, too. TFLite Micro gives room also to what is only read and no
    constant, as the scratch memory of an NPU, from the start.
    """
    operators = [op for op in contents.operators if op.subgraph == 0]
    end = max(len(operators) - 1, 0)
    first = dict.fromkeys(contents.input_indices, 0)
    last = dict(first)
    for number, operator in enumerate(operators):
        for index in operator.outputs:
            first.setdefault(index, number)
            last[index] = number
        if planner == "micro":
            first |= dict.fromkeys(_unwritten(contents, operator) - first.keys(), 0)
        last.update((index, number) for index in operator.inputs if index in first)
    kept = kept_tensors(contents, planner)
    return {
        index: (begin, end if index in kept else last[index])
        for index, begin in first.items()
        if index >= 0 and not contents.tensors[index].variable and tensor_bytes(contents.tensors[index])
    }


def _unwritten(contents: ModelContents, operator: OperatorInfo) -> set[int]:
    """What an operator reads that is no constant, and not empty."""
    read = {index: contents.tensors[index] for index in operator.inputs if index >= 0}
    return {index for index, tensor in read.items() if not tensor.constant_bytes and 0 not in tensor.shape}


def kept_tensors(contents: ModelContents, planner: Planner) -> set[int]:
    """The tensors that nothing may be written over to the end."""
    return {*contents.output_indices, *(contents.input_indices if planner == "litert" else ())}


def placed(moving: dict[int, Life], sizes: dict[int, int], planner: Planner) -> tuple[dict[int, int], int]:
    """{tensor: offset}, and the bytes of the arena."""
    offsets = (_litert if planner == "litert" else _micro)(moving, sizes)
    top = max((offset + sizes[index] for index, offset in offsets.items()), default=0)
    return offsets, top if planner == "litert" else _up(top, _MICRO)


def _litert(moving: dict[int, Life], sizes: dict[int, int]) -> dict[int, int]:
    end = max((last for _, last in moving.values()), default=0)
    whole = sorted(index for index, life in moving.items() if life == (0, end))
    rest = sorted({*moving} - {*whole}, key=lambda index: (-sizes[index], moving[index][0], index))
    return _greedy([*whole, *rest], moving, sizes, _LITERT, lambda gaps: min(gaps, key=lambda gap: gap[1]))


def _micro(moving: dict[int, Life], sizes: dict[int, int]) -> dict[int, int]:
    rounded = {index: _up(size, _MICRO) for index, size in sizes.items()}
    order = sorted(moving, key=lambda index: (-rounded[index], -index))
    return _greedy(order, moving, rounded, _MICRO, lambda gaps: gaps[0])


Gap = tuple[int, int]


def _greedy(
    order: Iterable[int],
    moving: dict[int, Life],
    sizes: dict[int, int],
    alignment: int,
    choose: Callable[[list[Gap]], Gap],
) -> dict[int, int]:
    """{tensor: offset}: each in one of the gaps between those placed before that live at the same time."""
    named = list(order)
    begins, ends = np.array([moving[index] for index in named], np.int64).reshape(-1, 2).T
    found: dict[int, int] = {}
    for number, index in enumerate(named):
        first, last = moving[index]
        together = np.flatnonzero((begins[:number] <= last) & (first <= ends[:number])).tolist()
        beside = sorted((found[other], found[other] + sizes[other]) for other in map(named.__getitem__, together))
        gaps, top = [], 0
        for start, stop in beside:
            begin = _up(top, alignment)
            if begin + sizes[index] <= start:
                gaps.append((begin, start - begin))
            top = max(top, stop)
        found[index] = choose(gaps)[0] if gaps else _up(top, alignment)
    return found


def _live_bytes(tensors: Iterable[Placed]) -> dict[int, int]:
    """{operator: bytes that live while it runs}."""
    live: dict[int, int] = {}
    for one in tensors:
        for operator in range(one.first, one.last + 1):
            live[operator] = live.get(operator, 0) + one.bytes
    return live
