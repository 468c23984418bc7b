"""What keeps an operator off the Edge TPU: types, scales, dimensions, and what its operator table says in data.

Limitations that have to be computed are in `edgetpu_checks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from edgekit.forecast.edgetpu_checks import CHECKS, SPLIT_HEAD, SUBSTITUTES, axes_of, elements_of, input_of
from edgekit.forecast.node import Fault
from edgekit.forecast.shapes import SIZED_BY_VALUES, SIZES
from edgekit.operators import OperatorTable, Rule
from edgekit.tflite.graph import Graph, Operator, Tensor

LATEST_RUNTIME = 14

_QUANTIZE = "quantize the model to int8, inputs and outputs too: `edgekit optimize --recipe int8:io=uint8`"
FIXED = "convert with a fixed batch and fixed sizes, as `edgekit optimize` does, or `edgekit compile --fix-sizes`"
_FEWER_DIMENSIONS = "use batch 1, and reshape what has more dimensions"
_UPSAMPLING = 'in place of UpSampling2D, which repeats pixels, use Conv2DTranspose, or interpolation="bilinear"'
_FLOATS = {"float32", "float16", "float64", "bfloat16"}
_EIGHT_BIT = {"int8", "uint8"}
_LSTM = {"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"}


def size_unknown(graph: Graph, operator: Operator) -> Fault | None:
    """A tensor whose size is computed: the compiler refuses the whole file."""
    if operator.name in SIZED_BY_VALUES:
        return Fault("dynamic-size", "the size of its output depends on values", SPLIT_HEAD)
    for place in SIZES.get(operator.name, ()):
        tensor = input_of(graph, operator, place)
        if tensor is not None and not tensor.constant:
            reason = f"input {place} ({tensor.name}) gives the size of the output and is computed, not a constant"
            mend = FIXED
            return Fault("dynamic-size", reason, mend)
    return None


def decisive(
    graph: Graph, operator: Operator, table: OperatorTable, runtime: int, faults: Mapping[int, Fault]
) -> Fault | None:
    """What keeps an operator off for certain, or else what may; None where nothing is documented against it."""
    found = list(limits(graph, operator, table, runtime, faults))
    return next((limit for limit in found if limit.certain), found[0] if found else None)


def limits(
    graph: Graph, operator: Operator, table: OperatorTable, runtime: int, faults: Mapping[int, Fault]
) -> Iterator[Fault]:
    """Everything that keeps an operator off a runtime of that version, the reason that the compiler names first.

    `faults` are those of `scale_faults`. An operator without inputs or outputs is taken by nobody.
    """
    yield from _found([_types(graph, operator)])
    yield from (faults[index] for index in (*operator.inputs, *operator.outputs) if index in faults)
    rule = table.operators.get(operator.name)
    if operator.custom or rule is None:
        reason = "a custom operator" if operator.custom else f"{operator.name} is not an operator of {table.title}"
        yield Fault("not-supported", reason, SUBSTITUTES.get(operator.name, SPLIT_HEAD))
    elif not graph.read(operator) or not graph.written(operator):
        yield Fault("not-supported", "an operator without inputs or outputs", "convert the model again")
    else:
        yield from _found(check(graph, operator) for check in (_rank, *CHECKS.get(operator.name, ())))
        yield from _found(check(graph, operator, rule) for check in (_constants, _activation, _batch, _elements))
        yield from _found([_version(operator, rule, runtime)])


def _found(limits: Iterable[Fault | None]) -> Iterator[Fault]:
    return (limit for limit in limits if limit is not None)


def _types(graph: Graph, operator: Operator) -> Fault | None:
    """Everything that is computed is 8-bit; indices and biases are int32, the memory of an LSTM cell is int16."""
    touched = [*graph.read(operator), *graph.written(operator)]
    others = sorted({tensor.dtype for tensor in touched if not _type_fits(operator, tensor)})
    if not others:
        return None
    if operator.name in ("QUANTIZE", "DEQUANTIZE"):
        return _cast(graph, operator, others)
    mend = _QUANTIZE if _FLOATS.issuperset(others) else SUBSTITUTES.get(operator.name, SPLIT_HEAD)
    return Fault("data-type", f"computes with {', '.join(others)}; only int8 and uint8 are mapped", mend)


def _cast(graph: Graph, operator: Operator, others: list[str]) -> Fault:
    """A cast at an input or output of the model is its rim; one inside borders on operators that stayed in float."""
    if not {*graph.inputs, *graph.outputs}.isdisjoint((*operator.inputs, *operator.outputs)):
        return Fault("float-rim", f"casts between 8 bits and {', '.join(others)}", _QUANTIZE)
    return Fault("float-cast", f"casts to or from {', '.join(others)} inside of the model", _QUANTIZE)


def _type_fits(operator: Operator, tensor: Tensor) -> bool:
    return (
        tensor.dtype in _EIGHT_BIT
        or (tensor.constant and tensor.dtype == "int32")
        or (operator.name in _LSTM and tensor.variable and tensor.dtype == "int16")
    )


def scale_faults(graph: Graph) -> dict[int, Fault]:
    """8-bit tensors (by number) without a scale, or with one that is not finite and above zero."""
    eight = {index: tensor for index, tensor in enumerate(graph.tensors) if tensor.dtype in _EIGHT_BIT}
    return {index: fault for index, tensor in eight.items() if (fault := _scale_fault(tensor)) is not None}


def _scale_fault(tensor: Tensor) -> Fault | None:
    if not tensor.scales:
        return Fault("not-quantized", f"{tensor.name} has no scale", "quantize the model to int8")
    if all(math.isfinite(scale) and scale > 0 for scale in tensor.scales):
        return None
    reason = f"a scale of {tensor.name} is not a number above zero: the compiler is known to crash on it"
    return Fault("bad-scale", reason, "calibrate again; a range that is empty or infinite makes such a scale")


def _rank(graph: Graph, operator: Operator) -> Fault | None:
    """Only the three innermost dimensions of what is computed are larger than 1."""
    computed = [tensor for tensor in (*graph.read(operator), *graph.written(operator)) if not tensor.constant]
    large = next((tensor for tensor in computed if any(size > 1 for size in tensor.shape[:-3])), None)
    if large is None:
        return None
    reason = f"a tensor of {len(large.shape)} dimensions, more than three of them above 1"
    return Fault("rank", reason, _UPSAMPLING if _repeats(graph, large) else _FEWER_DIMENSIONS)


def _repeats(graph: Graph, tensor: Tensor) -> bool:
    """Whether pixels are repeated by a fifth dimension, as in the UpSampling2D of Keras 3."""
    return tensor.shape[0] == 1 and len(tensor.shape) == 5 and any(one.name == "TILE" for one in graph.operators)


def _constants(graph: Graph, operator: Operator, rule: Rule) -> Fault | None:
    for place in rule.constant:
        tensor = input_of(graph, operator, place)
        if tensor is not None and not tensor.constant:
            reason = f"input {place} ({tensor.name}) is computed; parameters are constants of the file"
            return Fault("computed-parameter", reason, "make it a constant, or compute the product another way")
    return None


def _activation(graph: Graph, operator: Operator, rule: Rule) -> Fault | None:
    if rule.fused_activation or operator.activation == "NONE":
        return None
    mend = "put the activation function into the convolution before it"
    return Fault("fused-activation", f"a fused {operator.activation}", mend)


def _batch(graph: Graph, operator: Operator, rule: Rule) -> Fault | None:
    """What pads, packs or reduces leaves the batch alone: the dimension outside of the three innermost."""
    if rule.along_batch:
        return None
    rank, axes = axes_of(graph, operator)
    if all(axis >= rank - 3 for axis in axes):
        return None
    return Fault("batch-axis", "it works along the batch", "work along another dimension, with batch 1")


def _elements(graph: Graph, operator: Operator, rule: Rule) -> Fault | None:
    if rule.most_elements is None:
        return None
    size = max(elements_of(tensor) for tensor in graph.written(operator))
    if size <= rule.most_elements:
        return None
    return Fault("too-many-elements", f"{size:,} elements; at most {rule.most_elements:,} are mapped", SPLIT_HEAD)


def _version(operator: Operator, rule: Rule, runtime: int) -> Fault | None:
    if rule.since is None or runtime >= rule.since:
        return None
    mend = f"install runtime {rule.since} or newer on the board, and compile for it"
    return Fault("runtime-version", f"needs runtime {rule.since}, and {runtime} was asked for", mend)
