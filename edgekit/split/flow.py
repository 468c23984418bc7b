"""What may be cut in a file: the operators that compute at run time, in order, and the tensors that go between them.

What only prepares constants (DEQUANTIZE of float16 weights) belongs to every segment that reads them, as constants do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edgekit.errors import ModelError
from edgekit.forecast.edgetpu import COMPILED
from edgekit.tflite import flatbuffer
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo, read_contents
from edgekit.tflite.pieces import CALLING, STATEFUL

_BITS = {"float16": 16, "int16": 16, "uint16": 16, "float64": 64, "int64": 64, "complex64": 64}
_BITS |= {"int8": 8, "uint8": 8, "bool": 8, "float32": 32, "int32": 32, "uint32": 32}
_SIZED_BY_VALUES = {"WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"}


class Flow(Struct, frozen=True, eq=False):
    """The operators of a file that compute at run time, by number, in an order in which they can run.

    `shapes` are the stored ones. `constant` are the tensors whose values are known before the first run, `preparing`
    the operators that make an operator's constants. Operators that are `together` share a state and are never parted.
    """

    contents: ModelContents
    shapes: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    constant: frozenset[int]
    preparing: dict[int, tuple[int, ...]]
    together: tuple[frozenset[int], ...]

    def operator(self, number: int) -> OperatorInfo:
        """An operator of the main graph."""
        return self.contents.operators[number]

    def tensor(self, index: int) -> TensorInfo:
        """A tensor of the main graph."""
        return self.contents.tensors[index]

    def read(self, number: int) -> tuple[int, ...]:
        """The tensors that an operator reads and that are computed or fed."""
        found = (index for index in self.operator(number).inputs if index >= 0 and index not in self.constant)
        return tuple(dict.fromkeys(index for index in found if not self.tensor(index).variable))

    def written(self, number: int) -> tuple[int, ...]:
        """The tensors that an operator writes."""
        return tuple(index for index in self.operator(number).outputs if index >= 0)

    @property
    def makers(self) -> dict[int, int]:
        """{tensor: the operator that computes it}."""
        return {index: number for number in self.order for index in self.written(number)}

    def in_order(self, order: Sequence[int]) -> Flow:
        """The same operators in another order in which they can run."""
        return replace(self, order=tuple(order))

    def tensor_bytes(self, index: int) -> int:
        """Bytes of a tensor's values."""
        elements = flatbuffer.bounded_product(self.shapes[index])
        return (elements * _BITS.get(self.tensor(index).dtype, 8) + 7) // 8

    def crossing(self) -> list[tuple[int, ...]]:
        """For each place between operators (0 before the first): the computed tensors that are still to be read."""
        last = {index: place for place, number in enumerate(self.order) for index in self.read(number)}
        alive: dict[int, None] = {}
        found: list[tuple[int, ...]] = [()]
        for place, number in enumerate(self.order):
            alive |= dict.fromkeys(index for index in self.written(number) if last.get(index, -1) > place)
            alive = {index: None for index in alive if last[index] > place}
            found.append(tuple(alive))
        return found

    def cuts(self) -> tuple[int, ...]:
        """The places between two operators where the file may be cut: `place` operators are before it."""
        crossing, fixed = self.crossing(), self._fixed()
        where = {number: place for place, number in enumerate(self.order)}
        spans = [(min(map(where.__getitem__, one)), max(map(where.__getitem__, one))) for one in self.together]
        return tuple(
            place
            for place in range(1, len(self.order))
            if not any(first < place <= last for first, last in spans) and fixed.issuperset(crossing[place])
        )

    def _fixed(self) -> frozenset[int]:
        """The computed tensors of numbers whose size is known before the file runs."""
        sized: set[int] = set()
        for number in self.order:
            if self._sizes_unknown(number, sized):
                sized.update(self.written(number))
        return frozenset(index for index in self.makers if index not in sized and self.tensor(index).dtype in _BITS)

    def _sizes_unknown(self, number: int, sized: set[int]) -> bool:
        """Whether values decide the size of an operator's outputs, or the sizes that are stored of it cannot be.

        A RESHAPE to sizes that are computed is stored with a 1 for each of them. One that leaves only the batch open
        tells all other sizes again.
        """
        operator, unknown = self.operator(number), not sized.isdisjoint(self.read(number))
        if operator.name == "RESHAPE" and not unknown:
            rims = (operator.inputs[0], operator.outputs[0])
            return len({flatbuffer.bounded_product(self.shapes[index]) for index in rims}) > 1
        if operator.name == "RESHAPE":
            return -1 in operator.output_shape[1:]
        return unknown or operator.name in _SIZED_BY_VALUES


def read_flow(model: bytes | Path, name: str | None = None) -> Flow:
    """Read what may be cut in a `.tflite`. Raises ModelError for a damaged file, and for one that cannot be split."""
    label = name or (str(model) if isinstance(model, Path) else "model")
    data = flatbuffer.read_bytes(model)
    contents, graph = read_contents(data, label), read_graph(data, label)
    _refuse(contents, label)
    main = [one for one in contents.operators if one.subgraph == 0]
    constant, makers = _constants(main, contents), {index: one for one in main for index in one.outputs}
    order = _needed(main, contents, constant)
    preparing = {number: _preparing(main[number], constant, makers) for number in order}
    shapes = tuple(tensor.shape for tensor in graph.tensors)
    flow = Flow(contents, shapes, order, constant, preparing, _sharing_state(main, contents))
    computed = flow.makers
    if odd := [contents.tensors[index].name for index in contents.output_indices if index not in computed]:
        raise ModelError(f"{label}: output {odd[0]!r} is computed by no operator", "take it off the model's outputs")
    return flow


def _refuse(contents: ModelContents, label: str) -> None:
    if any(one.custom and one.name == COMPILED for one in contents.operators):
        raise ModelError(f"{label} is compiled for an Edge TPU", "give the file that it was compiled from")
    stateful = next((one for one in contents.operators if one.name in STATEFUL), None)
    if stateful is not None:
        problem = f"{label}: {stateful.name} #{stateful.index} keeps its state outside of the graph"
        raise ModelError(problem, "make the state an input and an output of the model")
    calling = next((one for one in contents.operators if one.name in CALLING), None)
    if calling is not None or contents.subgraphs > 1:
        what = f"{calling.name} #{calling.index} calls another graph" if calling else f"{contents.subgraphs} graphs"
        if calling is None and len(contents.signatures) > 1:
            keys = ", ".join(one.key for one in contents.signatures)
            raise ModelError(f"{label}: {what} for the signatures {keys}", "convert one signature alone")
        raise ModelError(f"{label}: {what}, which cannot be cut", "unroll loops and conditions before converting")
    for tensor in contents.inputs:
        if -1 in tensor.shape[1:]:
            problem = f"{label}: input {tensor.name!r} has open sizes {list(tensor.shape)}"
            raise ModelError(problem, "convert with fixed sizes; only the batch may be open, and is closed")


def _constants(operators: Sequence[OperatorInfo], contents: ModelContents) -> frozenset[int]:
    """The tensors whose values are known before the first run."""
    tensors = contents.tensors
    written = {index for one in operators for index in one.outputs}
    states = {index for index, tensor in enumerate(tensors) if tensor.variable}
    found = {*range(len(tensors))} - {*contents.input_indices} - written - states
    for one in operators:
        if one.inputs and not one.custom and all(index in found for index in one.inputs if index >= 0):
            found.update(one.outputs)
    return frozenset(found)


def _needed(operators: Sequence[OperatorInfo], contents: ModelContents, constant: frozenset[int]) -> tuple[int, ...]:
    """The operators that the outputs need, without those that only prepare constants."""
    wanted, found = {*contents.output_indices}, []
    for one in reversed(operators):
        if wanted.intersection(one.outputs) and not constant.issuperset(one.outputs):
            wanted.update(one.inputs)
            found.append(one.index)
    return tuple(reversed(found))


def _preparing(operator: OperatorInfo, constant: frozenset[int], makers: dict[int, OperatorInfo]) -> tuple[int, ...]:
    """The operators that make an operator's constants, those first that others need."""
    found: list[int] = []
    for index in operator.inputs:
        if index in constant and index in makers:
            found += [*_preparing(makers[index], constant, makers), makers[index].index]
    return tuple(dict.fromkeys(found))


def _sharing_state(operators: Sequence[OperatorInfo], contents: ModelContents) -> tuple[frozenset[int], ...]:
    """Operators that read or write the same variable tensor."""
    users: dict[int, set[int]] = {}
    for one in operators:
        for index in (*one.inputs, *one.outputs):
            if index >= 0 and contents.tensors[index].variable:
                users.setdefault(index, set()).add(one.index)
    return tuple(frozenset(group) for group in users.values() if len(group) > 1)
