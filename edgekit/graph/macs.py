"""Parameters and multiply-accumulates of a graph: a sum over weights, each used so many times.

A convolution uses every element of its kernel once for each position of its output, a transposed one once for each
position of its input, a recurrent layer once for each step. So the cost of a network with fewer channels follows from
the smaller shapes of its weights, and one formula serves before and after. Counted for one sample; normalizations,
biases, activations and pooling count zero, as in `edgekit.tflite.macs`. Products of two activations (matmul, einsum,
attention scores) count from the shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import ModelError
from edgekit.graph.walk import Call, Graph, is_of_keras, tensors

Shape = tuple[int | None, ...]
Size = Callable[[str, int], int]
"""Number of elements of a weight, by the name of its operation and its position in `layer.weights`."""


@dataclass(frozen=True)
class Cost:
    """What one operation costs over all its calls, for one sample."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Uses:
    """How often an operation uses each of its weights, and the products it makes without weights."""

    weights: tuple[tuple[int, int], ...]
    fixed: int = 0


def costs(graph: Graph, size: Size | None = None) -> dict[str, Cost]:
    """The cost of each operation by its name; `size` tells the sizes of weights where they are not the graph's own.

    Raises ModelError where the MACs depend on a dimension that is open.
    """
    used = uses(graph)
    return {name: cost(graph, name, used[name], size) for name in graph.operations}


def cost(graph: Graph, name: str, used: Uses, size: Size | None = None) -> Cost:
    """The cost of one operation with the uses that `uses` found."""
    weights = getattr(graph.operations[name], "weights", ())
    sizes = [size(name, place) if size else math.prod(weight.shape) for place, weight in enumerate(weights)]
    return Cost(sum(sizes), used.fixed + sum(sizes[place] * times for place, times in used.weights))


def uses(graph: Graph) -> dict[str, Uses]:
    """For each operation how often its weights are used, summed over its calls."""
    weights: dict[str, dict[int, int]] = {name: {} for name in graph.operations}
    fixed = dict.fromkeys(graph.operations, 0)
    for call in graph.calls:
        found, products = _call_uses(graph, call)
        places = {id(weight): place for place, weight in enumerate(getattr(call.operation, "weights", ()))}
        for variable, times in found:
            place = places[id(variable)]
            weights[call.name][place] = weights[call.name].get(place, 0) + times
        fixed[call.name] += products
    return {name: Uses(tuple(found.items()), fixed[name]) for name, found in weights.items()}


def total(found: dict[str, Cost]) -> Cost:
    """The sum."""
    return Cost(sum(item.parameters for item in found.values()), sum(item.macs for item in found.values()))


Found = tuple[list[tuple[Any, int]], int]


def fixed_input(shape: Shape, dtype: str = "float32") -> str:
    """How a Keras model with open sizes in an input `[batch, ...]` gets fixed ones and keeps its weights."""
    names = ("HEIGHT", "WIDTH", "CHANNELS") if len(shape) == 4 else ("STEPS", *["SIZE"] * len(shape))
    sizes = [name if size is None else str(size) for name, size in zip(names, shape[1:], strict=False)]
    kind = "" if dtype == "float32" else f", dtype={dtype!r}"
    return (
        "give the model a fixed input shape: build it anew with "
        f"keras.Input(shape=({', '.join(sizes)}{',' * (len(sizes) == 1)}){kind}), and "
        "new.set_weights(old.get_weights())"
    )


def _call_uses(graph: Graph, call: Call) -> Found:
    ins, outs = [tensor.shape for tensor in call.inputs], [tensor.shape for tensor in call.results]
    try:
        return _uses(call.operation, ins, outs)
    except _OpenDimensionError:
        given = tensors(graph.inputs)
        opened = next((one for one in given if None in one.shape[1:]), given[0])
        raise ModelError(
            f"the multiply-accumulates of {call.name!r} depend on an open dimension: {ins[0]}",
            fixed_input(opened.shape, opened.dtype),
        ) from None


class _OpenDimensionError(Exception):
    pass


def _uses(operation: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    for kinds, rule in _RULES if is_of_keras(operation) else ():
        if type(operation).__name__ in kinds:
            return rule(operation, ins, outs)
    return [], 0


def _positions(shape: Shape) -> int:
    """Positions of a feature map: everything between batch and channels."""
    if None in shape[1:-1]:
        raise _OpenDimensionError
    return math.prod(size for size in shape[1:-1] if size is not None)


def _elements(shape: Shape) -> int:
    return _positions((*shape, 1))


def _convolution(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    return [(layer.kernel, _positions(outs[0]))], 0


def _transposed(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    return [(layer.kernel, _positions(ins[0]))], 0


def _separable(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    times = _positions(outs[0])
    return [(layer.depthwise_kernel, times), (layer.pointwise_kernel, times)], 0


def _einsum_dense(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    """Every dimension of the input that is not in the kernel repeats it (`abc,cd->abd`: a, the batch, and b)."""
    left, kernel = layer.equation.split("->")[0].replace(" ", "").split(",")
    if "..." in left:
        left = left.replace("...", "".join(chr(ord("A") + place) for place in range(len(ins[0]) - len(left) + 3)))
    repeats = [size for label, size in zip(left, ins[0], strict=True) if label not in kernel]
    return [(layer.kernel, _elements(tuple(repeats)))], 0


def _attention(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    """Projections of query, key and value, scores and weighted sum over all pairs of positions, output projection."""
    query, value = ins[0], ins[1] if len(ins) > 1 else ins[0]
    asked, given = _positions(query), _positions(value)
    parts = [
        (layer.query_dense, asked),
        (layer.key_dense, given),
        (layer.value_dense, given),
        (layer.output_dense, asked),
    ]
    key, width = layer.key_dim, layer.value_dim or layer.key_dim
    return [(part.kernel, times) for part, times in parts], layer.num_heads * asked * given * (key + width)


def _recurrent(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    steps = _positions(ins[0])
    return [(layer.cell.kernel, steps), (layer.cell.recurrent_kernel, steps)], 0


def _bidirectional(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    (ahead, a), (back, b) = (_uses(part, ins, outs) for part in (layer.forward_layer, layer.backward_layer))
    return ahead + back, a + b


def _time_distributed(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    steps = _elements((None, ins[0][1]))
    found, fixed = _uses(layer.layer, [(shape[0], *shape[2:]) for shape in ins], [(s[0], *s[2:]) for s in outs])
    return [(variable, times * steps) for variable, times in found], fixed * steps


def _matmul(operation: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    return [], _elements(outs[0]) * _elements((None, ins[0][-1])) if len(ins) > 1 else 0


def _dot(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    if _open(ins):
        return [], 0
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return [], _elements(outs[0]) * _elements((None, ins[0][axis]))


def _dot_attention(layer: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    """Scores and weighted sum over all pairs of positions; scores that are no products count nothing."""
    if _open(ins):
        return [], 0
    query, value = ins[:2]
    scored = query[-1] if type(layer).__name__ == "Attention" and layer.score_mode == "dot" else 0
    pairs = _positions(query) * _positions(value)
    return [], pairs * (_elements((None, scored)) + _elements((None, value[-1])))


def _open(shapes: Sequence[Shape]) -> bool:
    """Whether a size but that of the batch is open: then products of two activations have no number."""
    return any(size is None for shape in shapes for size in shape[1:])


def _einsum(operation: Any, ins: Sequence[Shape], outs: Sequence[Shape]) -> Found:
    """The product of the sizes of all labels but the batch, for two activations and an equation without `...`."""
    labels = operation.subscripts.split("->")[0].replace(" ", "").split(",")
    if len(ins) != len(labels) or "." in operation.subscripts:
        return [], 0
    sizes = {label: size for names, shape in zip(labels, ins, strict=True) for label, size in zip(names, shape)}  # noqa: B905
    return [], _elements((None, *(size for label, size in sizes.items() if label != labels[0][0])))


_RULES: tuple[tuple[set[str], Callable[[Any, Sequence[Shape], Sequence[Shape]], Found]], ...] = (
    ({"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Dense"}, _convolution),
    ({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}, _transposed),
    ({"SeparableConv1D", "SeparableConv2D"}, _separable),
    ({"EinsumDense"}, _einsum_dense),
    ({"MultiHeadAttention"}, _attention),
    ({"LSTM", "GRU", "SimpleRNN"}, _recurrent),
    ({"Bidirectional"}, _bidirectional),
    ({"TimeDistributed"}, _time_distributed),
    ({"Attention", "AdditiveAttention"}, _dot_attention),
    ({"Dot"}, _dot),
    ({"Matmul"}, _matmul),
    ({"Einsum"}, _einsum),
)


def uncounted(graph: Graph) -> tuple[str, ...]:
    """Names of the layers whose products are not counted: no rule knows them, or what they wrap.

    Those without weights of two or more axes are not named.
    """
    return tuple(name for name, operation in graph.layers.items() if not _is_counted(operation))


def _is_counted(layer: Any) -> bool:
    known = {kind for kinds, _ in _RULES for kind in kinds} | {"Embedding"}
    wrapped = [getattr(layer, name) for name in ("layer", "forward_layer", "backward_layer") if hasattr(layer, name)]
    small = all(len(weight.shape) < 2 for weight in layer.weights)
    return small or (is_of_keras(layer) and type(layer).__name__ in known and all(map(_is_counted, wrapped)))
