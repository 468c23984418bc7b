"""Which operator and tensor of a float32 file an operator and tensor of its int8 file stand for.

Both come from one network, but converters name tensors differently, fuse an activation or leave it alone, write NEG as
a product, and put casts at the rims. So casts are left out, and the rest is aligned in its order: by the name of the
written tensor where both files have it once, else by the operator and the shape that it writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from edgekit.data.match import plain_name
from edgekit.errors import ModelError
from edgekit.stages.integer_graph import BIAS_PLACE, WEIGHTED
from edgekit.tflite.graph import Graph, Operator, Tensor, read_graph

_CASTS = {"QUANTIZE", "DEQUANTIZE"}
_ACTIVATIONS = {"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"}
_SAME = {"NEG": "MUL"}
_MEND = "give the float file, or the Keras model, that the int8 file was made from"


@dataclass(frozen=True, eq=False)
class Pairing:
    """An int8 file beside its float file.

    `operators` are pairs (float, int8); `meaning` gives for a tensor of the int8 file the tensor of the float file that
    it stands for, casts included.
    """

    float: Graph = field(repr=False)
    int8: Graph = field(repr=False)
    operators: tuple[tuple[Operator, Operator], ...] = field(repr=False)
    meaning: dict[int, int] = field(repr=False)

    def kernel(self, pair: tuple[Operator, Operator]) -> tuple[Tensor, Tensor] | None:
        """The constant kernels of a pair of operators with weights, float and int8; None for any other pair."""
        return self._constants(pair, WEIGHTED.get(pair[1].name))

    def bias(self, pair: tuple[Operator, Operator]) -> tuple[Tensor, Tensor] | None:
        """The constant biases of a pair of operators with weights; None where there is none."""
        return self._constants(pair, BIAS_PLACE.get(pair[1].name))

    def _constants(self, pair: tuple[Operator, Operator], place: int | None) -> tuple[Tensor, Tensor] | None:
        if place is None or any(len(one.inputs) <= place or one.inputs[place] < 0 for one in pair):
            return None
        ours, theirs = self.float.tensors[pair[0].inputs[place]], self.int8.tensors[pair[1].inputs[place]]
        return (ours, theirs) if ours.values() is not None and theirs.values() is not None else None


def paired(quantized: bytes, source: bytes) -> Pairing:
    """Pair the files. Raises ModelError where they are not the same network, or `quantized` has no integers."""
    theirs, ours = read_graph(source, "the float file"), read_graph(quantized, "the int8 file")
    _refuse_types(ours, theirs)
    _refuse_rims(ours, theirs)
    pairs = _aligned(theirs, ours)
    _refuse_unlike(theirs, ours, pairs)
    meaning = dict(zip(ours.inputs, theirs.inputs, strict=True))
    later = _fused(theirs, {one.index for one, _ in pairs})
    for one, other in pairs:
        meaning |= {b: later.get(a, a) for a, b in zip(one.outputs, other.outputs, strict=False)}
    return Pairing(theirs, ours, tuple(pairs), _through_casts(ours, _of_one_name(theirs, ours) | meaning))


def _of_one_name(theirs: Graph, ours: Graph) -> dict[int, int]:
    """Activations that have one name and shape in both files, whatever operators a rewrite has put before them."""
    known = {t.name: index for index, t in enumerate(theirs.tensors) if not t.constant and t.dtype == "float32"}
    return {
        index: known[t.name]
        for index, t in enumerate(ours.tensors)
        if t.name in known and not t.constant and theirs.tensors[known[t.name]].shape == t.shape
    }


def _refuse_types(ours: Graph, theirs: Graph) -> None:
    integers = {t.dtype for t in ours.tensors if t.scales and not t.constant and t.dtype != "int32"}
    if not integers:
        raise ModelError("the file to explain computes in float: it has no quantized activation", "give the int8 file")
    if any(t.scales for t in theirs.tensors):
        raise ModelError("the reference is quantized itself, so nothing can be measured against it", _MEND)
    strange = [op for op in ours.operators if op.custom]
    if strange:
        raise ModelError(
            f"the file has the custom operator {strange[0].name} (#{strange[0].index}), which no interpreter here runs",
            "explain the file as it was before a compiler or a custom converter changed it",
        )


def _refuse_rims(ours: Graph, theirs: Graph) -> None:
    for side, mine, other in (("inputs", ours.inputs, theirs.inputs), ("outputs", ours.outputs, theirs.outputs)):
        shapes = [[g.tensors[i].shape for i in ends] for g, ends in ((ours, mine), (theirs, other))]
        if shapes[0] != shapes[1]:
            refuse_other_order(ours, theirs)
            raise ModelError(f"the files have unlike {side}: {shapes[0]} and, in float, {shapes[1]}", _MEND)


def refuse_other_order(ours: Graph, theirs: Graph) -> None:
    """Raise ModelError where inputs or outputs of the files have the same names in another order.

    Both are given the same samples, by their places.
    """
    for side, mine, other in (("inputs", ours.inputs, theirs.inputs), ("outputs", ours.outputs, theirs.outputs)):
        names = [[plain_name(g.tensors[i].name) for i in ends] for g, ends in ((ours, mine), (theirs, other))]
        if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
            raise ModelError(
                f"the {side} come in another order: {', '.join(names[0])} and, in float, {', '.join(names[1])}",
                "make the int8 file from this float model, or give the float .tflite of the int8 file's own conversion",
            )


def _aligned(theirs: Graph, ours: Graph) -> list[tuple[Operator, Operator]]:
    sides = [[op for op in graph.operators if op.name not in _CASTS and op.outputs] for graph in (theirs, ours)]
    if [op.name for op in sides[0]] == [op.name for op in sides[1]]:
        return list(zip(*sides, strict=True))
    keys = _keys(theirs, ours, sides)
    blocks = SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
    return [(sides[0][a + i], sides[1][b + i]) for a, b, size in blocks for i in range(size)]


def _keys(theirs: Graph, ours: Graph, sides: Sequence[Sequence[Operator]]) -> list[list[str]]:
    """What tells operators apart: the name of the output where both files have it once, else kind and shape."""
    named = [[_name(graph, op) for op in side] for graph, side in zip((theirs, ours), sides, strict=True)]
    counts = [Counter(names) for names in named]
    return [
        [
            name if counts[0][name] == counts[1][name] == 1 else f"{_kind(op)} {graph.tensors[op.outputs[0]].shape}"
            for name, op in zip(names, side, strict=True)
        ]
        for graph, names, side in zip((theirs, ours), named, sides, strict=True)
    ]


def _kind(operator: Operator) -> str:
    """The name of an operator, the same for those that quantizers write for each other."""
    return _SAME.get(operator.name, operator.name)


def _name(graph: Graph, operator: Operator) -> str:
    name = graph.tensors[operator.outputs[0]].name
    return f"{_kind(operator)} {name.removesuffix('_int8').removesuffix('_int16')}"


def _refuse_unlike(theirs: Graph, ours: Graph, pairs: Sequence[tuple[Operator, Operator]]) -> None:
    """Raise ModelError unless the layers with weights have counterparts with kernels of the same shape.

    Rewrites for a runtime take some away and add some, so half of them have to be met.
    """
    met = {one.index for one, _ in pairs}
    layers = [op for op in theirs.operators if op.name in WEIGHTED]
    alone = [op for op in layers if op.index not in met]
    if len(alone) * 2 > len(layers):
        name = brief(theirs.tensors[alone[0].outputs[0]].name)
        raise ModelError(
            f"not the same network: {len(alone)} of {len(layers)} layers of the float file, such as {alone[0].name} "
            f"{name!r}, are not in the int8 file",
            _MEND,
        )
    for one, other in pairs:
        place = WEIGHTED.get(other.name)
        if place is None:
            continue
        shapes = [g.tensors[op.inputs[place]].shape for g, op in ((theirs, one), (ours, other))]
        if shapes[0] != shapes[1]:
            name = brief(ours.tensors[other.outputs[0]].name)
            raise ModelError(
                f"not the same network: {other.name} {name!r} has a kernel {shapes[1]}, in float {shapes[0]}", _MEND
            )


def _fused(graph: Graph, met: set[int]) -> dict[int, int]:
    """For a float tensor that only an activation without counterpart reads: what that activation writes."""
    readers: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    return {
        index: found[0].outputs[0]
        for index, found in readers.items()
        if len(found) == 1 and found[0].name in _ACTIVATIONS and found[0].index not in met
    }


def _through_casts(graph: Graph, meaning: dict[int, int]) -> dict[int, int]:
    """What is known of one end of a cast holds for its other end."""
    found = dict(meaning)
    casts = [op for op in graph.operators if op.name in _CASTS]
    for operator in casts:
        if operator.inputs[0] in found:
            found.setdefault(operator.outputs[0], found[operator.inputs[0]])
    for operator in reversed(casts):
        if operator.outputs[0] in found:
            found.setdefault(operator.inputs[0], found[operator.outputs[0]])
    return found


def brief(name: str) -> str:
    """The first of the names that a converter has joined."""
    return name.split(";")[0]
