"""The batched twin: the same network, able to take many samples at once.

A deployed file has a static batch, written also into the constant shapes of its RESHAPE operators, so the runtime
refuses to resize its input. The twin is the same bytes with that leading constant set to -1 ("infer it"): weights,
scales and operators are untouched. Whoever uses it must compare a few samples with the original.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.tflite import flatbuffer


def batched_twin(model: bytes) -> bytes:
    """A copy of a TFLite file whose batch can be resized at run time. Raises ModelError on a damaged file."""
    copy = bytearray(model)
    root = flatbuffer.open_model(copy)
    with flatbuffer.damage_named("model"):
        room = flatbuffer.Room(len(copy))
        for graph in room.items(root.SubgraphsLength, root.Subgraphs):
            _free_batch(root, graph, copy, room)
    return bytes(copy)


def _free_batch(root: Any, graph: Any, model: bytearray, room: flatbuffer.Room) -> None:
    operators = list(room.items(graph.OperatorsLength, graph.Operators))
    reshapes = [operator for operator in operators if _name(root, operator) == "RESHAPE"]
    foreign = {int(i) for operator in operators if operator not in reshapes for i in _inputs(operator)}
    for operator in reshapes:
        inputs = _inputs(operator)
        batch = graph.Tensors(inputs[0]).Shape(0) if graph.Tensors(inputs[0]).ShapeLength() else None
        if len(inputs) < 2 or inputs[1] in foreign:
            continue
        if span := flatbuffer.buffer_span(root, graph.Tensors(inputs[1]).Buffer(), len(model)):
            _release(np.frombuffer(model, np.int32, span[1] // 4, span[0]), batch)
        options = _reshape_options(operator)
        if options is not None and isinstance(options.NewShapeAsNumpy(), np.ndarray):
            _release(options.NewShapeAsNumpy(), batch)


def _release(shape: np.ndarray[Any, Any], batch: int | None) -> None:
    """Set the leading size to -1 in place, if it is the batch and no other size is inferred."""
    if len(shape) and shape[0] == batch and -1 not in shape:
        shape[0] = -1


def _reshape_options(operator: Any) -> Any:
    from tflite.BuiltinOptions import BuiltinOptions
    from tflite.ReshapeOptions import ReshapeOptions

    table = operator.BuiltinOptions()
    if table is None or operator.BuiltinOptionsType() != BuiltinOptions.ReshapeOptions:
        return None
    options = ReshapeOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _inputs(operator: Any) -> list[int]:
    return [operator.Inputs(i) for i in range(operator.InputsLength())]


def _name(root: Any, operator: Any) -> str:
    code = root.OperatorCodes(operator.OpcodeIndex())
    return flatbuffer.operator_names().get(flatbuffer.operator_number(code), "")
