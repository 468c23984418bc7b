"""Cut a model into segments: choose the places, write each segment, and say what goes between them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgekit.errors import InputError, ModelError
from edgekit.forecast.edgetpu import forecast_cache, forecast_edgetpu
from edgekit.split.branches import Piece, regions, side_by_side
from edgekit.split.costs import Costs, estimated, parameter_bytes, step_bytes, step_costs
from edgekit.split.edges import edges_of
from edgekit.split.flow import Flow, read_flow
from edgekit.split.partition import Array, fewest, partition
from edgekit.split.plan import UNEVEN, Balance, Plan, Port, Segment
from edgekit.tflite.extract import extract
from edgekit.tflite.graph import read_graph
from edgekit.tflite.surgery import unpack
from edgekit.units import format_bytes

_ONE_FORK = 4  # what comes before, two lanes, what comes after
_MEASURED_ALIKE = 0.02  # times of operators are not known better than that
Parts = int | Literal["auto"]


class Split(Struct, frozen=True):
    """A plan and the bytes of its segments, in their order."""

    plan: Plan
    files: tuple[bytes, ...]


class Wish(Struct, frozen=True):
    """What a split is asked for.

    `parts` may be `auto`: as few as fit an accelerator with `cache_bytes` for parameters, else one for each of `cores`.
    `branches`: independent parts become segments that run side by side, in two lanes, which shortens the way of one
    sample; `auto` is then 4, room for one fork.
    """

    parts: Parts = "auto"
    balance: Balance = "latency"
    cache_bytes: int | None = None
    branches: bool = False
    cores: int | None = None


def split_model(model: bytes, wish: Wish, costs: Costs | None = None, name: str = "model") -> Split:
    """Cut the bytes of a `.tflite` as `wish` says; `costs` are those of its operators, by default an estimate.

    Raises ModelError for a file that cannot be cut, InputError for a number of segments that cannot be, with one that
    can.
    """
    flow = read_flow(model, name)
    parts = count_segments(flow, wish, name)
    if costs is None and (wish.balance == "latency" or wish.branches):
        costs = estimated(flow)
    flow, ends = _cut(flow, wish, parts, costs, name)
    groups = [flow.order[first:last] for first, last in zip([0, *ends], [*ends, len(flow.order)], strict=True)]
    tree = unpack(model)
    made = [_segment(flow, tree, group, number, costs, wish) for number, group in enumerate(groups)]
    segments = tuple(segment for segment, _ in made)
    values = [float(one.parameter_bytes) if wish.balance == "bytes" else _of(costs, one.operators) for one in segments]
    uneven = _uneven(values, wish.balance)
    plan = Plan(
        model=name,
        sha256=hashlib.sha256(model).hexdigest(),
        balance=wish.balance,
        basis="bytes of parameters" if wish.balance == "bytes" or costs is None else costs.basis,
        inputs=_ports(flow, flow.contents.input_indices),
        outputs=_ports(flow, flow.contents.output_indices),
        segments=segments,
        edges=edges_of(flow, groups),
        uneven=uneven,
        reason=_reason(flow, values, groups, wish, costs) if uneven > UNEVEN else "",
    )
    return Split(plan, tuple(file for _, file in made))


def _cut(flow: Flow, wish: Wish, parts: int, costs: Costs | None, name: str) -> tuple[Flow, tuple[int, ...]]:
    """The operators in their order, and the places between segments."""
    if not wish.branches or costs is None:
        return flow, _chain(flow, (0, *flow.cuts(), len(flow.order)), parts, wish, costs)
    if not regions(flow):
        raise ModelError(f"{name}: no two parts of it are independent", "leave --branches out")
    pieces = side_by_side(flow, costs.values, parts)
    if len(pieces) < 2:
        raise InputError(f"{parts} segments are too few for branches side by side", "ask for 3 or more")
    flow = flow.in_order([number for piece in pieces for number in piece.operators])
    return flow, _filled_up(flow, pieces, parts, wish, costs)


def count_segments(flow: Flow, wish: Wish, name: str) -> int:
    """How many segments a model will have. Raises ModelError and InputError where that cannot be."""
    if len(flow.order) < 2:
        raise ModelError(f"{name}: it has {len(flow.order)} operator, and nothing to cut", "give a larger model")
    places = (0, *flow.cuts(), len(flow.order))
    most = len(places) - 1
    if most < 2:
        raise ModelError(f"{name}: its {len(flow.order)} operators have to stay together", "give another model")
    parts = min(most, _automatic(flow, places, wish)) if isinstance(wish.parts, str) else wish.parts
    if parts < 2:
        raise InputError(f"{parts} asked for, a split has at least 2 segments", "ask for 2 or more")
    if parts > most:
        problem = f"{name} cannot be cut into {parts} segments: it has {most - 1} places to cut"
        raise InputError(problem, f"ask for at most {most}")
    return parts


def _automatic(flow: Flow, places: Sequence[int], wish: Wish) -> int:
    if wish.branches:
        return _ONE_FORK
    if wish.cache_bytes is None:
        if wish.cores is None:
            raise InputError("how many segments is not known: the cores are not", "give --segments a number")
        return max(wish.cores, 2)
    return max(2, _enough(flow, places, wish.cache_bytes))


def _enough(flow: Flow, places: Sequence[int], cache_bytes: int) -> int:
    """The fewest segments whose parameters fit. Raises ModelError where one step alone does not."""
    weight = step_bytes(flow, places)
    found = fewest(weight, cache_bytes)
    if found is None:
        size, what = _heaviest_step(flow, places, weight)
        limit = format_bytes(cache_bytes)
        problem = f"{what} alone has {format_bytes(size)} of parameters, the accelerator keeps {limit}"
        raise ModelError(problem, "make the layer smaller (edgekit compress), or leave the target out")
    return found


def _chain(flow: Flow, places: Sequence[int], parts: int, wish: Wish, costs: Costs | None) -> tuple[int, ...]:
    """The best places for a chain of segments."""
    sizes, crossing = step_bytes(flow, places), flow.crossing()
    across = np.array([sum(map(flow.tensor_bytes, crossing[place])) for place in places], float)
    if wish.balance == "bytes" or costs is None:
        cost, slack = np.abs(sizes - sizes[0, -1] / parts), 0.0
    else:
        cost, slack = step_costs(flow, places, costs), _MEASURED_ALIKE
    if wish.cache_bytes is not None:
        cost = np.where(sizes <= wish.cache_bytes, cost, np.inf)
    found = partition(cost, across, parts, slack)
    if found is None:
        assert wish.cache_bytes is not None  # without a limit there are as many places as segments
        needed, limit = _enough(flow, places, wish.cache_bytes), format_bytes(wish.cache_bytes)
        raise InputError(f"{parts} segments cannot have at most {limit} of parameters each", f"ask for {needed}")
    return tuple(places[at] for at in found)


def _filled_up(flow: Flow, pieces: Sequence[Piece], parts: int, wish: Wish, costs: Costs) -> tuple[int, ...]:
    """The ends of the pieces, and cuts inside of the heaviest until there are `parts`."""
    allowed, ends = flow.cuts(), [int(end) for end in np.cumsum([len(piece.operators) for piece in pieces])]
    free = replace(wish, cache_bytes=None)  # of halves; the limit is that of the finished segments
    if stuck := [end for end in ends[:-1] if end not in allowed]:
        what = flow.operator(flow.order[stuck[0]])
        raise ModelError(f"before {what.name} #{what.index} nothing can be cut", "leave --branches out")
    while len(ends) < parts:
        inner = [
            (costs.of(flow.order[first:last]), (first, *(at for at in allowed if first < at < last), last))
            for first, last in zip([0, *ends], ends, strict=False)
        ]
        places = max((one for one in inner if len(one[1]) > 2), default=None)
        if places is None:
            break
        ends = sorted([*ends, *_chain(flow, places[1], 2, free, costs)])
    _refuse_beyond_cache(flow, ends, wish)
    return tuple(ends[:-1])


def _refuse_beyond_cache(flow: Flow, ends: Sequence[int], wish: Wish) -> None:
    sizes = [parameter_bytes(flow, flow.order[first:last]) for first, last in zip([0, *ends], ends, strict=False)]
    if wish.cache_bytes is not None and max(sizes) > wish.cache_bytes:
        limit = format_bytes(wish.cache_bytes)
        problem = f"a branch has {format_bytes(max(sizes))} of parameters, the accelerator keeps {limit}"
        raise InputError(problem, "ask for more segments, or leave --branches out")


def _segment(
    flow: Flow, tree: object, group: Sequence[int], number: int, costs: Costs | None, wish: Wish
) -> tuple[Segment, bytes]:
    inside, place = set(group), {one: at for at, one in enumerate(flow.order)}
    written = [index for one in group for index in flow.written(one)]
    inputs = dict.fromkeys(index for one in group for index in flow.read(one) if index not in written)
    later = {index for one in flow.order if one not in inside for index in flow.read(one)}
    outputs = [index for index in written if index in later or index in flow.contents.output_indices]
    operators = dict.fromkeys(each for one in group for each in (*flow.preparing[one], one))
    file = extract(tree, [*operators], [*inputs], outputs)
    first, last = place[group[0]], place[group[-1]]
    made = {*flow.contents.input_indices, *(index for one in flow.order[:first] for index in flow.written(one))}
    after = {index for one in flow.order[last + 1 :] for index in flow.read(one)}
    return Segment(
        file=f"segment{number}.tflite",
        sha256=hashlib.sha256(file).hexdigest(),
        file_bytes=len(file),
        operators=tuple(group),
        parameter_bytes=parameter_bytes(flow, group),
        macs=sum(flow.operator(one).macs for one in group),
        inputs=_ports(flow, [*inputs]),
        outputs=_ports(flow, outputs),
        passes=tuple(sorted(made & after)),
        seconds=costs.of(group) if costs is not None and costs.in_seconds else None,
        **({} if wish.cache_bytes is None else _on_accelerator(file, wish.cache_bytes)),
    ), file


def _on_accelerator(file: bytes, cache_bytes: int) -> dict[str, int]:
    graph = read_graph(file)
    forecast = forecast_edgetpu(graph)
    streamed = forecast_cache(graph, forecast, cache_bytes).streamed_bytes
    return {"accelerated": sum(one.taken is True for one in forecast.placements), "streamed_bytes": streamed}


def _ports(flow: Flow, indices: Sequence[int]) -> tuple[Port, ...]:
    def port(index: int) -> Port:
        tensor = flow.tensor(index)
        size = flow.tensor_bytes(index)
        return Port(index, tensor.name, flow.shapes[index], tensor.dtype, tensor.scale, tensor.zero_point, size)

    return tuple(map(port, indices))


def _of(costs: Costs | None, operators: Sequence[int]) -> float:
    return costs.of(operators) if costs is not None else 0.0


def _uneven(values: Sequence[float], balance: Balance) -> float:
    share = sum(values) / len(values)
    off = [value / share - 1 for value in values] if share else [0.0]
    return max(map(abs, off)) if balance == "bytes" else max(off)


def _heaviest_step(flow: Flow, places: Sequence[int], weight: Array) -> tuple[float, str]:
    """What cannot be cut further and weighs most, and its heaviest operator in words."""
    at = int(np.argmax(np.diagonal(weight, 1)))
    operators = flow.order[places[at] : places[at + 1]]
    heaviest = max(operators, key=lambda number: parameter_bytes(flow, [number]))
    return float(weight[at, at + 1]), f"{flow.operator(heaviest).name} #{heaviest}"


def _reason(
    flow: Flow, values: Sequence[float], groups: Sequence[Sequence[int]], wish: Wish, costs: Costs | None
) -> str:
    """Why the segments are not even: what cannot be cut and is large beside an even share."""
    share = sum(values) / len(values)
    if wish.branches:
        return "segments end where branches do"

    def by(number: int) -> float:
        return float(parameter_bytes(flow, [number])) if wish.balance == "bytes" else _of(costs, [number])

    largest = max(flow.order, key=by)
    where = next(at for at, group in enumerate(groups) if largest in group)
    what = f"{flow.operator(largest).name} #{largest} in segment {where} alone is {by(largest) / share:.2f} of a share"
    if by(largest) > (1 - UNEVEN) * share:
        return what
    limit = "" if wish.cache_bytes is None else "; none may exceed the accelerator's memory"
    return f"no cut is evener; {what}{limit}"
