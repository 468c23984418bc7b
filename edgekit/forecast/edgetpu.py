"""What the Edge TPU takes of a file, said without its compiler: operators, cut, parameter cache, and a log.

The compiler is a closed program for one kind of machine. Its documentation names operators and limits
(`targets/operators/edgetpu.toml`), says that the graph is cut at the first operator that cannot be mapped, and that
what fits of the parameters stays on the chip (https://coral.ai/docs/edgetpu/compiler/). A forecast is that, and what
published models show of it; it is not the compiler's answer. `edgetpu_compiler` asks the compiler where there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, structs

from edgekit.errors import InputError
from edgekit.forecast.edgetpu_checks import ON_CHIP_BYTES
from edgekit.forecast.edgetpu_rules import FIXED, LATEST_RUNTIME, decisive, scale_faults, size_unknown
from edgekit.forecast.node import Fault
from edgekit.forecast.partition import partition
from edgekit.forecast.placement import Forecast, Placement
from edgekit.operators import OperatorTable, load_table
from edgekit.tflite.flatbuffer import operator_names
from edgekit.tflite.graph import Graph, Operator

COMPILED = "edgetpu-custom-op"
MAPPED = "Mapped to Edge TPU"
CUT = "More than one subgraph is not supported"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
DATA_TYPE = "Operation is working on an unsupported data type"
STATUS = {
    "": MAPPED,
    "cut": CUT,
    "data-type": DATA_TYPE,
    "not-quantized": DATA_TYPE,
    "not-supported": "Operation not supported",
    "rank": "Tensor has unsupported rank (up to 3 innermost dimensions mapped)",
    "runtime-version": "Operation version not supported",
}

_COMPILING = "https://coral.ai/docs/edgetpu/models-intro/#compiling"


class ParameterCache(Struct, frozen=True):
    """Bytes of parameters that stay on the chip, and that are sent to it at each inference.

    These are bytes of the file. What the compiler reserves for instructions is not published, and it pads channels:
    in 47 public compiled models of more than 0.5 MB the chip holds 1.01 to 1.33 times as many, in tiny ones far more.
    """

    on_chip_bytes: int
    streamed_bytes: int


def forecast_edgetpu(graph: Graph, runtime_version: int | None = None, several_subgraphs: bool = False) -> Forecast:
    """What the compiler maps of a graph for a runtime of that version (default: the newest, 14).

    With `several_subgraphs` (the compiler's `--enable_multiple_subgraphs`) whatever can be mapped is, else only the
    first connected piece. Raises InputError for a version below 1.
    """
    runtime = LATEST_RUNTIME if runtime_version is None else runtime_version
    if runtime < 1:
        raise InputError(f"runtime version {runtime}", f"give a whole number of 1 to {LATEST_RUNTIME}")
    table, version = load_table("edgetpu"), f"runtime {runtime}"
    if any(operator.custom and operator.name == COMPILED for operator in graph.operators):
        return Forecast("edgetpu", *_compiled(graph), version)
    if (fault := _refusal(graph)) is not None:
        return Forecast("edgetpu", tuple(_refused(graph, op, fault, table) for op in graph.operators), 0, version)
    faults = scale_faults(graph)
    found = [decisive(graph, op, table, runtime, faults) for op in graph.operators]
    mapped, partitions = _mapped(graph, [limit is None for limit in found], several_subgraphs)
    perhaps, _ = _mapped(graph, [limit is None or not limit.certain for limit in found], several_subgraphs)
    placements = tuple(  # taking an open operator may move others to another piece
        _placed(op, limit, op.index in mapped & perhaps, op.index in mapped | perhaps, table)
        for op, limit in zip(graph.operators, found, strict=True)
    )
    return Forecast("edgetpu", placements, partitions, version)


def forecast_cache(graph: Graph, forecast: Forecast, chip_bytes: int = ON_CHIP_BYTES) -> ParameterCache:
    """Where the parameters of the operators that are taken live: in order of execution, an operator as a whole.

    A constant that several operators read counts once. `chip_bytes` is the memory of the chip, 8 MiB.
    """
    on_chip = streamed = 0
    counted: set[int] = set()
    for placement in forecast.placements:
        own = set(graph.operators[placement.index].inputs) - counted if placement.taken else set()
        size = sum(len(data) for index in own if index >= 0 and (data := graph.tensors[index].data) is not None)
        counted |= own
        if on_chip + size <= chip_bytes:
            on_chip += size
        else:
            streamed += size
    return ParameterCache(on_chip, streamed)


def edgetpu_log(forecast: Forecast) -> str:
    """The table of the compiler's log: operator, count and status, for a forecast.

    Where nothing is documented, the status says so; the compiler itself always knows.
    """
    counts = Counter((log_name(place.name), status_of(place)) for place in forecast.placements)
    rows = [f"{name:<31}{count:<11}{status}" for (name, status), count in counts.items()]
    return "\n".join([f"{'Operator':<31}{'Count':<11}Status", "", *rows, ""])


def status_of(placement: Placement) -> str:
    """The compiler's words for a placement."""
    if placement.taken is None:
        return "Not documented: the compiler decides"
    if placement.code in ("float-rim", "float-cast"):
        return UNSPECIFIED if placement.name == "QUANTIZE" else DATA_TYPE
    return STATUS.get(placement.code, UNSPECIFIED)


def log_name(name: str) -> str:
    """An operator's name in the compiler's log, which calls every custom one CUSTOM."""
    return name if name in operator_names().values() else "CUSTOM"


def _mapped(graph: Graph, fits: Sequence[bool], several: bool) -> tuple[frozenset[int], int]:
    """Operators that are mapped if these fit, and in how many pieces."""
    taken = [index for index, fit in enumerate(fits) if fit]
    pieces = [piece.operators for piece in partition(graph, taken) or () if piece.taken]
    chosen = pieces if several else pieces[:1]
    return frozenset(index for piece in chosen for index in piece), len(chosen)


def _placed(operator: Operator, limit: Fault | None, mapped: bool, perhaps: bool, table: OperatorTable) -> Placement:
    if mapped:
        return Placement(operator.index, operator.name, True)
    taken = None if perhaps else False
    if limit is not None:
        source = table.source_of(operator.name)
        return Placement(operator.index, operator.name, taken, limit.code, limit.reason, limit.mend, source)
    reason = "an operator that is not mapped comes before it" + (", perhaps" if perhaps else "")
    mend = "mend or move what comes before; or compile with --enable_multiple_subgraphs, which may be slower"
    return Placement(operator.index, operator.name, taken, "cut", reason, mend, _COMPILING)


def _refusal(graph: Graph) -> Fault | None:
    """Why the compiler takes no part of the file: a size that is computed, or operators that can never run."""
    sized = next((operator for operator in graph.operators if size_unknown(graph, operator)), None)
    if sized is not None:
        reason = f"the compiler refuses the file: a size is computed at {sized.name} #{sized.index}"
        return Fault("file-refused", reason, FIXED)
    if partition(graph, ()) is None:
        return Fault("file-refused", "an operator depends on its own output: it can never run", "convert it again")
    return None


def _refused(graph: Graph, operator: Operator, fault: Fault, table: OperatorTable) -> Placement:
    limit = size_unknown(graph, operator) or fault
    return Placement(operator.index, operator.name, False, limit.code, limit.reason, limit.mend, table.source)


def _compiled(graph: Graph) -> tuple[tuple[Placement, ...], int]:
    """A file that the compiler made tells by itself: what is outside of its operator runs on the CPU."""
    reason = "the file is compiled already, and this was left on the CPU"
    outside = Placement(0, "", False, "compiled", reason, "forecast the file that it was compiled from")
    placements = tuple(
        Placement(op.index, op.name, True)
        if op.custom and op.name == COMPILED
        else structs.replace(outside, index=op.index, name=op.name)
        for op in graph.operators
    )
    return placements, sum(placement.taken is True for placement in placements)
