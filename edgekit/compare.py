"""Compare two .tflite files: size, operators, contract, outputs on the same inputs, and latency in the same minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.bench.baseline import Verdict, verdict_on
from edgekit.bench.disturbances import open_dimensions
from edgekit.bench.plan import Plan
from edgekit.bench.result import Delegation, Runtime
from edgekit.bench.run import alternate, infer
from edgekit.bench.statistics import Interval, median_interval
from edgekit.device.protocol import Device
from edgekit.limit import BYTES, NUMBER, Limit, Units
from edgekit.tflite.inspect import ModelSummary, TensorInfo, inspect_model
from edgekit.tflite.numbers import number_type, to_real, to_stored

Array = npt.NDArray[Any]
METRICS: dict[str, Units] = {"ratio": NUMBER, "size": BYTES, "deflated": BYTES}
_SMALLEST_DIFFERENCE = 0.01


class Side(Struct, frozen=True):
    """One of the two files."""

    name: str
    file_bytes: int
    deflated_bytes: int
    numeric: str
    parameters: int
    macs: int


class OperatorCount(Struct, frozen=True):
    """How many operators of one name and type each file has."""

    name: str
    dtype: str
    a: int
    b: int


class Agreement(Struct, frozen=True):
    """How the two files' values of one output agree, dequantized, over all samples.

    The difference is null where the shapes are not the same.
    `sqnr_db` is 10 log10(sum a^2 / sum (a - b)^2), null where nothing differs or the output is not a real number;
    `same_argmax` is the share of positions whose largest value on the last axis is the same, null for a single value.
    """

    name: str
    samples: int
    max_abs_difference: float | None
    sqnr_db: float | None
    same_argmax: float | None
    same_values: float


class Speed(Struct, frozen=True):
    """Latency of b against a, which took turns in several processes.

    `ratio` is the median over the processes of the median over its turns of b / a, with its 95 % interval.
    `delegations` is what delegates took of a and of b.
    """

    a_seconds: float
    b_seconds: float
    ratio: Interval
    process_ratios: tuple[float, ...]
    runtime: Runtime
    delegations: tuple[tuple[Delegation, ...], ...]
    verdict: str


class Comparison(Struct, frozen=True):
    """All that `edgekit compare` shows; `agreement` is empty where the contracts do not allow the same inputs.

    `device` and `plan` say where and how both ran, `speed.runtime` by what; `warnings` what random inputs leave out.
    """

    a: Side
    b: Side
    operators: tuple[OperatorCount, ...]
    contract: tuple[str, ...]
    agreement: tuple[Agreement, ...]
    speed: Speed
    device: str
    plan: Plan
    verdicts: tuple[Verdict, ...] = ()
    warnings: tuple[str, ...] = ()
    format_version: int = 1


def compare_models(
    a: str | Path,
    b: str | Path,
    plan: Plan | None = None,
    device: Device | None = None,
    *,
    samples: int = 16,
    processes: int = 10,
    timeout: float | None = 600.0,
) -> Comparison:
    """Compare two files on an open device (default: this machine); each process that times them may take `timeout` s.

    Raises what `edgekit.bench.run.infer` raises.
    """
    a, b, plan = Path(a), Path(b), plan or Plan()
    first, second = inspect_model(a), inspect_model(b)
    contract = contract_differences(first, second)
    return Comparison(
        a=_side(a, first),
        b=_side(b, second),
        operators=operator_counts(first, second),
        contract=contract,
        agreement=agreement(a, b, first, second, plan, device, samples),
        speed=speed(a, b, plan, device, processes, timeout),
        device=device.name if device is not None else "local",
        plan=plan,
        warnings=tuple(open_dimensions((*first.inputs, *second.inputs))),
    )


def _side(path: Path, summary: ModelSummary) -> Side:
    return Side(
        str(path), summary.file_bytes, summary.deflated_bytes, summary.numeric, summary.parameters, summary.macs
    )


def operator_counts(a: ModelSummary, b: ModelSummary) -> tuple[OperatorCount, ...]:
    """Operators of both files by name and type, sorted."""
    counts = [Counter((operator.name, operator.dtype) for operator in side.operators) for side in (a, b)]
    return tuple(OperatorCount(*key, counts[0][key], counts[1][key]) for key in sorted(counts[0].keys() | counts[1]))


def contract_differences(a: ModelSummary, b: ModelSummary) -> tuple[str, ...]:
    """What a program that feeds `a` must change to feed `b`; empty where nothing."""
    found: list[str] = []
    for kind, ours, theirs in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        if len(ours) != len(theirs):
            found.append(f"{len(ours)} {kind}s, then {len(theirs)}")
            continue
        order = _order(a, b, kind + "s")
        if order != sorted(order):
            found.append(f"{kind}s are in another order: {', '.join(theirs[index].name for index in order)}")
        for one, index in zip(ours, order, strict=True):
            found += [f"{kind} {one.name!r}: {text}" for text in _tensor_differences(one, theirs[index])]
    return tuple(found)


def _tensor_differences(one: TensorInfo, other: TensorInfo) -> list[str]:
    pairs = [
        ("shape", list(one.shape), list(other.shape)),
        ("type", one.dtype, other.dtype),
        ("scale", one.scale, other.scale),
        ("zero point", one.zero_point, other.zero_point),
    ]
    return [f"{what} {ours}, then {theirs}" for what, ours, theirs in pairs if ours != theirs]


def _order(a: ModelSummary, b: ModelSummary, side: str) -> list[int]:
    """For each input (or output) of `a`, its index in `b`: by argument name, by tensor name, else by position."""
    ours, theirs = _arguments(a, side), _arguments(b, side)
    if len(set(ours)) != len(ours) or set(ours) != set(theirs):
        ours, theirs = ([tensor.name for tensor in getattr(summary, side)] for summary in (a, b))
    if len(set(ours)) != len(ours) or set(ours) != set(theirs):
        return list(range(len(ours)))
    return [theirs.index(name) for name in ours]


def _arguments(summary: ModelSummary, side: str) -> list[str]:
    signature = getattr(summary.signatures[0], side) if summary.signatures else {}
    names = {tensor: argument for argument, tensor in signature.items()}
    return [names.get(tensor.name, tensor.name) for tensor in getattr(summary, side)]


def agreement(
    a: Path,
    b: Path,
    first: ModelSummary,
    second: ModelSummary,
    plan: Plan,
    device: Device | None = None,
    samples: int = 16,
) -> tuple[Agreement, ...]:
    """How the outputs agree on the same random inputs; empty where inputs or outputs do not correspond."""
    if not _same_shapes(first, second):
        return ()
    order = _order(first, second, "inputs")
    pairs = [(one, second.inputs[index]) for one, index in zip(first.inputs, order, strict=True)]
    generator = np.random.default_rng(plan.seed)
    values = [_random_values(one, other, samples, generator) for one, other in pairs]
    theirs: list[Array] = [np.empty(0)] * len(order)
    for index, value, (_, other) in zip(order, values, pairs, strict=True):
        theirs[index] = to_stored(value, other)
    results = [
        infer(path, arrays, device=device, **plan.running)
        for path, arrays in (
            (a, [to_stored(value, one) for value, (one, _) in zip(values, pairs, strict=True)]),
            (b, theirs),
        )
    ]
    return tuple(
        _agreement(
            first.outputs[mine].name,
            to_real(results[0].outputs[mine], first.outputs[mine]).astype(np.float64),
            to_real(results[1].outputs[other], second.outputs[other]).astype(np.float64),
        )
        for mine, other in enumerate(_order(first, second, "outputs"))
    )


def _same_shapes(a: ModelSummary, b: ModelSummary) -> bool:
    if len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
        return False
    order = _order(a, b, "inputs")
    return all(_sample_shape(one) == _sample_shape(b.inputs[index]) for one, index in zip(a.inputs, order, strict=True))


def _sample_shape(tensor: TensorInfo) -> tuple[int, ...]:
    """Shape of one sample: without a batch of one or an open batch; other open dimensions count as one."""
    shape = tuple(max(size, 1) for size in tensor.shape)
    return shape[1:] if tensor.shape and tensor.shape[0] in (-1, 1) else shape


def _random_values(one: TensorInfo, other: TensorInfo, samples: int, generator: np.random.Generator) -> Array:
    """Real values `[samples, ...]` inside the range of the quantized tensor, if one of the two is; else [-1, 1)."""
    shape = (samples, *_sample_shape(one))
    quantized = next((tensor for tensor in (one, other) if tensor.scale), None)
    if quantized is not None:
        limits, zero, scale = np.iinfo(quantized.dtype), quantized.zero_point or 0, quantized.scale or 1.0
        return generator.uniform((limits.min - zero) * scale, (limits.max - zero) * scale, shape)
    if number_type(one).kind == "f":
        return generator.uniform(-1, 1, shape)
    return generator.integers(0, 2, shape)


def _agreement(name: str, a: Array, b: Array) -> Agreement:
    if a.shape != b.shape:
        return Agreement(name, len(a), None, None, None, 0.0)
    difference = a - b
    noise, signal = float(np.sum(difference**2)), float(np.sum(a**2))
    argmax = float(np.mean(a.argmax(-1) == b.argmax(-1))) if a.ndim > 1 and a.shape[-1] > 1 else None
    return Agreement(
        name=name,
        samples=len(a),
        max_abs_difference=float(np.max(np.abs(difference), initial=0.0)),
        sqnr_db=float(10 * np.log10(signal / noise)) if noise and signal else None,
        same_argmax=argmax,
        same_values=float(np.mean(a == b)),
    )


def speed(
    a: Path,
    b: Path,
    plan: Plan,
    device: Device | None = None,
    processes: int = 10,
    timeout: float | None = 600.0,
) -> Speed:
    """Let both files take turns in each of several processes, the order turned round each time.

    Turns that follow each other share what goes on around them, so each process gives the median of the ratios of its
    neighbouring turns. Several processes average out what is fixed within one, such as where its memory lies. Every
    other one loads and runs `b` first: the model that is loaded second was measured to be 0.2 to 0.6 % slower.
    """
    rounds = [
        alternate([a, b] if index % 2 == 0 else [b, a], plan, device, timeout=timeout) for index in range(processes)
    ]
    turns = [one.turn_medians()[:: 1 if index % 2 == 0 else -1] for index, one in enumerate(rounds)]
    ratios = tuple(turn_ratio(*sides) for sides in turns)
    ratio = median_interval(ratios)
    seconds = [float(np.median([np.median(one[side]) for one in turns])) for side in (0, 1)]
    return Speed(seconds[0], seconds[1], ratio, ratios, rounds[0].runtime, rounds[0].delegations, verdict(ratio))


def turn_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of b / a over neighbouring turns `[turns]`: what lasts longer than a turn slows both and cancels out."""
    return float(np.median(np.divide(b, a)))


def verdict(ratio: Interval) -> str:
    """The ratio of latencies in words."""
    interval = f"95 % interval of B / A {ratio.low:.3f} to {ratio.high:.3f}"
    if ratio.low <= 1 <= ratio.high or abs(ratio.value - 1) < _SMALLEST_DIFFERENCE:
        most = max(abs(ratio.low - 1), abs(ratio.high - 1), _SMALLEST_DIFFERENCE)
        return f"no difference in latency found; one above {most:.0%} would have shown ({interval})"
    if ratio.value > 1:
        return f"B is slower: it takes {ratio.value:.2f} times as long as A ({interval})"
    return f"B is faster: {1 / ratio.value:.2f} times as fast as A ({interval})"


def judge(found: Comparison, limits: Sequence[Limit], device: str = "local") -> tuple[Verdict, ...]:
    """Limits on B (`METRICS`), with A as the baseline; the ratio's interval is that of the processes."""
    sides = {
        "size": (found.b.file_bytes, found.a.file_bytes),
        "deflated": (found.b.deflated_bytes, found.a.deflated_bytes),
    }
    known = {name: tuple(Interval(count, count, count) for count in pair) for name, pair in sides.items()}
    known["ratio"] = (found.speed.ratio, Interval(1.0, 1.0, 1.0))
    return tuple(verdict_on(found.b.name, device, limit, *known[limit.metric]) for limit in limits)
