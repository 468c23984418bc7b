"""Clock: how long a file takes on the target: measured on a device, estimated from figures of others, or unknown."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from edgekit.bench.plan import Plan
from edgekit.bench.result import Measurement
from edgekit.bench.statistics import summarize
from edgekit.estimate import Estimate, estimate_latency
from edgekit.search.budget import plans_memory
from edgekit.search.point import Cost, Timing
from edgekit.search.pool import Pool, called
from edgekit.source_check import check_file
from edgekit.target import Target
from edgekit.tflite.inspect import ModelContents, inspect_model
from edgekit.tflite.memory_plan import plan_memory
from edgekit.versions import versions
from edgekit.workspace import Workspace

_PLAN = Plan(min_seconds=0.5, max_seconds=5.0)


@dataclass(frozen=True)
class Clock:
    """What files cost on a target: measured on the devices of a pool, or estimated where there is none."""

    target: Target
    pool: Pool | None = None
    plan: Plan = _PLAN

    @property
    def timed(self) -> bool:
        """Whether files are measured, and not estimated."""
        return self.pool is not None

    @property
    def where(self) -> str:
        """The devices that are timed."""
        return ", ".join(map(called, self.pool.addresses)) if self.pool else "nowhere"

    def cost(self, file: bytes, digest: str, work: Workspace) -> Cost:
        """All that the file takes; what was measured of the same file before is not measured again.

        Raises what `measure` raises: a file that does not run has no cost.
        """
        summary = inspect_model(file)
        plan = plan_memory(summary, self.target.planner) if plans_memory(self.target) else None
        found = check_file(file, [self.target])[0].findings
        return Cost(
            file_bytes=summary.file_bytes,
            deflated_bytes=summary.deflated_bytes,
            macs=summary.macs,
            arena_bytes=plan.arena_bytes + plan.persistent_bytes if plan else None,
            timing=self._timing(self.pool, file, digest, work) if self.pool else None,
            estimate=None if self.timed else self.estimate_of(summary),
            faults=tuple(one.problem for one in found if one.level == "error"),
        )

    def estimate_of(self, contents: ModelContents) -> Estimate | None:
        """What published figures say of a file on the target."""
        return estimate_latency(contents, self.target).preferred

    def tells(self, contents: ModelContents) -> bool:
        """Whether latency is measured, or estimated of a file like this in some number format that the target runs."""
        formats = self.target.numerics.schemes
        return self.timed or any(self.estimate_of(structs.replace(contents, numeric=one)) for one in formats)

    def unknown(self, contents: ModelContents) -> str:
        """Why there is no estimate of a file like this in the number format that the target prefers."""
        preferred = structs.replace(contents, numeric=self.target.numerics.schemes[0])
        return estimate_latency(preferred, self.target).unknown

    def _timing(self, pool: Pool, file: bytes, digest: str, work: Workspace) -> Timing:
        key = [digest, self.where, self.plan, versions()]
        found = work.remember(f"measure on {pool.name}", key, lambda: pool.measure(file, self.plan), Measurement)
        p50 = summarize(found).p50_seconds
        return Timing(p50.value, p50.low, p50.high, found.device, f"{found.runtime.name} {found.runtime.version}")
