"""Will this file run on that target? Findings from what the file says and what the target cites; nothing is run.

Every rule reads the target's data (numerics, operator tables, memory, budget) and names its source.
"""

from __future__ import annotations

from msgspec import Struct, structs

from edgekit.check.advice import Advice, advise
from edgekit.check.file_findings import FILE_RULES, TABLE_RULES, homeless
from edgekit.check.placement_findings import placement_findings
from edgekit.check.quantization_findings import quantization_findings
from edgekit.finding import ORDER, Finding, Level
from edgekit.forecast.edgetpu import COMPILED, forecast_cache
from edgekit.forecast.placement import Forecast
from edgekit.forecast.units import forecasts
from edgekit.target import Target
from edgekit.tflite.graph import Graph
from edgekit.tflite.inspect import ModelContents
from edgekit.tflite.memory_plan import plan_memory


class MemoryUse(Struct, frozen=True):
    """What a file takes, in bytes, without the runtime's own structures and scratch memory.

    `arena_bytes` hold the tensors between operators, `states_bytes` what is kept between runs. Of the parameters,
    `on_chip_bytes` stay in an accelerator and `streamed_bytes` are sent to it at each inference; null without one.
    """

    file_bytes: int
    parameter_bytes: int
    arena_bytes: int
    states_bytes: int
    on_chip_bytes: int | None = None
    streamed_bytes: int | None = None


class CheckResult(Struct, frozen=True):
    """All findings about one file on one target, the gravest first.

    `recipe` is empty for the user's own file; else the file is a draft that this recipe made of a Keras model.
    """

    target: str
    numeric: str
    memory: MemoryUse
    findings: tuple[Finding, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    advice: tuple[Advice, ...] = ()
    recipe: str = ""

    def count(self, level: Level) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)

    def reaches(self, level: Level) -> bool:
        """True if a finding is at least as grave as `level`."""
        return any(ORDER[finding.level] <= ORDER[level] for finding in self.findings)


def check(summary: ModelContents, target: Target, graph: Graph | None = None) -> CheckResult:
    """Hold a file (`read_contents`) against a target, and its graph (`read_graph`) against each unit of the target.

    Without the graph the operator tables alone say what runs. Raises TargetError if a table does not fit its schema.
    """
    units = forecasts(graph, target) if graph else ()
    rules = FILE_RULES if units and _decides(units[0], target) else FILE_RULES + TABLE_RULES
    findings = [finding for rule in rules for finding in rule(summary, target)]
    if units and units[0].unit == "micro":  # its forecast is of the main graph
        called = structs.replace(summary, operators=tuple(op for op in summary.operators if op.subgraph))
        findings += [finding for rule in TABLE_RULES for finding in rule(called, target)]
    findings += quantization_findings(graph) if graph else ()
    if units and not any(finding.code == "unsupported-numerics" for finding in findings):
        findings += placement_findings(units, target, {op.name for op in homeless(summary, target)})
    ordered = tuple(sorted(findings, key=lambda finding: ORDER[finding.level]))
    memory = _memory(summary, target, graph, units)
    advice = advise(summary, graph, target, units, memory.streamed_bytes or 0) if graph else ()
    return CheckResult(target.name, summary.numeric, memory, ordered, units, advice)


def _decides(first: Forecast, target: Target) -> bool:
    """Whether the forecast is of the unit whose operator table the target names first."""
    return first.unit == target.operators.table.removeprefix("tflite-")


def _memory(summary: ModelContents, target: Target, graph: Graph | None, units: tuple[Forecast, ...]) -> MemoryUse:
    plan = plan_memory(summary, target.planner)
    held = MemoryUse(summary.file_bytes, summary.parameter_bytes, plan.arena_bytes, plan.persistent_bytes)
    chip = target.memory.accelerator_cache_bytes
    compiled = any(op.custom and op.name == COMPILED for op in summary.operators)  # its parameters are inside of it
    if graph is None or chip is None or not units or units[0].unit != "edgetpu" or compiled:
        return held
    cache = forecast_cache(graph, units[0], chip)
    return structs.replace(held, on_chip_bytes=cache.on_chip_bytes, streamed_bytes=cache.streamed_bytes)
