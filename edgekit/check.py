"""Will this file run on that target? Findings from what the file says and what the target cites; nothing is run.

Every rule reads the target's data (numerics, operator tables, memory, budget) and names its source.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from edgekit.check_rules import FILE_RULES, TABLE_RULES
from edgekit.finding import ORDER, Finding, Level
from edgekit.forecast.placement import Forecast
from edgekit.placement_findings import placement_findings
from edgekit.target import Target
from edgekit.tflite.inspect import ModelSummary
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
    recipe: str = ""

    def count(self, level: Level) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)

    def reaches(self, level: Level) -> bool:
        """True if a finding is at least as grave as `level`."""
        return any(ORDER[finding.level] <= ORDER[level] for finding in self.findings)


def check(summary: ModelSummary, target: Target, forecasts: Sequence[Forecast] = ()) -> CheckResult:
    """Hold a file (`inspect_model`) against a target, with the forecasts for its units (`forecast.units.forecasts`).

    Without them the operator tables alone say what runs. Raises TargetError if a table does not fit its schema.
    """
    rules = FILE_RULES if forecasts and _decides(forecasts[0], target) else FILE_RULES + TABLE_RULES
    findings = [finding for rule in rules for finding in rule(summary, target)]
    if forecasts and not any(finding.code == "unsupported-numerics" for finding in findings):
        findings += placement_findings(forecasts, target)
    ordered = tuple(sorted(findings, key=lambda finding: ORDER[finding.level]))
    return CheckResult(target.name, summary.numeric, _memory(summary, target), ordered, tuple(forecasts))


def _decides(first: Forecast, target: Target) -> bool:
    """Whether the forecast is of the unit whose operator table the target names first."""
    return first.unit == target.operators.table.removeprefix("tflite-")


def _memory(summary: ModelSummary, target: Target) -> MemoryUse:
    plan = plan_memory(summary, "micro" if "tflite-micro" in target.runtime.packages else "litert")
    return MemoryUse(summary.file_bytes, summary.parameter_bytes, plan.arena_bytes, plan.persistent_bytes)
