"""What the arena could be: with operators that write over their input, or in another order.

Neither runtime writes over the inputs of all of these operators, and both run a file in the order in which it was
written: this is to know whether a change would be worth the work.
"""

from __future__ import annotations

from msgspec import Struct, structs

from edgekit.tflite.inspect import ModelContents, OperatorInfo
from edgekit.tflite.memory_plan import Planner, lives, placed, plan_memory, tensor_bytes
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
    moving = lives(contents, planner)
    sizes = {index: tensor_bytes(tensor) for index, tensor in enumerate(contents.tensors)}
    main = [op for op in contents.operators if op.subgraph == 0]
    for number, operator in enumerate(main):
        for output in operator.outputs if operator.name in IN_PLACE else ():
            dying = [i for i in operator.inputs if i in moving and moving[i][1] == number and sizes[i] == sizes[output]]
            if dying and output in moving:
                begin, _ = moving.pop(dying[0])
                moving[output] = (begin, moving[output][1])
    return placed(moving, sizes, planner)[1]


def _lean_order(contents: ModelContents, planner: Planner) -> tuple[OperatorInfo, ...]:
    """Of the operators that can run, always the one after which least is alive; the first of equals.

    Those that keep a state stay in their order.
    """
    waiting = [op for op in contents.operators if op.subgraph == 0]
    sizes = {index: tensor_bytes(contents.tensors[index]) for index in lives(contents, planner)}
    kept = {*contents.output_indices, *(contents.input_indices if planner == "litert" else ())}
    written = {index for op in waiting for index in op.outputs}
    readers = {index: sum(index in op.inputs for op in waiting) for index in sizes}
    order: list[OperatorInfo] = []
    while waiting:
        state = next((op for op in waiting if _keeps_state(op, contents)), None)
        ready = [op for op in waiting if not written & {*op.inputs} and (op is state or not _keeps_state(op, contents))]
        chosen = min(ready or waiting[:1], key=lambda op: _growth(op, sizes, readers, kept))
        waiting.remove(chosen)
        order.append(chosen)
        written -= {*chosen.outputs}
        for index in {*chosen.inputs} & {*readers}:
            readers[index] -= 1
    return tuple(order)


def _keeps_state(operator: OperatorInfo, contents: ModelContents) -> bool:
    tensors = [contents.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return operator.name in STATEFUL | CALLING or any(
        tensor.variable or tensor.dtype == "resource" for tensor in tensors
    )


def _growth(operator: OperatorInfo, sizes: dict[int, int], readers: dict[int, int], kept: set[int]) -> int:
    freed = [i for i in {*operator.inputs} & {*sizes} if readers[i] == 1 and i not in kept]
    return sum(sizes.get(index, 0) for index in operator.outputs) - sum(sizes[index] for index in freed)
