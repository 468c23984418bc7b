"""TFLite files of one or a few operators with any options, types, scales and constants, by the schema's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_NUMPY = {"float32": "f4", "float16": "f2", "int8": "i1", "uint8": "u1", "int16": "i2", "int32": "i4", "int64": "i8"}


class Toy:
    """Collects tensors and operators, and writes the file."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        shape: Sequence[int],
        kind: str = "float32",
        scales: Sequence[float] | None = None,
        zeros: Sequence[int] | None = None,
        axis: int = 0,
        data: Any = None,
    ) -> int:
        """Index of a new tensor; 8 or 16 bits: with the scale 0.1 unless told. `data` makes a constant (True: ones)."""
        tensor = schema.TensorT()
        tensor.name, tensor.type = f"t{len(self.graph.tensors)}", getattr(schema.TensorType, kind.upper())
        tensor.shape = [max(size, 1) if size < 0 else size for size in shape]
        if min(shape, default=0) < 0:
            tensor.shapeSignature = list(shape)
        if scales is None and kind in ("int8", "uint8", "int16"):
            scales = [0.1]
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = list(zeros) if zeros else [0] * len(scales)
            tensor.quantization.quantizedDimension = axis
        if data is not None:
            self._store(tensor, np.full(tensor.shape, 1) if data is True else np.asarray(data), kind)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _store(self, tensor: Any, values: np.ndarray[Any, Any], kind: str) -> None:
        buffer = schema.BufferT()
        values = np.ones((int(np.prod(tensor.shape)) + 1) // 2) if kind == "int4" else values
        buffer.data = np.frombuffer(values.astype(_NUMPY.get(kind, "i1")).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str = "",
        version: int = 1,
        **options: Any,
    ) -> None:
        """Add an operator with the options table of that name, such as `Conv2DOptions`; unknown names are custom."""
        code = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), version
        entry.customCode = name if code == schema.BuiltinOperator.CUSTOM else None
        self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if table:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            vars(operator.builtinOptions).update(options)
        self.graph.operators.append(operator)

    def signature(self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int], subgraph: int = 0) -> None:
        """Add an entry point: names of arguments -> tensors."""
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = key, subgraph
        entry.inputs, entry.outputs = _arguments(inputs), _arguments(outputs)
        self.model.signatureDefs = [*(self.model.signatureDefs or []), entry]

    def bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _arguments(named: Mapping[str, int]) -> list[Any]:
    made = [schema.TensorMapT() for _ in named]
    for argument, (name, index) in zip(made, named.items(), strict=True):
        argument.name, argument.tensorIndex = name, index
    return made
