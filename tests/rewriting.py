"""What the tests of graph rewriting ask of a file: its operators, its pieces, its answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.tflite.graph import read_graph

Array = np.ndarray[Any, Any]


def names(file: bytes) -> list[str]:
    """The operators in their order."""
    return [operator.name for operator in read_graph(file).operators]


def partitions(file: bytes) -> int:
    """How many pieces XNNPACK makes of the file."""
    return forecast_xnnpack(read_graph(file)).partitions


def every_integer(shape: tuple[int, ...]) -> Array:
    """Each int8 value, as one sample of this shape."""
    return np.resize(np.arange(-128, 128, dtype=np.int8), shape)


def answers(file: bytes, *inputs: Array, xnnpack: bool = True) -> list[Array]:
    """The outputs of one run, as real numbers of the type that they have in the file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=file, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).astype(np.float64) for detail in interpreter.get_output_details()]
