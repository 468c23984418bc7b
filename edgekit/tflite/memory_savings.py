"""What the arena could be: with operators that write over their input, or in another order.

Neither runtime writes over the inputs of all of these operators, and both run a file in the order in which it was
written: this is to know whether a change would be worth the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import pairwise

from msgspec import Struct, structs

from edgekit.tflite.inspect import ModelContents, OperatorInfo
from edgekit.tflite.memory_plan import Planner, kept_tensors, lives, placed, plan_memory, tensor_bytes
from edgekit.tflite.pieces import CALLING, STATEFUL

IN_PLACE = {
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "NEG", "ABS", "SQUARE", "SQRT", "RSQRT", "EXP"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "PRELU", "HARD_SWISH", "LOGISTIC", "TANH", "GELU"),
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE", "DEQUANTIZE", "CAST"),
}


class Savings(Struct, frozen=True):
    """Bytes of the arena if operators wrote over an input that dies with them, and in a better order of operators."""

    in_place_bytes: int
    reordered_bytes: int


def savings(contents: ModelContents, planner: Planner) -> Savings:
    """The arena of a file's main graph under both; never above the arena as it is."""
    now = plan_memory(contents, planner).arena_bytes
    moved = structs.replace(contents, operators=_lean_order(contents, planner))
    return Savings(min(now, _in_place(contents, planner)), min(now, plan_memory(moved, planner).arena_bytes))


def _in_place(contents: ModelContents, planner: Planner) -> int:
    """The arena with each such pair of tensors as one, which lives as long as both."""
    moving, kept = lives(contents, planner), kept_tensors(contents, planner)
    sizes = {index: tensor_bytes(tensor) for index, tensor in enumerate(contents.tensors)}
    main = [op for op in contents.operators if op.subgraph == 0]
    for number, operator in enumerate(main):
        for output in operator.outputs if operator.name in IN_PLACE else ():
            free = [i for i in operator.inputs if i in moving and i not in kept and sizes[i] == sizes[output]]
            dying = [i for i in free if moving[i][1] == number]
            if dying and output in moving and output not in operator.inputs:
                begin, _ = moving.pop(dying[0])
                moving[output] = (begin, moving[output][1])
    return placed(moving, sizes, planner)[1]


def _lean_order(contents: ModelContents, planner: Planner) -> tuple[OperatorInfo, ...]:
    """Of the operators that can run, always the one after which least is alive; the first of equals.

    Those that keep a state stay in their order.
    """
    waiting = _Waiting(contents, planner)
    return tuple(waiting.operators[place] for place in waiting)


class _Waiting:
    """Operators by place: for how many things each waits, and those that can run, in a heap by what they add.

    What an operator adds only shrinks: when it becomes the last reader of a tensor. Then it is put in once more.
    """

    def __init__(self, contents: ModelContents, planner: Planner) -> None:
        self.operators = [op for op in contents.operators if op.subgraph == 0]
        self.sizes = {index: tensor_bytes(contents.tensors[index]) for index in lives(contents, planner)}
        self.kept = kept_tensors(contents, planner)
        self.unwritten = {index for op in self.operators for index in op.outputs}
        self.readers: dict[int, set[int]] = {}
        for place, op in enumerate(self.operators):
            for index in op.inputs:
                self.readers.setdefault(index, set()).add(place)
        states = [place for place, op in enumerate(self.operators) if _keeps_state(op, contents)]
        self.successor = dict(pairwise(states))
        self.left = [len(self.unwritten & {*op.inputs}) for op in self.operators]
        for place in states[1:]:
            self.left[place] += 1
        self.todo = dict.fromkeys(range(len(self.operators)))
        self.heap: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[int]:
        for place in self.todo:
            self._offer(place)
        while self.todo:
            _, place = heappop(self.heap) if self.heap else (0, next(iter(self.todo)))
            if place in self.todo:
                del self.todo[place]
                self._run(place)
                yield place

    def _offer(self, place: int) -> None:
        if not self.left[place] and place in self.todo:
            heappush(self.heap, (self._growth(self.operators[place]), place))

    def _growth(self, operator: OperatorInfo) -> int:
        freed = [i for i in {*operator.inputs} & self.sizes.keys() if len(self.readers[i]) == 1 and i not in self.kept]
        return sum(self.sizes.get(index, 0) for index in operator.outputs) - sum(self.sizes[index] for index in freed)

    def _run(self, place: int) -> None:
        operator = self.operators[place]
        for index in {*operator.inputs}:
            self.readers[index].remove(place)
            if len(self.readers[index]) == 1:
                self._offer(next(iter(self.readers[index])))
        written = self.unwritten & {*operator.outputs}
        self.unwritten -= written
        freed = [other for index in written for other in self.readers.get(index, ())]
        for other in [*freed, *([self.successor[place]] if place in self.successor else [])]:
            self.left[other] -= 1
            self._offer(other)


def _keeps_state(operator: OperatorInfo, contents: ModelContents) -> bool:
    tensors = [contents.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return operator.name in STATEFUL | CALLING or any(
        tensor.variable or tensor.dtype == "resource" for tensor in tensors
    )
