"""The main graph of a TFLite file while it is being edited: operators by object, tensors by number.

A rule replaces an operator by others at its place, so the order of execution stays one. What nobody reads any more is
dropped at the end, with its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.tflite import flatbuffer
from edgekit.tflite.surgery import operator_code, pack, schema, unpack

Array = NDArray[Any]


class Edit:
    """A file unpacked; `done` packs it again. Raises ModelError for bytes that are no TFLite file."""

    def __init__(self, model: bytes) -> None:
        self.fb, self.tree = schema(), unpack(model)
        self.graph = self.tree.subgraphs[0]
        self._types = flatbuffer.type_names()
        self._names: dict[bytes, int] = dict.fromkeys((tensor.name or b"" for tensor in self.graph.tensors), 0)
        self._index()

    def _index(self) -> None:
        self.makers: dict[int, Any] = {}
        self.readers: dict[int, list[Any]] = {}
        for operator in self.graph.operators:
            self.makers.update(dict.fromkeys(map(int, operator.outputs), operator))
            for index in {int(index) for index in operator.inputs}:
                self.readers.setdefault(index, []).append(operator)

    def name(self, operator: Any) -> str:
        """The operator's name in the schema; a custom one has its own."""
        code = self.tree.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            return f"custom {code.customCode.decode('utf-8', 'replace')}"
        return flatbuffer.operator_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "")

    def tensor(self, index: int) -> Any:
        """A tensor by number."""
        return self.graph.tensors[int(index)]

    def dtype(self, index: int) -> str:
        """Its type, as `int8`."""
        return self._types.get(self.tensor(index).type, "")

    def shape(self, index: int) -> tuple[int, ...]:
        """Its stored shape."""
        found = self.tensor(index).shape
        return () if found is None else tuple(int(size) for size in found)

    def open(self, index: int) -> bool:
        """Whether a size beyond the batch is open: the stored shape then says 1, and any may come."""
        signature = self.tensor(index).shapeSignature
        return signature is not None and bool((np.asarray(signature)[1:] < 0).any())

    def grid(self, index: int) -> tuple[float, int] | None:
        """Scale and zero point of a tensor that has one of each; None for any other."""
        found = self.tensor(index).quantization
        if found is None or found.scale is None or len(found.scale) != 1 or len(found.zeroPoint) != 1:
            return None
        return float(found.scale[0]), int(found.zeroPoint[0])

    def constant(self, index: int) -> Array | None:
        """The values of a constant in its shape; None for what is computed, or stored in another way."""
        if index < 0 or self.tensor(index).sparsity is not None:
            return None
        data, kind = self.tree.buffers[self.tensor(index).buffer].data, getattr(np, self.dtype(index), None)
        if data is None or kind is None:
            return None
        shape = self.shape(index)
        if len(data) != np.dtype(kind).itemsize * int(np.prod(shape)):
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), kind).reshape(shape)

    def holds(self, operator: Any) -> bool:
        """Whether an operator is in the graph still; a rule may have replaced it together with another."""
        return all(self.makers.get(int(index)) is operator for index in operator.outputs)

    def is_rim(self, index: int) -> bool:
        """Whether a tensor goes in or out of the graph."""
        return int(index) in {*map(int, self.graph.inputs), *map(int, self.graph.outputs)}

    def only_reader(self, index: int) -> Any | None:
        """The one operator that reads a tensor; None if there are more, or if the tensor goes out of the graph."""
        found = self.readers.get(int(index), [])
        return found[0] if len(found) == 1 and not self.is_rim(index) else None

    def like(self, index: int, suffix: str, **changes: Any) -> int:
        """A new computed tensor with the properties of another one, but for the changes; gives its number."""
        made = copy(self.tensor(index))
        made.name, made.buffer, made.shapeSignature = (made.name or b"") + suffix.encode(), 0, None
        return self._append(made, changes)

    def alias(self, index: int, scales: Array) -> int:
        """A second reading of a constant: the same bytes under other scales."""
        made = copy(self.tensor(index))
        made.quantization = copy(made.quantization)
        made.quantization.scale = np.asarray(scales, np.float32)
        return self._append(made, {})

    def store(self, name: str, values: Array, scales: Sequence[float] | Array = (), axis: int = 0) -> int:
        """A new constant, with zero points of 0 where it has scales; gives its number."""
        fb = self.fb
        buffer, made = fb.BufferT(), fb.TensorT()
        buffer.data, buffer.offset, buffer.size = np.frombuffer(values.tobytes(), np.uint8), 0, 0
        self.tree.buffers.append(buffer)
        made.name, made.shape, made.hasRank = name.encode(), np.array(values.shape, np.int32), True
        made.type, made.buffer = getattr(fb.TensorType, values.dtype.name.upper()), len(self.tree.buffers) - 1
        if len(scales):
            made.quantization = self.grid_of(scales, [0] * len(scales), axis)
        return self._append(made, {})

    def grid_of(self, scales: Sequence[float] | Array, zeros: Sequence[int], axis: int = 0) -> Any:
        """Quantization parameters: q = value / scale + zero."""
        made = self.fb.QuantizationParametersT()
        made.scale, made.zeroPoint = np.array(scales, np.float32), np.array(zeros, np.int64)
        made.quantizedDimension = axis
        return made

    def _append(self, tensor: Any, changes: dict[str, Any]) -> int:
        for field, value in changes.items():
            setattr(tensor, field, value)
        tensor.name = self._free_name(tensor.name or b"")
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _free_name(self, wished: bytes) -> bytes:
        """The name, with a number where it is taken: quantizers find tensors by their names."""
        self._names[wished] = number = self._names.get(wished, -1) + 1
        return self._free_name(wished + b"_%d" % number) if number else wished

    def operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> Any:
        """A new operator with these options, of the first version that takes int8; it is in no graph yet."""
        made, table = self.fb.OperatorT(), _OPTIONS[name]
        made.opcodeIndex = operator_code(self.tree, name, _VERSIONS[name])
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        made.builtinOptionsType = getattr(self.fb.BuiltinOptions, table)
        made.builtinOptions = getattr(self.fb, f"{table}T")()
        for field, value in options.items():
            setattr(made.builtinOptions, field, value)
        return made

    def replace(self, operator: Any, *others: Any) -> None:
        """Put other operators, in their order, at the place of one."""
        place = next(at for at, each in enumerate(self.graph.operators) if each is operator)
        self.graph.operators[place : place + 1] = others
        self._index()

    def drop_unread_casts(self) -> None:
        """Remove each QUANTIZE and DEQUANTIZE of which nobody reads the result any more."""
        wanted = {int(index) for index in self.graph.outputs}
        kept = []
        for operator in reversed(self.graph.operators):
            cast = self.name(operator) in ("QUANTIZE", "DEQUANTIZE")
            if not cast or wanted.intersection(map(int, operator.outputs)):
                kept.append(operator)
                wanted.update(map(int, operator.inputs))
        self.graph.operators = kept[::-1]
        self._index()

    def done(self) -> bytes:
        """The edited file, without tensors that nobody reads or writes."""
        kept = self._used()
        new = {old: at for at, old in enumerate(kept)}
        for operator in self.graph.operators:
            operator.inputs = _renumbered(operator.inputs, new)
            operator.outputs = _renumbered(operator.outputs, new)
            if operator.intermediates is not None:
                operator.intermediates = _renumbered(operator.intermediates, new)
        self.graph.inputs, self.graph.outputs = (
            _renumbered(self.graph.inputs, new),
            _renumbered(self.graph.outputs, new),
        )
        for signature in self.tree.signatureDefs or []:
            if signature.subgraphIndex == 0:
                for argument in (*(signature.inputs or []), *(signature.outputs or [])):
                    argument.tensorIndex = new[argument.tensorIndex]
        self.graph.tensors = [self.graph.tensors[old] for old in kept]
        self._drop_bytes()
        return pack(self.tree)

    def _used(self) -> list[int]:
        lists = [self.graph.inputs, self.graph.outputs]
        for each in self.graph.operators:
            lists += [each.inputs, each.outputs, each.intermediates if each.intermediates is not None else []]
        for signature in self.tree.signatureDefs or []:
            if signature.subgraphIndex == 0:
                both = (*(signature.inputs or []), *(signature.outputs or []))
                lists.append([argument.tensorIndex for argument in both])
        return sorted({int(index) for found in lists for index in found if index >= 0})

    def _drop_bytes(self) -> None:
        read = {tensor.buffer for graph in self.tree.subgraphs for tensor in graph.tensors}
        read |= {entry.buffer for entry in self.tree.metadata or []}
        for index, buffer in enumerate(self.tree.buffers):
            if index not in read:
                buffer.data = None


def _renumbered(indices: Any, new: dict[int, int]) -> Array:
    return np.array([new.get(int(index), -1) for index in indices], np.int32)


_OPTIONS = {
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "QUANTIZE": "QuantizeOptions",
    "DEQUANTIZE": "DequantizeOptions",
}
# the first versions of the runtime's own kernels that take int8 (tensorflow/lite/tools/versioning/op_version.cc)
_VERSIONS = {**dict.fromkeys(_OPTIONS, 2), "DEPTHWISE_CONV_2D": 3}
