"""Which operators TensorFlow Lite Micro runs: its kernels by type, as the operator table has them from their sources.

The interpreter ignores the versions of operators and plans for the shapes that are stored, so types, constants and
ranks decide. The table is that of the reference kernels; those made for one core (CMSIS-NN, ESP-NN) may take fewer.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.forecast.placement import Forecast, Placement
from edgekit.operators import OperatorTable, Rule, load_table
from edgekit.tflite.graph import Graph, Operator, Tensor

Refusal = tuple[str, str, str]
"""Name of the rule, what is wrong, what to do."""

_WITHOUT_SIZE = {"string", "variant"}
_FLOAT = {"float32", "float16", "float64"}
_UNLIKE_INT8 = {*_FLOAT, "int16", "uint8"}
_INTEGER = {"int8", "uint8", "int4"}
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
_BODIES = {"IF", "WHILE", "CALL_ONCE"}
_MOST_SHOWN = 4
_INT8 = "make it with `--recipe int8`"


def forecast_micro(graph: Graph) -> Forecast:
    """Where each operator of the main graph runs with the reference kernels of TensorFlow Lite Micro.

    It runs all of a file or nothing: one partition where every operator is taken, else none. Raises TargetError if the
    shipped operator table does not fit its schema.
    """
    table = load_table("tflite-micro")
    placements = tuple(_placed(graph, operator, table) for operator in graph.operators)
    whole = bool(placements) and all(placement.taken for placement in placements)
    return Forecast("micro", placements, int(whole), _version(table))


def _version(table: OperatorTable) -> str:
    """The commit whose kernels the table has: in the address of their folder."""
    return "tflite-micro " + table.kernels_at.partition("/blob/")[2][:10]


def _placed(graph: Graph, operator: Operator, table: OperatorTable) -> Placement:
    source = table.source_of(operator.name)
    for rule in _RULES:
        if refusal := rule(graph, operator, table):
            return Placement(operator.index, operator.name, False, *refusal, source)
    note = "the options of the operators in its body are not looked at" if operator.name in _BODIES else ""
    return Placement(operator.index, operator.name, True, reason=note, source=source)


def _known(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """The resolver has it."""
    if operator.custom and operator.name not in table.custom:
        return "custom-operator", "not among the custom operators that come along", "link a kernel of yours, AddCustom"
    if not operator.custom and not table.runs(operator.name):
        return "unsupported-operator", f"not an operator of {table.title}", "replace the layer it comes from"
    return None


def _sized(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """Every tensor has a size in bytes, and no more dimensions than a shape has room for."""
    tensors = _touched(graph, operator)
    if odd := next((tensor for tensor in tensors if tensor.dtype in _WITHOUT_SIZE), None):
        return "type-without-size", f"a {odd.dtype} tensor, which has no place in an arena", "keep it outside the model"
    if table.rank and (large := next((tensor for tensor in tensors if len(tensor.shape) > table.rank), None)):
        reason = f"a tensor of {len(large.shape)} dimensions; a shape has room for {table.rank}"
        return "too-many-dimensions", reason, "reshape it to fewer dimensions"
    return None


def _stored(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """Constants are inside the flatbuffer and in full; the interpreter looks for neither and computes on."""
    if any(tensor.sparse for tensor in graph.read(operator)):
        return "sparse-constant", "a constant in a sparse layout, which would be read as dense", "store it dense"
    if any(tensor.appended for tensor in graph.read(operator)):
        reason = "a constant behind the flatbuffer, which is not read: its place in the arena holds anything"
        return "appended-constant", reason, "write it again with constants inside, as `edgekit optimize` does"
    return None


def _typed(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """A kernel computes in the types of the first inputs and of the first output."""
    signatures = _rule(operator, table).signatures()
    inputs = [graph.tensors[index].dtype if index >= 0 else "" for index in operator.inputs]
    outputs = [tensor.dtype for tensor in graph.written(operator)]
    if not signatures or any(_matches(signature, inputs, outputs) for signature in signatures):
        return None
    if _hybrid(inputs, operator):
        return "hybrid", "float activations with integer weights: hybrid operators are refused", _INT8
    found = f"{', '.join(inputs[:3])}{', ...' if len(inputs) > 3 else ''} -> {', '.join(outputs[:1])}"
    there = "; ".join(signatures[:_MOST_SHOWN]) + ("; ..." if len(signatures) > _MOST_SHOWN else "")
    mend = _INT8 if _UNLIKE_INT8 & {*inputs, *outputs[:1]} else "compute in one of these types"
    return "unsupported-type", f"no kernel for {found}; there is {there}", mend


def _hybrid(inputs: list[str], operator: Operator) -> bool:
    activation = 2 if operator.name == "TRANSPOSE_CONV" else 0
    if operator.name not in _WEIGHTED or len(inputs) <= max(activation, 1):
        return False
    return inputs[activation] in _FLOAT and inputs[1] in _INTEGER


def _matches(signature: str, inputs: list[str], outputs: list[str]) -> bool:
    """Whether types fit `int8, int8|int4 -> int8`; absent inputs fit, those beyond the named ones are not asked."""
    reads, _, writes = signature.partition(" -> ")
    wanted = reads.split(", ")
    if wanted[-1] == "...":
        wanted = wanted[:-1] + wanted[-2:-1] * (len(inputs) - len(wanted) + 1)
    pairs = [*zip(wanted, inputs, strict=False), *zip([writes] if writes else [], outputs, strict=False)]
    return len(inputs) >= len(wanted) and all(not found or _fits(choice, found) for choice, found in pairs)


def _fits(choice: str, found: str) -> bool:
    return choice == "any" or found in choice.split("|")


def _parameters(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """Parameters that the kernel reads when it is prepared are constants."""
    asked = {place: index for place, index in enumerate(operator.inputs) if index >= 0}
    for place in _rule(operator, table).constant:
        if place in asked and not graph.tensors[asked[place]].constant:
            reason = f"input {place} is computed, and the kernel needs a constant"
            return "computed-parameter", reason, "convert with a fixed batch and fixed shapes"
    return None


def _dimensions(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """The first input has as many dimensions as the kernel takes; broadcast inputs have at most as many as it walks."""
    rule, tensors = _rule(operator, table), graph.read(operator)
    if not tensors:
        return None
    found = len(tensors[0].shape)
    if rule.rank and not rule.rank[0] <= found <= rule.rank[1]:
        reason = f"an input of {found} dimensions; the kernel takes {_span(*rule.rank)}"
        return "unsupported-rank", reason, "reshape it before and after"
    shapes = {tensor.shape for tensor in tensors}
    widest = max(map(len, shapes))
    if rule.broadcast_rank and len(shapes) > 1 and widest > rule.broadcast_rank:
        reason = f"broadcasting in {widest} dimensions; the kernel walks {rule.broadcast_rank}"
        return "unsupported-rank", reason, "reshape it to fewer dimensions"
    return None


def _span(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}" if least else f"at most {most}"


def _inputs(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """Not more inputs than the kernel has room for, and no activation function that it leaves out."""
    rule = _rule(operator, table)
    if rule.most_inputs and len(operator.inputs) > rule.most_inputs:
        reason = f"{len(operator.inputs)} inputs; the kernel has room for {rule.most_inputs}"
        return "too-many-inputs", reason, "join them in two steps"
    if not rule.fused_activation and operator.activation != "NONE":
        return "fused-activation", f"a fused {operator.activation}, which the kernel refuses", "make it its own layer"
    return None


def _scales(graph: Graph, operator: Operator, table: OperatorTable) -> Refusal | None:
    """int8 inputs are in the scale of the output where the kernel copies values without rescaling them."""
    rule, outputs = _rule(operator, table), graph.written(operator)
    if rule.same_scale is None or not outputs or outputs[0].dtype != "int8":
        return None
    first = [tensor for tensor in graph.read(operator) if tensor.dtype == "int8"]
    if any(not _same_scale(tensor, outputs[0], rule.same_scale) for tensor in first):
        reason = "an int8 input in another scale than the output, which the kernel does not convert"
        return "different-scales", reason, "quantize it again: both quantizers of `edgekit optimize` share the scale"
    return None


def _same_scale(one: Tensor, other: Tensor, tolerance: float) -> bool:
    scales = zip(one.scales, other.scales, strict=False)
    return one.zero_points == other.zero_points and all(abs(here - there) <= tolerance for here, there in scales)


def _rule(operator: Operator, table: OperatorTable) -> Rule:
    return table.operators.get(operator.name, Rule())


def _touched(graph: Graph, operator: Operator) -> list[Tensor]:
    return [*graph.read(operator), *graph.written(operator)]


_RULES: tuple[Callable[[Graph, Operator, OperatorTable], Refusal | None], ...] = (
    _known,
    _sized,
    _stored,
    _typed,
    _parameters,
    _dimensions,
    _inputs,
    _scales,
)
