"""Where a runtime lays the tensors between operators: one arena, in which tensors that never live together share bytes.

Both planners are greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288, section 4.3). LiteRT's `ArenaPlanner` takes
the tightest gap, on 64 bytes, and keeps inputs; TFLite Micro's `GreedyMemoryPlanner` the first gap, on
16 bytes. What kernels ask for themselves (scratch buffers) and what a delegate keeps instead is in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents

Planner = Literal["litert", "micro"]

_LITERT, _MICRO = 64, 16  # bytes on which tensors begin

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
    which are kept apart. `dynamic` names tensors with open dimensions, counted as 1.
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
    lives = _lives(contents, keep_inputs=planner == "litert")
    states = {index for index, tensor in enumerate(contents.tensors) if tensor.variable}
    sizes = {index: tensor_bytes(contents.tensors[index]) for index in {*lives, *states}}
    moving = {index: life for index, life in lives.items() if index not in states and sizes[index]}
    place, unit = (_litert, 1) if planner == "litert" else (_micro, _MICRO)
    offsets = place(moving, sizes)
    tensors = tuple(
        Placed(contents.tensors[index].name, sizes[index], offset, *moving[index]) for index, offset in offsets.items()
    )
    live = _live_bytes(tensors)
    peak = max(live, key=lambda operator: live[operator], default=0)
    top = max((one.offset + one.bytes for one in tensors), default=0)
    return MemoryPlan(
        arena_bytes=_up(top, unit),
        live_bytes=live.get(peak, 0),
        peak=peak,
        persistent_bytes=sum(sizes[index] for index in states),
        tensors=tensors,
        dynamic=tuple(contents.tensors[index].name for index in moving if contents.tensors[index].dynamic),
    )


def tensor_bytes(tensor: TensorInfo) -> int:
    """Bytes of a tensor's values; 0 for strings and other things without a fixed size."""
    return tensor.elements * _BYTES.get(tensor.dtype, 0)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


Life = tuple[int, int]


def _lives(contents: ModelContents, keep_inputs: bool) -> dict[int, Life]:
    """{tensor: first and last operator that need it}, of what is computed or put in; outputs live to the end."""
    operators = [op for op in contents.operators if op.subgraph == 0]
    end = max(len(operators) - 1, 0)
    inputs, outputs = set(contents.input_indices), set(contents.output_indices)
    first = dict.fromkeys(contents.input_indices, 0)
    last = dict(first)
    for number, operator in enumerate(operators):
        for index in operator.outputs:
            first.setdefault(index, number)
            last[index] = number
        for index in operator.inputs:
            if index in first:
                last[index] = number
    kept = outputs | (inputs if keep_inputs else set())
    return {index: (begin, end if index in kept else last[index]) for index, begin in first.items() if index >= 0}


def _litert(lives: dict[int, Life], sizes: dict[int, int]) -> dict[int, int]:
    end = max((last for _, last in lives.values()), default=0)
    whole = sorted(index for index, life in lives.items() if life == (0, end))
    rest = sorted({*lives} - {*whole}, key=lambda index: (-sizes[index], lives[index][0], index))
    return _greedy([*whole, *rest], lives, sizes, _LITERT, lambda gaps: min(gaps, key=lambda gap: gap[1]))


def _micro(lives: dict[int, Life], sizes: dict[int, int]) -> dict[int, int]:
    rounded = {index: _up(size, _MICRO) for index, size in sizes.items()}
    order = sorted(lives, key=lambda index: (-rounded[index], -index))
    return _greedy(order, lives, rounded, _MICRO, lambda gaps: gaps[0])


Gap = tuple[int, int]


def _greedy(
    order: Iterable[int],
    lives: dict[int, Life],
    sizes: dict[int, int],
    alignment: int,
    choose: Callable[[list[Gap]], Gap],
) -> dict[int, int]:
    """{tensor: offset}: each in one of the gaps between those placed before that live at the same time."""
    placed: dict[int, int] = {}
    for index in order:
        first, last = lives[index]
        beside = sorted(
            (offset, offset + sizes[other])
            for other, offset in placed.items()
            if lives[other][0] <= last and first <= lives[other][1]
        )
        gaps, top = [], 0
        for start, stop in beside:
            begin = _up(top, alignment)
            if begin + sizes[index] <= start:
                gaps.append((begin, start - begin))
            top = max(top, stop)
        placed[index] = choose(gaps)[0] if gaps else _up(top, alignment)
    return placed


def _live_bytes(tensors: Iterable[Placed]) -> dict[int, int]:
    """{operator: bytes that live while it runs}."""
    live: dict[int, int] = {}
    for one in tensors:
        for operator in range(one.first, one.last + 1):
            live[operator] = live.get(operator, 0) + one.bytes
    return live
