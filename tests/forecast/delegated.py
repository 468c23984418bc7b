"""What the runtime's default XNNPACK delegate really takes of a file: the truth that forecasts are held against."""

from __future__ import annotations

import warnings
from collections import Counter
from functools import cache
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import NamedTuple

from edgekit.forecast.placement import Forecast
from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.tflite.graph import Graph, read_graph


class Real(NamedTuple):
    """The operators taken, each by the tensors it reads; the pieces they make; whether XNNPACK failed to build one.

    `aborted`: the process died of an operator, so nothing is known but that it is not sound. `unsound`: it failed, and
    so does the file without XNNPACK.
    """

    taken: Counter[frozenset[int]]
    pieces: int
    failed: bool
    aborted: bool = False
    unsound: bool = False


def really(file: bytes) -> Real:
    """Ask the runtime, in a process of its own because it aborts on some files."""
    connection = _child()
    connection.send_bytes(file)
    try:
        taken, pieces, failed = connection.recv()
    except EOFError:
        _child.cache_clear()
        return Real(Counter(), 0, False, aborted=True)
    return Real(Counter(taken), pieces, failed, unsound=failed and not _runs_without(file))


@cache
def _processes() -> ForkServerContext:
    """New processes that have the runtime already: an abort costs little."""
    found = get_context("forkserver")
    found.set_forkserver_preload(["ai_edge_litert.interpreter"])
    return found


@cache
def _child() -> Connection:
    ours, theirs = Pipe()
    _processes().Process(target=_serve, args=(theirs,), daemon=True).start()
    theirs.close()
    return ours


def _serve(connection: Connection) -> None:
    """With all tensors preserved every operator that is taken becomes a piece of its own."""
    warnings.simplefilter("ignore")
    while True:
        file = connection.recv_bytes()
        single, _ = _delegated(file, preserve=True)
        pieces, error = _delegated(file, preserve=False)
        connection.send((single, len(pieces), "(TfLiteXNNPackDelegate) failed" in error))


def _runs_without(file: bytes) -> bool:
    """Whether the file can be prepared with no delegate, in a process that may die of it."""
    process = _processes().Process(target=_prepare, args=(file,))
    process.start()
    process.join()
    return process.exitcode == 0


def _prepare(file: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=file, num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()


def _delegated(file: bytes, preserve: bool) -> tuple[list[frozenset[int]], str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1, experimental_preserve_all_tensors=preserve)
    error = ""
    try:
        interpreter.allocate_tensors()
    except RuntimeError as cause:  # of operators outside, such as unresolved custom ones, or of a kernel that fails
        error = str(cause)
    nodes = interpreter._get_ops_details()
    return [_read(node["inputs"].tolist()) for node in nodes if node["op_name"] == "DELEGATE"], error


def _read(indices: list[int] | tuple[int, ...]) -> frozenset[int]:
    return frozenset(index for index in indices if index >= 0)


def forecast_equals_reality(file: bytes) -> Forecast:
    """Assert that a forecast says what happens: which operators are taken, in how many pieces, or that it fails."""
    graph, real = read_graph(file), really(file)
    forecast = forecast_xnnpack(graph)
    failed = any(placement.code == "kernel" for placement in forecast.left)
    assert real.unsound or real.aborted or failed == real.failed, forecast.left
    if real.aborted:
        assert forecast.left
    elif not real.failed:
        assert _taken(graph, forecast) == real.taken, forecast.left
        assert forecast.partitions == real.pieces
    assert [(one.index, one.name) for one in forecast.placements] == [(op.index, op.name) for op in graph.operators]
    assert all(placement.reason and placement.code for placement in forecast.left)
    assert {placement.name for placement in forecast.left if not placement.mend} <= {"SOFTMAX"}
    return forecast


def _taken(graph: Graph, forecast: Forecast) -> Counter[frozenset[int]]:
    taken = [graph.operators[placement.index] for placement in forecast.placements if placement.taken]
    return Counter(_read(operator.inputs) for operator in taken)
