"""The rules of `check` that read the file and the target's data: numbers, types, shapes, sizes, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from edgekit.finding import Finding, Level, grouped, named
from edgekit.forecast.edgetpu import COMPILED
from edgekit.operators import OperatorTable
from edgekit.target import Target
from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.pieces import CALLING
from edgekit.units import format_bytes

_CASTS = {"QUANTIZE", "DEQUANTIZE"}
_COMPUTING = {"float32", "float16", "int8", "uint8", "int16"}
_GRANULAR = {
    "FULLY_CONNECTED": "dense_granularity",
    "CONV_2D": "granularity",
    "DEPTHWISE_CONV_2D": "granularity",
    "TRANSPOSE_CONV": "granularity",
}

Rule = Callable[[ModelContents, Target], Iterator[Finding]]


def _scheme(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """The numeric scheme of the file is one that the target runs."""
    if not _scheme_runs(summary, target):
        yield Finding(
            "error",
            "unsupported-numerics",
            "whole model",
            f"the file is {summary.numeric}; {target.name} runs {', '.join(target.numerics.schemes)}",
            f"make it with `edgekit optimize ... --target {target.name} --recipe {target.numerics.recommended}`",
            target.source_of("numerics.schemes"),
        )


def _scheme_runs(summary: ModelContents, target: Target) -> bool:
    """A mixed file has no scheme of its own: its operators are judged one by one."""
    return summary.numeric == "mixed" or summary.numeric in target.numerics.schemes


def _builtin_operators(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Builtin operators are in the operator table, or else in that of the fallback."""
    tables = target.operator_tables()
    inner = [op for op in summary.operators if not op.custom and not _at_the_edge(op, summary)]
    for name, ops in grouped(inner, lambda op: op.name).items():
        level = _verdict(tables, lambda table, name=name: table.runs(name))  # type: ignore[misc]
        if level == "error":
            mend = "replace the layer it comes from, or choose a target that has it"
            problem = f"not an operator of {_either(tables)}"
            yield Finding("error", "unsupported-operator", named(ops), problem, mend, tables[0].source_of(name))
        elif level == "warn":
            problem = f"not an operator of {tables[0].title}: it runs on {tables[1].title}"
            mend = "replace the layer, or move it to the end of the model so that little comes after it"
            yield Finding("warn", "unsupported-operator", named(ops), problem, mend, tables[0].source_of(name))
        elif (rule := tables[0].operators.get(name)) and rule.limits:
            problem = f"{tables[0].title} takes it within limits: {rule.limits}"
            yield Finding("info", "documented-limit", named(ops), problem, source=tables[0].source_of(name))


def _custom_operators(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Custom and TensorFlow (Flex) operators are built in, or can be linked in."""
    tables = target.operator_tables()
    for ops in grouped(homeless(summary, target), lambda op: op.name).values():
        source = target.source_of("operators")
        if ops[0].flex:
            problem = "a TensorFlow (Flex) operator; this target has only TFLite operators"
            mend = "rewrite the layer with operations that TFLite has, or split it off the model"
            yield Finding("error", "flex-operator", named(ops), problem, mend, source)
        else:
            linkable = target.operators.custom
            problem = f"a custom operator that {_either(tables)} does not bring along"
            mend = "link its kernel and register it" if linkable else "replace it, or run it outside of the model"
            mend = "give the file that it was compiled from" if ops[0].name == COMPILED else mend
            yield Finding("warn" if linkable else "error", "custom-operator", named(ops), problem, mend, source)


def homeless(summary: ModelContents, target: Target) -> list[OperatorInfo]:
    """The custom and Flex operators that no unit of the target has."""
    brought = {name for table in target.operator_tables() for name in table.custom}
    custom = [op for op in summary.operators if op.custom and op.name not in brought]
    return [op for op in custom if not (op.flex and target.operators.flex)]


def _types(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Operators compute in types that the kernels of the target have."""
    if not _scheme_runs(summary, target):
        return
    tables = target.operator_tables()
    computing = [op for op in summary.operators if op.dtype in _COMPUTING and op.name not in _CASTS and not op.custom]
    for dtype, ops in grouped(computing, lambda op: op.dtype).items():
        level = _verdict(tables, lambda table, dtype=dtype: dtype in table.types)  # type: ignore[misc]
        if level:
            names = ", ".join(name for name, _ in Counter(op.name for op in ops).most_common(4))
            who = "1 operator computes" if len(ops) == 1 else f"{len(ops)} operators compute"
            runner = tables[1].title if level == "warn" else "nothing there"
            problem = f"{who} in {dtype} ({names}): {runner} runs that"
            mend = f"make the file again, all of it quantized: `--recipe {target.numerics.recommended}`"
            yield Finding(level, "unsupported-type", dtype, problem, mend, tables[0].source)


def _dimensions(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Only as many innermost dimensions are larger than 1 as the accelerator takes."""
    table = target.operator_tables()[0]
    if table.dimensions is None:
        return
    large = [op for op in summary.operators if any(size > 1 for size in op.output_shape[: -table.dimensions])]
    if large:
        what = "1 tensor is" if len(large) == 1 else f"{len(large)} tensors are"
        problem = f"{what} larger than 1 outside of the {table.dimensions} innermost dimensions"
        mend = "use batch 1, and reshape what has more dimensions"
        yield Finding("warn", "too-many-dimensions", named(large), problem, mend, table.source)


def _granularity(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Weights have one scale for each channel only where the kernels read more than one."""
    for name, key in _GRANULAR.items():
        ops = [op for op in _main(summary) if op.name == name and _per_channel(op, summary.tensors)]
        if ops and "per-channel" not in getattr(target.numerics, key):
            problem = (
                "weights with one scale for each channel: kernels that read only one compute wrong values in silence"
            )
            mend = "make it with `--recipe int8:" + ("dense-" if key.startswith("dense") else "") + "per-tensor`"
            yield Finding(
                "error", "per-channel-weights", named(ops), problem, mend, target.source_of(f"numerics.{key}")
            )


def _shapes(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Shapes are known beforehand where the target needs that."""
    tensors = [tensor for tensor in (*summary.inputs, *summary.outputs) if tensor.dynamic]
    inner = sum(op.dynamic for op in summary.operators)
    if not target.numerics.static_shapes or not (tensors or inner):
        return
    subject = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors[:3]) or "inner tensors"
    problem = "an open dimension (-1): only the stored size is planned for, or the accelerator is left out"
    mend = "convert with a fixed batch, as `edgekit optimize` does"
    source = target.source_of("numerics.static_shapes")
    yield Finding("warn", "dynamic-shape", subject, problem, mend, source)


def _io(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """Inputs and outputs have a type that the target takes without a detour."""
    integer_only = not {"float32", "float16"} & set(target.operator_tables()[0].types)
    for side, tensors in (("input", summary.inputs), ("output", summary.outputs)):
        for dtype in sorted({tensor.dtype for tensor in tensors} & _COMPUTING):
            subject = f"{side} {', '.join(tensor.name for tensor in tensors if tensor.dtype == dtype)}"
            if dtype == "float32" and integer_only and _scheme_runs(summary, target):
                problem = f"a float32 {side} is converted on the CPU at each inference"
                mend = f"use `--recipe {target.numerics.recommended.partition(':')[0]}:io={target.numerics.io[0]}`"
                yield Finding("warn", "float-io", subject, problem, mend, target.source_of("numerics.io"))
            elif dtype not in target.numerics.io:
                problem = f"{dtype}; {target.name} is described with {', '.join(target.numerics.io)}"
                mend = "see that the application fills and reads this type"
                yield Finding("info", "io-type", subject, problem, mend, target.source_of("numerics.io"))


def _sizes(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """The file fits its budget, the flash, the memory; parameters fit the chip of the accelerator."""
    size, memory = summary.file_bytes, target.memory
    limits: tuple[tuple[str, str, int | None], ...] = (
        ("budget.file_bytes", "the budget", target.budget.file_bytes),
        ("memory.flash_bytes", "the flash", memory.flash_bytes),
        ("memory.ram_bytes", "the memory", None if memory.flash_bytes else memory.ram_bytes),
    )
    for claim, place, limit in limits:
        if limit is not None and size > limit:
            problem = f"{format_bytes(size)}, and {place} is {format_bytes(limit)}"
            mend = "quantize it" if _has_floats(summary) else "remove channels (`--recipe channels50-int8`)"
            mend += ", or take a smaller architecture"
            yield Finding("error", "too-large", "file", problem, mend, target.source_of(claim))
    cache = memory.accelerator_cache_bytes
    if cache is not None and summary.parameter_bytes > cache:
        problem = f"{format_bytes(summary.parameter_bytes)} of parameters, {format_bytes(cache)} on the accelerator"
        mend = "what does not fit is streamed at each inference: expect a higher latency, or shrink the model"
        yield Finding(
            "info", "streams", "parameters", problem, mend, target.source_of("memory.accelerator_cache_bytes")
        )


def _arena(summary: ModelContents, target: Target) -> Iterator[Finding]:
    """The tensors between operators, and states, fit the memory, and their budget."""
    plan, main = plan_memory(summary, target.planner), _main(summary)
    needed = plan.arena_bytes + plan.persistent_bytes
    callers = [op for op in main if op.name in CALLING]
    if callers and target.planner == "micro":
        problem = "the tensors of the graphs that it calls are not counted"
        yield Finding("info", "memory-not-counted", named(callers), problem, "see `edgekit memory --record`")
    for claim, place, limit in (
        ("budget.arena_bytes", "the budget", target.budget.arena_bytes),
        ("memory.ram_bytes", "the memory", target.memory.ram_bytes),
    ):
        if limit is not None and needed > limit:
            most = (
                f"; most lives at {main[plan.peak].name} #{plan.peak}, {format_bytes(plan.live_bytes)}" if main else ""
            )
            problem = f"{format_bytes(needed)} for tensors, and {place} is {format_bytes(limit)}{most}"
            mend = "a smaller input, an earlier stride or fewer channels there"
            mend += "; int8 takes a quarter of float32" if _has_floats(summary) else ""
            yield Finding("error", "arena-too-large", "tensors", problem, mend, target.source_of(claim))


def _has_floats(summary: ModelContents) -> bool:
    return summary.numeric not in ("int8", "int16x8")


def _verdict(tables: tuple[OperatorTable, ...], fits: Callable[[OperatorTable], bool]) -> Level | None:
    """None where the first table fits, a warning where only the fallback does, else an error."""
    if fits(tables[0]):
        return None
    return "warn" if any(fits(table) for table in tables[1:]) else "error"


def _either(tables: tuple[OperatorTable, ...]) -> str:
    return " or ".join(table.title for table in tables)


def _main(summary: ModelContents) -> list[OperatorInfo]:
    """Operators of the main graph: only their tensor numbers point into `summary.tensors`."""
    return [op for op in summary.operators if op.subgraph == 0]


def _at_the_edge(op: OperatorInfo, summary: ModelContents) -> bool:
    """A cast between the outside and the model, which the rule on inputs and outputs reports."""
    if op.name not in _CASTS or op.subgraph != 0:
        return False
    touched = {summary.tensors[index].name for index in (*op.inputs, *op.outputs) if index >= 0}
    return bool(touched & {tensor.name for tensor in (*summary.inputs, *summary.outputs)})


def _per_channel(op: OperatorInfo, tensors: tuple[TensorInfo, ...]) -> bool:
    weights = [tensors[index] for index in op.inputs if index >= 0]
    return any(tensor.channel_scales > 1 and tensor.constant_bytes and tensor.dtype == "int8" for tensor in weights)


FILE_RULES: tuple[Rule, ...] = (_scheme, _custom_operators, _granularity, _shapes, _io, _sizes, _arena)
TABLE_RULES: tuple[Rule, ...] = (_builtin_operators, _types, _dimensions)
