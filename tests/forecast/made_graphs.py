"""Graphs of one or a few operators, as values: what a rule of a delegate looks at, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from edgekit.tflite.graph import Graph, Operator, Option, Tensor

_BYTES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "uint8": "u1", "int32": "<i4", "int64": "<i8", "bool": "?"}


def fed(
    shape: Sequence[int], dtype: str = "float32", scales: Sequence[float] | None = None, zero: int = 0, name: str = "x"
) -> Tensor:
    """A tensor that is computed; 8 bits have one scale unless told."""
    given = (0.5,) if scales is None and dtype in ("int8", "uint8") else tuple(scales or ())
    return Tensor(name, tuple(shape), tuple(shape), dtype, given, (zero,) * len(given))


def constant(values: object, dtype: str = "float32", scales: Sequence[float] = ()) -> Tensor:
    """A tensor that is stored."""
    array = np.asarray(values, _BYTES[dtype])
    return Tensor(
        "constant", array.shape, array.shape, dtype, tuple(scales), (0,) * len(scales), data=memoryview(array.tobytes())
    )


def zeros(*shape: int, dtype: str = "float32") -> Tensor:
    """A tensor of zeros that is stored."""
    return constant(np.zeros(shape), dtype)


def operator(
    name: str,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    version: int = 1,
    custom: bool = False,
    **options: Option,
) -> Graph:
    """A graph of one operator; its outputs are tensors of their own."""
    return chain([(name, inputs, [replace(tensor) for tensor in outputs], version, custom, options)])


def chain(
    steps: Sequence[tuple[str, Sequence[Tensor | None], Sequence[Tensor], int, bool, dict[str, Option]]],
) -> Graph:
    """A graph of operators; the same tensor object is the same tensor."""
    tensors: list[Tensor] = []

    def place(tensor: Tensor | None) -> int:
        if tensor is None:
            return -1
        known = next((index for index, other in enumerate(tensors) if other is tensor), None)
        if known is None:
            tensors.append(tensor)
            return len(tensors) - 1
        return known

    made = tuple(
        Operator(index, name, version, custom, tuple(map(place, inputs)), tuple(map(place, outputs)), options)
        for index, (name, inputs, outputs, version, custom, options) in enumerate(steps)
    )
    return Graph(made, tuple(tensors), (), ())


def step(
    name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], version: int = 1, **options: Option
) -> tuple[str, Sequence[Tensor | None], Sequence[Tensor], int, bool, dict[str, Option]]:
    """One operator of a chain."""
    return name, inputs, outputs, version, False, options
